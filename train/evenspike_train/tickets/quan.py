"""Quan: the nearest weights of the form alpha * {0, +-1, +-2, ..., +-2^(b-1)} (ADMM, Algorithm 3).

In turns, as Leng et al. (arXiv:1707.09870) do: with the scale fixed each weight goes to its nearest
level, with the levels fixed the scale is that of the least squares. Each half makes the squared
distance smaller or leaves it, so the end depends on the scale that it begins with. The paper
begins with 1, at which weights below 1/2 all become 0, and the scale 0 / 0: trained weights are
that small. Here it begins with several scales and keeps the best, or with one that is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BITS_MAX = 8

_STARTS_PER_OCTAVE = 2


@dataclass(frozen=True)
class Quantised:
    """Weights alpha * levels; `levels` are 0 or +-2^e, of the type and shape of what was given."""

    levels: Tensor
    alpha: float

    @property
    def weights(self) -> Tensor:
        """Exactly what a Program holds, but for one factor: alpha times a power of two is exact."""
        return self.levels * self.alpha


def quan(v: Tensor, bits: int, iterations: int = 3, start: float = 0.0) -> Quantised:
    """Weights of `bits` near `v`, any shape; of nothing but zeros, zeros with alpha 1.

    Parameters
    ----------
    bits : b, 1 to `BITS_MAX`: there are 2b + 1 levels.
    iterations : I, of the two halves.
    start : the scale to begin with; 0 means that it is searched.

    Raises ValueError for a number that is out of its range.
    """
    if not 1 <= bits <= BITS_MAX:
        raise ValueError(f"bits must lie between 1 and {BITS_MAX}, not {bits}")
    if iterations < 1 or start < 0:
        raise ValueError(f"{iterations} iterations from {start}; at least 1 from 0 or above")
    largest = float(v.abs().max()) if v.numel() else 0.0
    if largest == 0.0:
        return Quantised(torch.zeros_like(v), 1.0)
    if start:
        found = _refined(v, bits, iterations, start)
        if found.levels.any():
            return found  # a scale that is far too large leaves nothing, and says nothing
    top = largest / 2 ** (bits - 1)
    # From the scale at which the largest weight has the largest level down to a sixteenth of it.
    tried = [top * 2 ** (-n / _STARTS_PER_OCTAVE) for n in range(4 * _STARTS_PER_OCTAVE + 1)]
    each = [_refined(v, bits, iterations, one) for one in tried]
    return min(each, key=lambda one: float((v - one.weights).square().sum(dtype=torch.float64)))


def _refined(v: Tensor, bits: int, iterations: int, alpha: float) -> Quantised:
    """The two halves in turns; ends with levels of 0 where the scale is far too large."""
    levels = nearest(v / alpha, bits)
    for turn in range(iterations):
        if turn:
            levels = nearest(v / alpha, bits)
        norm = float(levels.square().sum(dtype=torch.float64))
        if norm == 0.0:
            break
        # In the weights' own precision, so that alpha times a level is exact.
        alpha = float((v * levels).sum(dtype=torch.float64).div(norm).to(v.dtype))
    return Quantised(levels, alpha)


def nearest(x: Tensor, bits: int) -> Tensor:
    """The nearest of 0, +-1, +-2, ... +-2^(bits-1) to each; half-way, the smaller one."""
    levels = torch.tensor([0.0, *(2.0**e for e in range(bits))], dtype=x.dtype, device=x.device)
    middles = (levels[1:] + levels[:-1]) / 2
    # The search wants them in a row, which filters that are channels-last are not.
    return levels[torch.bucketize(x.abs().contiguous(), middles)] * x.sign()
