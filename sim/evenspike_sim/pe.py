"""APU and PEs: one chunk's activations, from the CSR decoder to the accumulators, cycle by cycle.

Every register stage is a recurrence on the cycles in which its content moves on (docs/timing.md
gives each rule in words). Nothing is estimated: the cycle in which any activation is broadcast,
popped, matched or accumulated is computed, and the accumulators hold what the hardware's hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numba as nb
import numpy as np
import numpy.typing as npt

from evenspike_core.arch import Arch
from evenspike_core.fixed import ACCUMULATOR_BITS
from evenspike_sim.loader import I64, LoadedChunk

PSUM_MAX = (1 << (ACCUMULATOR_BITS - 1)) - 1
PSUM_MIN = -PSUM_MAX - 1
DECODE_LATENCY = 2
"""Cycles from the APU's start to its first row visit (read of the row count)."""


class Count(IntEnum):
    """Action counters of the array over a layer."""

    SPIKE_READ = 0
    FIFO_PUSH = 1
    ROW_VISIT = 2
    HEADER_READ = 3
    MATCHED = 4
    ACCUMULATION = 5
    OVERFLOW = 6
    BROADCAST = 7
    QUEUED = 8


@dataclass
class Stages:
    """Registers of the APU and the PEs, as the cycles in which their content last moved on."""

    arch: Arch
    apu: I64 = field(init=False)
    """last decode, last hand-over to the lane stage, last broadcast"""
    pushes: I64 = field(init=False)
    pops: I64 = field(init=False)
    header: I64 = field(init=False)
    match: I64 = field(init=False)
    queued: I64 = field(init=False)
    queue: I64 = field(init=False)
    gate: I64 = field(init=False)
    busy: I64 = field(init=False)
    counts: I64 = field(init=False)
    overflow: npt.NDArray[np.uint8] = field(init=False)
    """sticky flags of each PE in this layer: a partial sum, a membrane has saturated"""
    accumulators: npt.NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        pes = self.arch.pes
        self.apu = np.zeros(3, dtype=np.int64)
        self.pushes, self.header, self.match, self.queued, self.gate, self.busy = (
            np.zeros(pes, dtype=np.int64) for _ in range(6)
        )
        self.pops = np.zeros((pes, self.arch.fifo_depth), dtype=np.int64)
        self.queue = np.zeros((pes, self.arch.match_depth), dtype=np.int64)
        self.counts = np.zeros(len(Count), dtype=np.int64)
        self.overflow = np.zeros((2, pes), dtype=np.uint8)
        self.accumulators = np.zeros(
            (pes, self.arch.accumulators, self.arch.timesteps), dtype=np.int32
        )


@dataclass(frozen=True)
class Window:
    """The part of a source map that reaches an output tile, and how it reaches it.

    tile: (y, x, height, width) of the outputs. rows, columns: half-open ranges of the source map.
    """

    tile: tuple[int, int, int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]

    @staticmethod
    def of(
        tile: tuple[int, int, int, int],
        kernel: int,
        stride: int,
        offset: tuple[int, int],
        average: int,
        size: tuple[int, int],
    ) -> Window:
        spans = []
        for at, length, first, extent in zip(tile[:2], tile[2:], offset, size, strict=True):
            low = max(0, at * stride + first) * average
            high = min(extent, ((at + length - 1) * stride + first + kernel) * average)
            spans.append((low, max(low, high)))
        return Window(tile, spans[0], spans[1])


@nb.njit(cache=True, nogil=True)
def _push(pe: int, cycle: int, resume: int, depth: int, pushes: I64, pops: I64, header: I64) -> int:
    """Write one FIFO entry in `cycle`; returns the cycle in which the matcher pops it."""
    pop = max(cycle + 1, header[pe], resume)
    pops[pe, pushes[pe] % depth] = pop
    pushes[pe] += 1
    return pop


@nb.njit(cache=True, nogil=True)
def _queue_space(pe: int, cycle: int, queued: I64, queue: I64) -> int:
    """First cycle from `cycle` on in which the match queue takes one more."""
    depth = queue.shape[1]
    if queued[pe] >= depth:
        return max(cycle, queue[pe, queued[pe] % depth] + 1)
    return cycle


@nb.njit(cache=True, nogil=True)
def run_chunk(
    row_counts: npt.NDArray[np.int32],
    columns: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8],
    kernel_start: I64,
    wsp: I64,
    slot: I64,
    weight_start: I64,
    weights: I64,
    header_units: int,
    first: int,
    end: int,
    kernel: int,
    stride: int,
    offset_y: int,
    offset_x: int,
    average: int,
    tile_y: int,
    tile_x: int,
    tile_h: int,
    tile_w: int,
    row_low: int,
    row_high: int,
    column_low: int,
    column_high: int,
    log_tile: int,
    log_width: int,
    start: int,
    resume: int,
    apu: I64,
    pushes: I64,
    pops: I64,
    header: I64,
    match: I64,
    queued: I64,
    queue: I64,
    gate: I64,
    busy: I64,
    counts: I64,
    overflow: npt.NDArray[np.uint8],
    accumulators: npt.NDArray[np.int32],
) -> None:
    """Broadcast the activations of channels [first, end) and let every PE work them off.

    start: cycle from which the APU may begin. resume: first cycle in which a PE may pop an
    activation of this round. Ends with the chunk's marker: `gate[pe]` is then its cycle.
    """
    pes, depth = pops.shape
    timesteps = accumulators.shape[2]
    row_out = np.zeros(kernel, dtype=np.int64)
    column_out = np.zeros(kernel, dtype=np.int64)
    apu[0] = max(apu[0], start + DECODE_LATENCY - 1)
    for row in range(row_low, row_high):
        y = row // average
        row_bits = np.int64(0)
        for r in range(kernel):
            at = y - offset_y - r
            out = at // stride - tile_y
            if at >= 0 and at % stride == 0 and 0 <= out < tile_h:
                row_bits |= np.int64(1) << r
                row_out[r] = out
        for block in range(first // pes, (end + pes - 1) // pes):
            apu[0] += 1
            counts[2] += 1
            for entry in range(row_counts[block, row]):
                decoded = max(apu[0] + 1, apu[1])
                apu[0] = decoded
                counts[0] += 1
                column = int(columns[block, row, entry])
                wanted = False
                if column_low <= column < column_high:
                    for lane in range(pes):
                        channel = block * pes + lane
                        if first <= channel < end and masks[block, row, entry, lane]:
                            c = channel - first
                            for pe in range(pes):
                                if kernel_start[pe, c + 1] > kernel_start[pe, c]:
                                    wanted = True
                                    break
                        if wanted:
                            break
                if not wanted:
                    # Dropped: silent in the wanted lanes, outside the window, of no use to any PE.
                    apu[1] = decoded + 1
                    continue
                x = column // average
                positions = np.int64(0)
                for s in range(kernel):
                    at = x - offset_x - s
                    out = at // stride - tile_x
                    if at >= 0 and at % stride == 0 and 0 <= out < tile_w:
                        column_out[s] = out
                        for r in range(kernel):
                            if row_bits >> r & 1:
                                positions |= np.int64(1) << (r * kernel + s)
                apu[1] = max(decoded + 1, apu[2])
                cycle = apu[1]
                for lane in range(pes):
                    channel = block * pes + lane
                    mask = np.int64(masks[block, row, entry, lane])
                    if mask == 0 or channel < first or channel >= end:
                        continue
                    c = channel - first
                    earliest = cycle + 1
                    needed = False
                    for pe in range(pes):
                        if kernel_start[pe, c + 1] > kernel_start[pe, c]:
                            needed = True
                            if pushes[pe] >= depth:
                                earliest = max(earliest, pops[pe, pushes[pe] % depth] + 1)
                    if not needed:
                        continue
                    cycle = earliest
                    counts[7] += 1
                    for pe in range(pes):
                        low, high = kernel_start[pe, c], kernel_start[pe, c + 1]
                        if high == low:
                            continue
                        pop = _push(pe, cycle, resume, depth, pushes, pops, header)
                        counts[1] += 1
                        enter = pop + 1
                        index = low
                        unit = low * header_units
                        while index < high:
                            # One fetch: the 32-bit word that holds unit `unit` of the headers.
                            leave = max(enter, match[pe])
                            counts[3] += 1
                            unit = (unit // 2 + 1) * 2
                            begin = index
                            matched = 0
                            while index < high and (index + 1) * header_units <= unit:
                                hits = wsp[pe, index] & positions
                                while hits:
                                    hits &= hits - 1
                                    matched += 1
                                index += 1
                            done = leave + 1
                            if matched:
                                done = _queue_space(pe, done, queued, queue)
                                gate[pe] = max(done, gate[pe]) + matched
                                queue[pe, queued[pe] % queue.shape[1]] = gate[pe]
                                queued[pe] += 1
                                busy[pe] += matched
                                counts[4] += matched
                                counts[8] += 1
                                for k in range(begin, index):
                                    pattern = wsp[pe, k]
                                    hits = pattern & positions
                                    if hits == 0:
                                        continue
                                    word = weight_start[pe, k]
                                    base = slot[pe, k] << log_tile
                                    pid = 0
                                    while pattern:
                                        if pattern & 1:
                                            if hits & 1:
                                                neuron = (
                                                    base
                                                    | row_out[pid // kernel] << log_width
                                                    | column_out[pid % kernel]
                                                )
                                                weight = weights[pe, word]
                                                for t in range(timesteps):
                                                    if mask >> t & 1:
                                                        value = accumulators[pe, neuron, t] + weight
                                                        if value > PSUM_MAX:
                                                            value = PSUM_MAX
                                                            counts[6] += 1
                                                            overflow[0, pe] = 1
                                                        elif value < PSUM_MIN:
                                                            value = PSUM_MIN
                                                            counts[6] += 1
                                                            overflow[0, pe] = 1
                                                        accumulators[pe, neuron, t] = value
                                                        counts[5] += 1
                                            word += 1
                                        pattern >>= 1
                                        hits >>= 1
                                        pid += 1
                            match[pe] = done
                            header[pe] = leave
                            enter = leave + 1
                apu[2] = cycle
    # The marker goes to every PE and through every stage, so it is the last of its chunk.
    decoded = max(apu[0] + 1, apu[1])
    apu[0] = decoded
    apu[1] = max(decoded + 1, apu[2])
    cycle = apu[1] + 1
    for pe in range(pes):
        if pushes[pe] >= depth:
            cycle = max(cycle, pops[pe, pushes[pe] % depth] + 1)
    apu[2] = cycle
    for pe in range(pes):
        pop = _push(pe, cycle, resume, depth, pushes, pops, header)
        header[pe] = max(pop + 1, match[pe])
        match[pe] = _queue_space(pe, header[pe] + 1, queued, queue)
        gate[pe] = max(match[pe], gate[pe]) + 1
        queue[pe, queued[pe] % queue.shape[1]] = gate[pe]
        queued[pe] += 1


def broadcast(
    stages: Stages,
    chunk: LoadedChunk,
    spikes: tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
    geometry: tuple[int, int, tuple[int, int], int],
    window: Window,
    logs: tuple[int, int],
    start: int,
    resume: int,
) -> None:
    """`run_chunk` with the registers of `stages`. geometry: kernel, stride, offset, average."""
    kernel, stride, offset, average = geometry
    run_chunk(
        *spikes,
        chunk.kernel_start,
        chunk.wsp,
        chunk.slot,
        chunk.weight_start,
        chunk.weights,
        chunk.header_units,
        chunk.start,
        chunk.end,
        kernel,
        stride,
        *offset,
        average,
        *window.tile,
        *window.rows,
        *window.columns,
        *logs,
        start,
        resume,
        stages.apu,
        stages.pushes,
        stages.pops,
        stages.header,
        stages.match,
        stages.queued,
        stages.queue,
        stages.gate,
        stages.busy,
        stages.counts,
        stages.overflow,
        stages.accumulators,
    )
