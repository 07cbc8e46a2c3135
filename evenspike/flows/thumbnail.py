"""Thumbnail: any input of a network as a picture for the report."""

from __future__ import annotations

import math

import numpy as np

from evenspike.flows.images import Pixels

BRIGHTEST = 255


def thumbnail(pixels: Pixels) -> Pixels:
    """One input as a picture, uint8 [1, H, W] grey or [3, H, W] RGB.

    pixels: [C, H, W], or frames [T, C, H, W], which are summed and stretched to full brightness.

    An image of one or three channels is shown as it is. Of two channels, the polarities of events,
    the second is red and the first blue. Others are shown as their mean; features, which have no
    place, line by line as a square.
    """
    planes = _summed(pixels) if pixels.ndim == 4 else pixels
    if planes.shape[1:] == (1, 1):
        return _square(planes.reshape(-1))
    if len(planes) == 2:
        return np.stack([planes[1], np.zeros_like(planes[0]), planes[0]])
    if len(planes) not in (1, 3):
        planes = planes.mean(0, keepdims=True).astype(np.uint8)
    return planes


def _summed(frames: Pixels) -> Pixels:
    total = frames.sum(0, dtype=np.int64)
    brightest: Pixels = (total * BRIGHTEST // max(int(total.max()), 1)).astype(np.uint8)
    return brightest


def _square(features: Pixels) -> Pixels:
    side = math.isqrt(len(features) - 1) + 1
    return np.pad(features, (0, side * side - len(features))).reshape(1, side, side)
