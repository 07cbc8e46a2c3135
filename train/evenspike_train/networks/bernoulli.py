"""Bernoulli input: a pixel's byte as the probability, of 255, of a spike at each timestep.

In training every step draws anew, from a generator of its own. Elsewhere the spikes are those that
the host makes of the image for a Program with rate coding, so that accuracy in floating point and
in integers is measured on the same input, and again the same each time.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

from evenspike_core.program import PIXEL_MAX

HOST_SEED = 0
"""Seed of the rate coding of every Program with such an input."""


def drawn(images: Tensor, timesteps: int, generator: torch.Generator) -> Tensor:
    """Images uint8 [B, C, H, W] -> spikes 0 and 1, uint8 [B, T, C, H, W]; drawn on the host."""
    batch, *shape = images.shape
    dice = torch.randint(
        0, PIXEL_MAX, (batch, timesteps, *shape), dtype=torch.uint8, generator=generator
    )
    return (dice.to(images.device) < images[:, None]).to(torch.uint8)


def drawn_by_host(images: Tensor, timesteps: int) -> Tensor:
    """Likewise, but those of a Program's rate coding, which depend on the image alone."""
    spikes = []
    for image in images.cpu().numpy():
        # Stated again, not imported: what is trained and what runs must agree without sharing it.
        rng = np.random.default_rng((HOST_SEED, zlib.crc32(image.tobytes())))
        spikes.append(rng.integers(0, PIXEL_MAX, (timesteps, *image.shape)) < image)
    return torch.from_numpy(np.stack(spikes)).to(images.device, torch.uint8)
