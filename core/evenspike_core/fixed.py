"""Integer arithmetic of the accelerator: widths, saturation, leak, and the neurons' recurrence.

Everything that rounds or saturates on the hardware is stated here once for the software. The RTL
restates it (it must not import this module), so that each can convict the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

WEIGHT_BITS = 16
"""Width of a weight in the scratchpad (u-Ticket, section IV-B: 1024 x 16 bit)."""

ACCUMULATOR_BITS = 24
"""Width of a partial sum, of a membrane and of a bias (u-Ticket, section IV-B)."""


LEAK_BITS = 12
LEAK_ONE = 1 << LEAK_BITS
"""A leak is a number n of 0 to LEAK_ONE; a timestep leaves n / LEAK_ONE of the membrane."""


def signed_range(bits: int) -> tuple[int, int]:
    """Smallest and largest two's-complement value of `bits` bits."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def saturate(values: npt.ArrayLike, bits: int = ACCUMULATOR_BITS) -> IntArray:
    """Clamp to the two's-complement range of `bits` bits; any shape, int64 out."""
    low, high = signed_range(bits)
    return np.clip(np.asarray(values, dtype=np.int64), low, high)


def mask_type(timesteps: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Type of a spike mask, bit t of which is the spike of timestep t: of 8, 16 or 32 bits."""
    if not 1 <= timesteps <= 32:
        raise ValueError(f"a spike mask holds 1 to 32 timesteps, not {timesteps}")
    return np.dtype(np.uint8 if timesteps <= 8 else np.uint16 if timesteps <= 16 else np.uint32)


def pack_masks(spikes: npt.NDArray[Any]) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Masks [...] of spikes [T, ...], each of which is 0 or not."""
    kind = mask_type(spikes.shape[0])
    times = np.arange(spikes.shape[0], dtype=kind).reshape(-1, *[1] * (spikes.ndim - 1))
    masks: npt.NDArray[np.unsignedinteger[Any]] = np.bitwise_or.reduce(
        (spikes != 0).astype(kind) << times, axis=0
    )
    return masks


def leak(membrane: npt.ArrayLike, n: int) -> IntArray:
    """What a timestep leaves of integer membranes: the floor of `n * u / 4096`.

    The only rounding of a run: n = 3686 (0.9) leaves 8 of 9, and -9 of -9.
    """
    return np.asarray(membrane, dtype=np.int64) * n >> LEAK_BITS


@dataclass(frozen=True)
class Neuron:
    """What the neurons of a layer do with their drive x at each timestep.

        u <- floor(leak * v / 4096) - (reset if the timestep before fired) + x, saturated to 24 bits
        s <- u >= threshold
        v <- 0 if s and hard, else u

    At the first timestep u is x. One amount serves every reset of the field: the threshold is a
    delayed subtraction, `leak * threshold / 4096` one at once, 0 with `hard` a hard reset, 0
    without none.

    threshold: 1 to 2^23 - 1. leak: 0 to 4096. reset: signed, 24 bits.
    """

    threshold: int
    leak: int = LEAK_ONE // 4
    hard: bool = True
    reset: int = 0

    def run(self, drive: IntArray) -> tuple[npt.NDArray[np.unsignedinteger[Any]], IntArray]:
        """Spike masks and last membranes of neurons that start at 0.

        Parameters
        ----------
        drive: int64 [T, ...]: psum and bias of each timestep; T is 1 to 32.

        Returns
        -------
        masks [...], of `mask_type(T)`, and v after the last timestep, int64 [...].
        """
        kind = mask_type(drive.shape[0])
        v = np.zeros(drive.shape[1:], dtype=np.int64)
        fired = np.zeros(drive.shape[1:], dtype=np.bool_)
        masks = np.zeros(drive.shape[1:], dtype=kind)
        for t in range(drive.shape[0]):
            u = saturate(leak(v, self.leak) - self.reset * fired + drive[t])
            fired = u >= self.threshold
            masks |= fired.astype(kind) << kind.type(t)
            v = np.where(fired, 0, u) if self.hard else u
        return masks, v

    def bound(self, magnitude: IntArray, timesteps: int) -> IntArray:
        """A bound of |u| in a run whose drives are at most `magnitude`, int64 of the same shape.

        The highest and the lowest membrane after each timestep, if any drive may come at any time:
        with a reset of 0 some drives reach it. A psum, in any order of additions and with what an
        earlier group of timesteps has left in it, is no larger. Magnitudes of 2^40 and above stay
        that.
        """
        most = np.minimum(np.asarray(magnitude, dtype=np.int64), 1 << 40)
        high, low = most, -most
        for _ in range(timesteps - 1):
            # One that has not fired is below the threshold, one that has at it or above.
            fires = high >= self.threshold
            above = leak(np.minimum(high, self.threshold - 1), self.leak)
            below = leak(low, self.leak)
            most_fired = (0 if self.hard else leak(high, self.leak)) - self.reset
            least_fired = (0 if self.hard else leak(self.threshold, self.leak)) - self.reset
            above = np.where(fires, np.maximum(above, most_fired), above)
            below = np.where(fires, np.minimum(below, least_fired), below)
            high, low = np.minimum(above + most, 1 << 40), np.maximum(below - most, -1 << 40)
        found: IntArray = np.maximum(high, -low)
        return found
