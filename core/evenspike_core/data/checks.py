"""What every reader's arrays are held to: bytes of the right shape, labels of classes there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.data.spec import Images, Labels
from evenspike_core.errors import EvenspikeError


def checked_images(
    where: Path | str, images: npt.NDArray[Any], shape: tuple[int, ...], field: str = "images"
) -> Images:
    """The same array if it is uint8 [N, *shape] with N > 0.

    Raises EvenspikeError that begins with `where` and names `field`: for NaN with the first image
    that holds one, else with type and shape as they are and as they should be.
    """
    if images.dtype.kind == "f" and images.ndim and np.isnan(images).any():
        first = int(np.isnan(images.reshape(len(images), -1)).any(1).argmax())
        raise EvenspikeError(f"{where}: {field}: image {first} holds NaN; pixels are 0 to 255")
    if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
        wanted = ", ".join(str(size) for size in ("N", *shape))
        raise EvenspikeError(
            f"{where}: {field} are {images.dtype} {images.shape}, not uint8 [{wanted}]"
        )
    return images


def checked_labels(
    where: Path | str,
    labels: npt.NDArray[Any],
    count: int,
    limits: tuple[int, int],
    field: str = "labels",
) -> Labels:
    """Labels of `count` images as int64 [count]; whole numbers of any type are taken.

    Raises EvenspikeError that begins with `where`: for another number of labels, and for the first
    label that is not a whole number within `limits` (both included), NaN among them.
    """
    if labels.dtype.kind not in "uif" or labels.shape != (count,):
        raise EvenspikeError(
            f"{where}: {field} are {labels.dtype} {labels.shape} for {count} images"
        )
    low, high = limits
    good = (labels >= low) & (labels <= high) & (labels == np.floor(labels))
    if not good.all():
        first = int((~good).argmax())
        raise EvenspikeError(
            f"{where}: {field}: image {first} has label {labels[first]}; "
            f"{low} to {high} are possible"
        )
    return labels.astype(np.int64)
