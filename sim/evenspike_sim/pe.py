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

from evenspike_core.arch import WEIGHTS, WINDOW, Arch
from evenspike_core.fixed import ACCUMULATOR_BITS
from evenspike_sim.loader import I64, LoadedChunk

PSUM_MAX = (1 << (ACCUMULATOR_BITS - 1)) - 1
PSUM_MIN = -PSUM_MAX - 1
NEVER = -9
"""Before every cycle, and before those ahead of the first that still count."""
HELD = 2
"""Cycles from a pop of the FIFO to the one in which its place can be taken."""
DROPS = 3
"""Cycles in which an activation has a place that the filter will drop, or has dropped."""
IN_FLIGHT = 3
"""Selections between S1 and the lanes: S2, S3, S4. Where one weight issues it does so in S3."""
WAYS = 2
"""Weights of a selection, at most, where they wait in lanes."""
DECODE_LATENCY = 3
"""Cycles from the start of the APU to its first item; the one before reads the first count."""


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
    FILTERED = 9


class At(IntEnum):
    """Columns of `Stages.pe`: when a stage of a PE last moved on, as a cycle."""

    DROPPED = 0
    """broadcast of the last activation that the filter dropped"""
    DROPPED_BEFORE = 1
    """broadcast of the one before"""
    DROPPED_FIRST = 2
    """and of the one before that"""
    PUSHES = 3
    """no cycle: how many activations went into the FIFO"""
    LINE = 4
    """M1 gave up its activation"""
    FETCH = 5
    """M2 gave up its activation, with its last fetch"""
    SELECT = 6
    """S1 gave up its entry, with its last selection; a marker issues then"""
    PLACE = 7
    """no cycle: place of the next push in the FIFO's ring"""
    LATEST = 8
    """no cycle: place of the latest of the selections in flight"""


(
    DROPPED, DROPPED_BEFORE, DROPPED_FIRST, PUSHES, LINE, FETCH, SELECT, PLACE, LATEST
) = map(int, At)  # fmt: skip
"""The columns as numbers: compiled code knows no enumeration."""


@dataclass
class Stages:
    """Registers of the APU and the PEs, as the cycles in which their content last moved on."""

    arch: Arch
    apu: I64 = field(init=False)
    """last item of the decoder, last entry that D gave up, last broadcast"""
    pe: I64 = field(init=False)
    """[pes, len(At)]"""
    pops: I64 = field(init=False)
    """[pes, fifo_depth], ring: pops of the FIFO"""
    returned: I64 = field(init=False)
    """[pes, match_depth]: when each credit of a fetch came back"""
    selections: I64 = field(init=False)
    """[pes, IN_FLIGHT, 1 + lanes], ring: its cycle, and what each lane gets of it"""
    lanes: I64 = field(init=False)
    """[pes, lanes, 2]: last issue of each lane, weights so far; no lanes where one weight issues"""
    issues: I64 = field(init=False)
    """[pes, lanes, lane_depth], ring: issues of each lane"""
    worked: I64 = field(init=False)
    """[pes, 2 * lane_depth], ring: cycles in which any lane of the PE has issued"""
    skew: I64 = field(init=False)
    """[accumulators]: the lane of each row's psum 0; that of psum t is this XOR t"""
    busy: I64 = field(init=False)
    counts: I64 = field(init=False)
    overflow: npt.NDArray[np.uint8] = field(init=False)
    """sticky flags of each PE in this layer: a partial sum, a membrane has saturated"""
    accumulators: npt.NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        arch, pes = self.arch, self.arch.pes
        lanes = arch.banks if arch.issue > 1 else 0
        self.apu = np.zeros(3, dtype=np.int64)
        self.pe = np.zeros((pes, len(At)), dtype=np.int64)
        self.pe[:, [At.DROPPED, At.DROPPED_BEFORE, At.DROPPED_FIRST]] = NEVER
        self.pops = np.zeros((pes, arch.fifo_depth), dtype=np.int64)
        self.returned = np.zeros((pes, arch.match_depth), dtype=np.int64)
        self.selections = np.zeros((pes, IN_FLIGHT, 1 + lanes), dtype=np.int64)
        self.selections[:, :, 0] = NEVER
        self.lanes = np.zeros((pes, lanes, 2), dtype=np.int64)
        self.issues = np.zeros((pes, lanes, arch.lane_depth), dtype=np.int64)
        self.worked = np.full((pes, 2 * arch.lane_depth), NEVER, dtype=np.int64)
        self.busy = np.zeros(pes, dtype=np.int64)
        self.counts = np.zeros(len(Count), dtype=np.int64)
        self.overflow = np.zeros((2, pes), dtype=np.uint8)
        self.accumulators = np.zeros((pes, arch.accumulators, arch.timesteps), dtype=np.int32)
        self.skew = _skew(arch)

    @property
    def gate(self) -> I64:
        """Cycle in which each PE has issued its last marker."""
        found: I64 = self.pe[:, At.SELECT].copy()
        return found


def _skew(arch: Arch) -> I64:
    """The XOR of the digits of each row to the base of the number of lanes."""
    rows = np.arange(arch.accumulators)
    found = np.zeros_like(rows)
    bits = (arch.banks - 1).bit_length()
    while bits and rows.any():
        found ^= rows & (arch.banks - 1)
        rows = rows >> bits
    return found


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


@nb.njit(cache=True, nogil=True, inline="always")
def _room(pe: int, cycle: int, at: I64, pops: I64) -> int:
    """First cycle from `cycle` on in which the PE takes a broadcast."""
    depth, pushes, place = pops.shape[1], at[pe, PUSHES], at[pe, PLACE]
    if pushes >= depth:
        cycle = max(cycle, pops[pe, place] + HELD)
    while True:
        # What the filter drops has a place for a while.
        if at[pe, DROPPED] < cycle - DROPS:
            return cycle
        dropped = 1 + int(at[pe, DROPPED_BEFORE] >= cycle - DROPS)
        dropped += int(at[pe, DROPPED_FIRST] >= cycle - DROPS)
        makes_room = pushes + dropped - depth  # the number of a pop
        if makes_room < 0:
            return cycle
        if makes_room < pushes:
            back = place + dropped
            if pops[pe, back - depth if back >= depth else back] + HELD <= cycle:
                return cycle
        cycle += 1


@nb.njit(cache=True, nogil=True, inline="always")
def _pop(pe: int, cycle: int, resume: int, at: I64, pops: I64) -> None:
    """What passes the filter, broadcast in `cycle`, up to the cycle in which it leaves M1."""
    pop = max(cycle + 3, at[pe, LINE], resume)
    place = at[pe, PLACE]
    pops[pe, place] = pop
    at[pe, PLACE] = place + 1 if place + 1 < pops.shape[1] else 0
    at[pe, PUSHES] += 1
    at[pe, LINE] = max(pop + 1, at[pe, FETCH])


@nb.njit(cache=True, nogil=True, inline="always")
def _fetch(pe: int, earliest: int, at: I64, returned: I64) -> int:
    """A fetch with the credit that came back first; returns which."""
    chosen, number = 0, 0
    first = returned[pe, 0]
    # Any that is back in time serves.
    while first >= earliest and number + 1 < returned.shape[1]:
        number += 1
        if returned[pe, number] < first:
            chosen, first = number, returned[pe, number]
    at[pe, FETCH] = max(earliest, returned[pe, chosen] + 1)
    return chosen


@nb.njit(cache=True, nogil=True, inline="always")
def _load(pe: int, credit: int, at: I64, returned: I64) -> int:
    """S1 takes what the fetch has matched; returns the cycle of that."""
    taken = max(at[pe, FETCH] + 3, at[pe, SELECT])
    returned[pe, credit] = taken
    at[pe, SELECT] = taken
    return int(taken)


@nb.njit(cache=True, nogil=True, inline="always")
def _select(pe: int, cycle: int, at: I64, selections: I64, lanes: I64, issues: I64) -> int:
    """First cycle from `cycle` on in which S1 selects: each lane has room, beside what it has, for
    all that is in flight and this.
    """
    wrap = issues.shape[2] - 1  # a lane's depth is a power of two
    room = wrap + 1 - WAYS * (IN_FLIGHT + 1)
    lane = 0
    while lane < lanes.shape[1]:
        if lanes[pe, lane, 0] < cycle:  # empty
            lane += 1
            continue
        # Most often there is room for what is in flight, too.
        makes_room = lanes[pe, lane, 1] - room - 1  # the number of an issue
        if makes_room < 0 or issues[pe, lane, makes_room & wrap] < cycle:
            lane += 1
            continue
        for number in range(IN_FLIGHT):
            if selections[pe, number, 0] >= cycle - IN_FLIGHT:
                makes_room -= selections[pe, number, 1 + lane]
        if makes_room < 0 or issues[pe, lane, makes_room & wrap] < cycle:
            lane += 1
        else:
            cycle += 1
            lane = 0
    latest = at[pe, LATEST] + 1
    if latest == IN_FLIGHT:
        latest = 0
    at[pe, LATEST] = latest
    selections[pe, latest, 0] = cycle
    for lane in range(lanes.shape[1]):
        selections[pe, latest, 1 + lane] = 0
    return cycle


@nb.njit(cache=True, nogil=True, inline="always")
def _issue(
    pe: int,
    first: int,
    fires: I64,
    times: int,
    at: I64,
    selections: I64,
    lanes: I64,
    issues: I64,
    worked: I64,
    busy: I64,
) -> None:
    """A weight of the latest selection: the lane of each timestep that fires issues it.

    first: the lane of its row's psum 0. fires: the timesteps, so many as `times` says.
    """
    wrap, around = issues.shape[2] - 1, worked.shape[1] - 1
    latest = at[pe, LATEST]
    written = selections[pe, latest, 0] + IN_FLIGHT
    for number in range(times):
        lane = first ^ fires[number]
        cycle = max(lanes[pe, lane, 0], written) + 1
        issues[pe, lane, lanes[pe, lane, 1] & wrap] = cycle
        lanes[pe, lane, 0] = cycle
        lanes[pe, lane, 1] += 1
        selections[pe, latest, 1 + lane] += 1
        if worked[pe, cycle & around] != cycle:
            worked[pe, cycle & around] = cycle
            busy[pe] += 1


@nb.njit(cache=True, nogil=True, inline="always")
def _accumulate(
    pe: int,
    row: int,
    weight: int,
    fires: I64,
    times: int,
    counts: I64,
    overflow: npt.NDArray[np.uint8],
    accumulators: npt.NDArray[np.int32],
) -> None:
    for number in range(times):
        t = fires[number]
        value = accumulators[pe, row, t] + weight
        if value > PSUM_MAX:
            value = PSUM_MAX
            counts[6] += 1
            overflow[0, pe] = 1
        elif value < PSUM_MIN:
            value = PSUM_MIN
            counts[6] += 1
            overflow[0, pe] = 1
        accumulators[pe, row, t] = value
    counts[5] += times


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
    patterns: I64,
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
    first_row: int,
    ends: bool,
    start: int,
    resume: int,
    fetch_units: int,
    together: int,
    apu: I64,
    at: I64,
    pops: I64,
    returned: I64,
    selections: I64,
    lanes: I64,
    issues: I64,
    worked: I64,
    skew: I64,
    busy: I64,
    counts: I64,
    overflow: npt.NDArray[np.uint8],
    accumulators: npt.NDArray[np.int32],
) -> None:
    """Broadcast the activations of channels [first, end) and let every PE work them off.

    start: cycle from which the APU may begin. resume: first cycle in which a PE may pop an
    activation of this round. Ends with the chunk's marker: `at[pe, SELECT]` is then its cycle.
    first_row: of the accumulators, where the image's are. ends: no image of the round follows, so
    that the marker ends the chunk. together: banks of the weight bank where the gates are weights,
    which issue together if neither these nor their neurons collide; else 0.
    """
    pes = pops.shape[0]
    pairs = lanes.shape[1] > 0
    banks = 2 if pairs else 1
    odd = banks - 1  # the bit of an address that says which
    row_out = np.zeros(kernel, dtype=np.int64)
    column_out = np.zeros(kernel, dtype=np.int64)
    fires = np.zeros(accumulators.shape[2], dtype=np.int64)  # timesteps of an activation
    # Of a fetch, by banks of the weights: the row and the address of each match.
    found_row = np.zeros((banks, fetch_units * kernel**2), dtype=np.int64)
    found_word = np.zeros((banks, fetch_units * kernel**2), dtype=np.int64)
    found_place = np.zeros((banks, fetch_units * kernel**2), dtype=np.int64)
    apu[0] = max(apu[0], start + DECODE_LATENCY - 1)
    # D has three places: when it gave up the entry before the last, and the one before that.
    second, third = np.int64(0), np.int64(0)
    picked = np.int64(0)  # last lane that the lane stage has picked
    for row in range(row_low, row_high):
        y = row // average
        row_bits = np.int64(0)
        for r in range(kernel):
            away = y - offset_y - r
            out = away // stride - tile_y
            if away >= 0 and away % stride == 0 and 0 <= out < tile_h:
                row_bits |= np.int64(1) << r
                row_out[r] = out
        for block in range(first // pes, (end + pes - 1) // pes):
            apu[0] += 1
            counts[2] += 1
            for entry in range(row_counts[block, row]):
                apu[0] = max(apu[0], third) + 1
                third, second = second, apu[1]
                apu[1] = max(apu[0] + 2, apu[1] + 1)
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
                positions = np.int64(0)
                if wanted:
                    x = column // average
                    for s in range(kernel):
                        away = x - offset_x - s
                        out = away // stride - tile_x
                        if away >= 0 and away % stride == 0 and 0 <= out < tile_w:
                            column_out[s] = out
                            for r in range(kernel):
                                if row_bits >> r & 1:
                                    positions |= np.int64(1) << (r * kernel + s)
                if positions == 0:
                    # Dropped: silent in the wanted lanes, of no position, of no use to any PE.
                    continue
                apu[1] = max(apu[1], picked)
                for lane in range(pes):
                    channel = block * pes + lane
                    mask = np.int64(masks[block, row, entry, lane])
                    if mask == 0 or channel < first or channel >= end:
                        continue
                    c = channel - first
                    needed = False
                    pick = max(apu[1] + 1, apu[2])
                    earliest = pick + 1
                    waited = earliest - 1
                    while waited != earliest:  # what will be dropped can be in the way
                        waited = earliest
                        for pe in range(pes):
                            if kernel_start[pe, c + 1] > kernel_start[pe, c]:
                                needed = True
                                earliest = _room(pe, earliest, at, pops)
                    if not needed:
                        continue
                    cycle = earliest
                    picked, apu[2] = pick, cycle
                    counts[7] += 1
                    times = 0
                    for time in range(fires.shape[0]):
                        if mask >> time & 1:
                            fires[times] = time
                            times += 1
                    for pe in range(pes):
                        low, high = kernel_start[pe, c], kernel_start[pe, c + 1]
                        if high == low:
                            continue
                        counts[9] += 1
                        if patterns[pe, c] & positions == 0:
                            at[pe, DROPPED_FIRST] = at[pe, DROPPED_BEFORE]
                            at[pe, DROPPED_BEFORE] = at[pe, DROPPED]
                            at[pe, DROPPED] = cycle
                            continue
                        _pop(pe, cycle, resume, at, pops)
                        counts[1] += 1
                        enter = at[pe, LINE] + 1
                        index = low
                        unit = low * header_units
                        while index < high:
                            # One fetch: the line of the header bank that holds unit `unit`.
                            credit = _fetch(pe, enter, at, returned)
                            counts[3] += 1
                            enter = at[pe, FETCH] + 1
                            unit = (unit // fetch_units + 1) * fetch_units
                            found, found_odd = 0, 0
                            while index < high and (index + 1) * header_units <= unit:
                                pattern = wsp[pe, index]
                                hits = pattern & positions
                                word = weight_start[pe, index]
                                base = first_row + (slot[pe, index] << log_tile)
                                pid = 0
                                while hits:
                                    if hits & 1:
                                        neuron = (
                                            base
                                            | row_out[pid // kernel] << log_width
                                            | column_out[pid % kernel]
                                        )
                                        if word & odd:
                                            found_row[1, found_odd] = neuron
                                            found_word[1, found_odd] = word
                                            found_odd += 1
                                        else:
                                            found_row[0, found] = neuron
                                            found_word[0, found] = word
                                            if together:
                                                found_place[0, found] = (
                                                    row_out[pid // kernel] % WINDOW * WINDOW
                                                    + column_out[pid % kernel] % WINDOW
                                                )
                                            found += 1
                                    word += pattern & 1
                                    pattern >>= 1
                                    hits >>= 1
                                    pid += 1
                                index += 1
                            matched = found + found_odd
                            if matched == 0:
                                returned[pe, credit] = at[pe, FETCH] + 2
                                continue
                            counts[4] += matched
                            counts[8] += 1
                            selected = _load(pe, credit, at, returned)
                            # Of the selection so far: the banks of weights and of neurons.
                            used_words, used_places = np.int64(0), np.int64(0)
                            for number in range(max(found, found_odd)):
                                if together:
                                    word_bank = np.int64(1) << found_word[0, number] % together
                                    place_bank = np.int64(1) << found_place[0, number]
                                    if not (used_words & word_bank or used_places & place_bank):
                                        joins = used_words != 0
                                    else:
                                        joins = False
                                        used_words, used_places = np.int64(0), np.int64(0)
                                    used_words |= word_bank
                                    used_places |= place_bank
                                    if not joins:
                                        selected += 1
                                        busy[pe] += 1
                                        selections[pe, 0, 0] = selected
                                    _accumulate(
                                        pe,
                                        found_row[0, number],
                                        weights[pe, found_word[0, number]],
                                        fires,
                                        times,
                                        counts,
                                        overflow,
                                        accumulators,
                                    )
                                    continue
                                selected += 1
                                if pairs:
                                    selected = _select(pe, selected, at, selections, lanes, issues)
                                else:
                                    selections[pe, 0, 0] = selected
                                    busy[pe] += 1
                                for bank in range(banks):
                                    if number >= (found_odd if bank else found):
                                        continue
                                    neuron = found_row[bank, number]
                                    if pairs:
                                        _issue(
                                            pe,
                                            skew[neuron],
                                            fires,
                                            times,
                                            at,
                                            selections,
                                            lanes,
                                            issues,
                                            worked,
                                            busy,
                                        )
                                    _accumulate(
                                        pe,
                                        neuron,
                                        weights[pe, found_word[bank, number]],
                                        fires,
                                        times,
                                        counts,
                                        overflow,
                                        accumulators,
                                    )
                            at[pe, SELECT] = selected
    # The marker goes to every PE and through every stage, so it is the last of its chunk.
    apu[0] = max(apu[0], third) + 1
    apu[1] = max(apu[0] + 2, apu[1] + 1, picked)
    cycle = max(apu[1] + 1, apu[2]) + 1
    waited = cycle - 1
    while waited != cycle:
        waited = cycle
        for pe in range(pes):
            cycle = _room(pe, cycle, at, pops)
    apu[2] = cycle
    for pe in range(pes):
        _pop(pe, cycle, resume, at, pops)
        credit = _fetch(pe, at[pe, LINE] + 1, at, returned)
        at[pe, SELECT] = _load(pe, credit, at, returned) + 1
        if not ends:
            continue
        # It issues when the stages behind S1, and the lanes, are empty.
        empty = selections[pe, at[pe, LATEST], 0] + (IN_FLIGHT + 1 if pairs else IN_FLIGHT)
        for lane in range(lanes.shape[1]):
            empty = max(empty, lanes[pe, lane, 0] + 1)
        at[pe, SELECT] = max(at[pe, SELECT], empty)


def broadcast(
    stages: Stages,
    chunk: LoadedChunk,
    spikes: tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
    geometry: tuple[int, int, tuple[int, int], int],
    window: Window,
    logs: tuple[int, int],
    image: tuple[int, bool],
    start: int,
    resume: int,
) -> None:
    """`run_chunk` with the registers of `stages`. geometry: kernel, stride, offset, average.
    image: its first row, and whether none of the round follows it.
    """
    kernel, stride, offset, average = geometry
    run_chunk(
        *spikes,
        chunk.kernel_start,
        chunk.wsp,
        chunk.slot,
        chunk.weight_start,
        chunk.weights,
        chunk.patterns,
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
        *image,
        start,
        resume,
        stages.arch.fetch_units,
        stages.arch.ways if stages.arch.gates == WEIGHTS else 0,
        stages.apu,
        stages.pe,
        stages.pops,
        stages.returned,
        stages.selections,
        stages.lanes,
        stages.issues,
        stages.worked,
        stages.skew,
        stages.busy,
        stages.counts,
        stages.overflow,
        stages.accumulators,
    )
