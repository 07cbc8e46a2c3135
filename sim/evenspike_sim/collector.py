"""Drain, LIF and output collector: from accumulators to CSR spikes of a block of channels.

The PEs drain in lockstep, so the masks of `pes` filters at one position leave together and are
one entry of the spike memory. Position order inside a slot: pooling windows row by row, the four
positions of a window one after the other, so that the OR-pool needs one register.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from evenspike_sim.loader import I64
from evenspike_sim.pe import PSUM_MAX, PSUM_MIN

BIAS_READS = 2
"""Cycles in which a slot's bias is read from the weight bank before its first neuron."""

SATURATED = 1 << 8
"""Flag beside a spike mask of at most 8 bits."""


@nb.njit(cache=True, nogil=True)
def _lif(
    psums: npt.NDArray[np.int32], bias: int, threshold: int, leak: int, soft: bool, timesteps: int
) -> int:
    """One neuron through the LIF pipeline: the spike mask, plus `SATURATED` if its membrane has.

    leak: `Leak.code`.
    """
    u = 0
    mask = 0
    for t in range(timesteps):
        if leak == 0:
            u >>= 2
        elif leak == 1:
            u >>= 1
        elif leak == 2:
            u -= u >> 2
        total = u + int(psums[t]) + bias
        u = min(max(total, PSUM_MIN), PSUM_MAX)
        if u != total:
            mask |= SATURATED
        if u >= threshold:
            mask |= 1 << t
            u = u - threshold if soft else 0
    return mask


@nb.njit(cache=True, nogil=True)
def drain(
    accumulators: npt.NDArray[np.int32],
    bias: I64,
    lanes: npt.NDArray[np.int32],
    tile_y: int,
    tile_x: int,
    tile_h: int,
    tile_w: int,
    log_tile: int,
    log_width: int,
    pool: int,
    threshold: int,
    leak: int,
    soft: bool,
    timesteps: int,
    block: int,
    row_counts: npt.NDArray[np.int32],
    columns: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8],
    overflow: npt.NDArray[np.uint8],
) -> int:
    """Drain `lanes.shape[0]` slots of one tile, clear the accumulators, append the CSR entries.

    lanes: [slots, pes], the filter of each lane or -1 (such a lane never fires).
    row_counts [blocks, rows], columns [blocks, rows, W], masks [blocks, rows, W, pes]: the map.
    overflow: [2, pes], sticky flags; the second of a PE is set if a membrane saturates.
    Returns the number of entries written.
    """
    slots, pes = lanes.shape
    written = 0
    word = np.zeros(pes, dtype=np.uint8)
    for slot in range(slots):
        for py in range(tile_h // pool):
            row = tile_y // pool + py
            if tile_x == 0:
                row_counts[block + slot, row] = 0
            for px in range(tile_w // pool):
                word[:] = 0
                fired = False
                for oy in range(pool):
                    for ox in range(pool):
                        at = slot << log_tile | (py * pool + oy) << log_width | (px * pool + ox)
                        for pe in range(pes):
                            if lanes[slot, pe] >= 0:
                                mask = _lif(
                                    accumulators[pe, at],
                                    bias[pe, slot],
                                    threshold,
                                    leak,
                                    soft,
                                    timesteps,
                                )
                                if mask & SATURATED:
                                    overflow[1, pe] = 1
                                    mask ^= SATURATED
                                if mask:
                                    word[pe] |= mask
                                    fired = True
                            accumulators[pe, at, :] = 0
                if fired:
                    entry = row_counts[block + slot, row]
                    columns[block + slot, row, entry] = tile_x // pool + px
                    masks[block + slot, row, entry, :] = word
                    row_counts[block + slot, row] = entry + 1
                    written += 1
    return written


@nb.njit(cache=True, nogil=True)
def drain_logits(
    accumulators: npt.NDArray[np.int32],
    bias: I64,
    lanes: npt.NDArray[np.int32],
    tile_y: int,
    tile_x: int,
    tile_h: int,
    tile_w: int,
    log_tile: int,
    log_width: int,
    timesteps: int,
    logits: I64,
) -> None:
    """Drain a tile of the last layer: logits[filter, y, x] = sum over t of psum[t] + bias."""
    for slot in range(lanes.shape[0]):
        for y in range(tile_h):
            for x in range(tile_w):
                at = slot << log_tile | y << log_width | x
                for pe in range(lanes.shape[1]):
                    if lanes[slot, pe] >= 0:
                        total = timesteps * bias[pe, slot]
                        for t in range(timesteps):
                            total += accumulators[pe, at, t]
                        logits[lanes[slot, pe], tile_y + y, tile_x + x] = total
                    accumulators[pe, at, :] = 0


@nb.njit(cache=True, nogil=True)
def load_currents(
    currents: npt.NDArray[np.int32],
    lanes: npt.NDArray[np.int32],
    tile_y: int,
    tile_x: int,
    tile_h: int,
    tile_w: int,
    log_tile: int,
    log_width: int,
    timesteps: int,
    accumulators: npt.NDArray[np.int32],
) -> None:
    """Host layer: the same current at every timestep, where a drain would read a psum."""
    for slot in range(lanes.shape[0]):
        for y in range(tile_h):
            for x in range(tile_w):
                at = slot << log_tile | y << log_width | x
                for pe in range(lanes.shape[1]):
                    if lanes[slot, pe] >= 0:
                        value = currents[lanes[slot, pe], tile_y + y, tile_x + x]
                        for t in range(timesteps):
                            accumulators[pe, at, t] = value
