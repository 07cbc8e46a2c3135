"""Drain, LIF and output collector: from accumulators to CSR spikes of a block of channels.

The PEs drain in lockstep, so the masks of `pes` filters at one position leave together and are
one entry of the spike memory. Position order inside a slot: pooling windows row by row, the four
positions of a window one after the other, so that the OR-pool needs one register.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from evenspike_core.fixed import LEAK_BITS
from evenspike_core.program import Readout
from evenspike_sim.loader import I64
from evenspike_sim.pe import PSUM_MAX, PSUM_MIN

BIAS_READS = 2
"""Cycles in which a slot's bias is read from the weight bank before its first neuron."""

READOUTS = {Readout.PSUM: 0, Readout.COUNT: 1, Readout.MEMBRANE: 2}
"""`readout` of `drain_logits`."""


@nb.njit(cache=True, nogil=True)
def _neuron(
    psums: npt.NDArray[np.int32],
    bias: int,
    threshold: int,
    leak: int,
    hard: bool,
    reset: int,
    timesteps: int,
    carries: bool,
) -> tuple[int, int, bool]:
    """One neuron through the LIF stages of a group, which leave its row of psums behind.

    Nothing leaks into the first timestep: what an earlier group has left is in psum 0, and has
    leaked. The row is cleared or, if it carries, gets what this group leaves to the next.

    Returns (spike mask, membrane after the last timestep, whether it has saturated).
    """
    membrane = 0
    fired = False
    mask = 0
    saturated = False
    for t in range(timesteps):
        total = int(psums[t]) + bias
        if t:
            total += membrane * leak >> LEAK_BITS
            if fired:
                total -= reset
        u = min(max(total, PSUM_MIN), PSUM_MAX)
        saturated |= u != total
        fired = u >= threshold
        mask |= int(fired) << t
        membrane = 0 if fired and hard else u
    psums[:] = 0
    if carries:
        total = membrane * leak >> LEAK_BITS
        if fired:
            total -= reset
        u = min(max(total, PSUM_MIN), PSUM_MAX)
        saturated |= u != total
        psums[0] = u
    return mask, membrane, saturated


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
    first_row: int,
    threshold: int,
    leak: int,
    hard: bool,
    reset: int,
    timesteps: int,
    carries: bool,
    overflow: npt.NDArray[np.uint8],
    pool: int,
    block: int,
    row_counts: npt.NDArray[np.int32],
    columns: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8],
) -> int:
    """Drain `lanes.shape[0]` slots of one tile and group of an image, append the CSR entries.

    lanes: [slots, pes], the filter of each lane or -1 (such a lane never fires).
    first_row: of the accumulators, where the image's are.
    timesteps: of the group. carries: whether another group of the tile follows.
    overflow: [2, pes], sticky flags; the second of a PE is set if a membrane saturates.
    row_counts [blocks, rows], columns [blocks, rows, W], masks [blocks, rows, W, pes]: the map.
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
                        at = first_row + (
                            slot << log_tile | (py * pool + oy) << log_width | (px * pool + ox)
                        )
                        for pe in range(pes):
                            if lanes[slot, pe] < 0:
                                accumulators[pe, at, :] = 0
                                continue
                            mask, _, saturated = _neuron(
                                accumulators[pe, at],
                                bias[pe, slot],
                                threshold,
                                leak,
                                hard,
                                reset,
                                timesteps,
                                carries,
                            )
                            if saturated:
                                overflow[1, pe] = 1
                            if mask:
                                word[pe] |= mask
                                fired = True
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
    first_row: int,
    threshold: int,
    leak: int,
    hard: bool,
    reset: int,
    timesteps: int,
    carries: bool,
    overflow: npt.NDArray[np.uint8],
    readout: int,
    logits: I64,
) -> None:
    """Drain a tile and group of an image of the last layer into logits [filters, height, width].

    readout: of `READOUTS`: the sum over the group's t of psum[t] + bias, without neurons; the
    spikes in the group; or the membrane after it. The others as in `drain`.
    """
    for slot in range(lanes.shape[0]):
        for y in range(tile_h):
            for x in range(tile_w):
                at = first_row + (slot << log_tile | y << log_width | x)
                for pe in range(lanes.shape[1]):
                    psums = accumulators[pe, at]
                    if lanes[slot, pe] < 0:
                        psums[:] = 0
                        continue
                    total = 0
                    if readout == 0:
                        total = timesteps * bias[pe, slot]
                        for t in range(timesteps):
                            total += psums[t]
                        psums[:] = 0
                    else:
                        mask, membrane, saturated = _neuron(
                            psums,
                            bias[pe, slot],
                            threshold,
                            leak,
                            hard,
                            reset,
                            timesteps,
                            carries,
                        )
                        if saturated:
                            overflow[1, pe] = 1
                        if readout == 1:
                            while mask:
                                mask &= mask - 1
                                total += 1
                        else:
                            total = membrane
                    logits[lanes[slot, pe], tile_y + y, tile_x + x] = total
