"""Integer arithmetic of the accelerator: widths, saturation, leak, and the LIF recurrence.

Everything that rounds or saturates on the hardware is stated here once for the software. The RTL
restates it (it must not import this module), so that each can convict the other.
"""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

WEIGHT_BITS = 16
"""Width of a weight in the scratchpad (u-Ticket, section IV-B: 1024 x 16 bit)."""

ACCUMULATOR_BITS = 24
"""Width of a partial sum, of a membrane and of a bias (u-Ticket, section IV-B)."""


class Leak(StrEnum):
    """What a timestep leaves of the membrane; each value is a shift and at most one subtraction.

    The shift is arithmetic, so it rounds towards minus infinity (`-1 >> 2 == -1`).
    """

    QUARTER = "1/4"
    HALF = "1/2"
    THREE_QUARTERS = "3/4"
    ONE = "1"

    @property
    def fraction(self) -> Fraction:
        return Fraction(self.value)

    @property
    def code(self) -> int:
        """The leak field of a layer descriptor (2 bits)."""
        return list(Leak).index(self)


class Reset(StrEnum):
    """What a spike does to the membrane: `hard` clears it, `soft` subtracts the threshold."""

    HARD = "hard"
    SOFT = "soft"


def signed_range(bits: int) -> tuple[int, int]:
    """Smallest and largest two's-complement value of `bits` bits."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def saturate(values: npt.ArrayLike, bits: int = ACCUMULATOR_BITS) -> IntArray:
    """Clamp to the two's-complement range of `bits` bits; any shape, int64 out."""
    low, high = signed_range(bits)
    return np.clip(np.asarray(values, dtype=np.int64), low, high)


def leak(membrane: npt.ArrayLike, kind: Leak) -> IntArray:
    """One timestep of leak on integer membranes; floor of the exact product, except for 3/4.

    `3/4` is `u - (u >> 2)`, which rounds towards plus infinity: what the hardware does, because
    a shift and a subtraction cost less than a multiplication by three.
    """
    u = np.asarray(membrane, dtype=np.int64)
    if kind is Leak.QUARTER:
        return u >> 2
    if kind is Leak.HALF:
        return u >> 1
    if kind is Leak.THREE_QUARTERS:
        return u - (u >> 2)
    return u.copy()


def lif(
    psum: npt.ArrayLike,
    bias: npt.ArrayLike,
    threshold: int,
    kind: Leak,
    reset: Reset,
) -> npt.NDArray[np.uint8]:
    """Spike masks of LIF neurons (u-Ticket Eq. 1, with the leak and reset of the layer).

    `u <- leak(u) + psum[t] + bias; s = u >= threshold; u <- 0 (hard) or u - threshold (soft) if s`

    Parameters
    ----------
    psum: int, [T, ...]; partial sums of one timestep each.
    bias: int, broadcastable to `psum[0]`.

    Returns
    -------
    uint8, [...]; bit t is the spike of timestep t.
    """
    sums = np.asarray(psum, dtype=np.int64)
    if sums.shape[0] > 8:
        raise ValueError(f"a spike mask holds 8 timesteps, not {sums.shape[0]}")
    addend = np.asarray(bias, dtype=np.int64)
    u = np.zeros(sums.shape[1:], dtype=np.int64)
    masks = np.zeros(sums.shape[1:], dtype=np.uint8)
    for t in range(sums.shape[0]):
        u = saturate(leak(u, kind) + sums[t] + addend)
        fired = u >= threshold
        masks |= (fired.astype(np.uint8) << np.uint8(t)).astype(np.uint8)
        u = np.where(fired, 0 if reset is Reset.HARD else u - threshold, u)
    return masks


def membrane_bound(magnitude: IntArray, kind: Leak, timesteps: int) -> list[Fraction]:
    """The largest |u| that inputs of at most `magnitude` a timestep can reach, per filter.

    A geometric series: `magnitude / (1 - leak)`; without leak, `magnitude * T`.
    """
    gain = Fraction(timesteps) if kind is Leak.ONE else 1 / (1 - kind.fraction)
    return [int(m) * gain for m in magnitude]
