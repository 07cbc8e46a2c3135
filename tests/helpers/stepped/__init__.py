"""The stepped model: the accelerator of docs/timing.md as registers that change once a cycle.

Slow on purpose, and written from the contract alone: it shares no code with the cycle model. In
every cycle each block computes its next registers from registers only, then all of them change
together:

- `Reg`, `Ram`, `Queue` keep what is visible (`q`, `out`, `head`) apart from what is driven; a
  second driver of a register, or a second access on a port, in the same cycle is an error.
- A *wire* is a method without side effects that reads registers, and wires of blocks further down
  the pipeline; none depends on itself. So a stage can be refilled in the cycle in which it is
  vacated (the usual valid/enable logic), and `step` of the blocks may run in any order.

Where a register holds a record, hardware has the fields; where a counter only grows, it has as many
bits as the difference that matters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from evenspike_core.arch import HEADER_UNITS, PID_BITS, TOKEN_BITS, Arch
from evenspike_core.fixed import ACCUMULATOR_BITS, Leak, Reset
from evenspike_core.pack import Descriptor, Packed, SegmentDescriptor

LOW, HIGH = -(1 << (ACCUMULATOR_BITS - 1)), (1 << (ACCUMULATOR_BITS - 1)) - 1
STATES = ("busy", "starved", "waiting", "loading", "draining")

T = TypeVar("T")


# --- storage ---------------------------------------------------------------------------------


class _Stateful(Protocol):
    def commit(self) -> None: ...


class Clock:
    """What has been driven in this cycle and becomes visible in the next."""

    def __init__(self) -> None:
        self.driven: list[_Stateful] = []

    def tick(self) -> None:
        for item in self.driven:
            item.commit()
        self.driven.clear()


class Reg(Generic[T]):
    """A register: `q` is its value in this cycle, `set` gives the one of the next."""

    __slots__ = ("_clock", "_next", "_set", "q")

    def __init__(self, clock: Clock, value: T) -> None:
        self.q = value
        self._next = value
        self._set = False
        self._clock = clock

    def set(self, value: T) -> None:
        assert not self._set, "two drivers of a register in one cycle"
        self._next = value
        self._set = True
        self._clock.driven.append(self)

    def commit(self) -> None:
        self.q = self._next
        self._set = False


class Ram(Generic[T]):
    """A memory with one read and one write port; a read sees the cells before a write.

    `out` holds the data of the last read until the next one.
    """

    __slots__ = ("_clock", "_read", "_write", "cells", "out")

    def __init__(self, clock: Clock, size: int, value: T) -> None:
        self.cells = [value] * size
        self.out = value
        self._read: int | None = None
        self._write: tuple[int, T] | None = None
        self._clock = clock

    def read(self, address: int) -> None:
        assert self._read is None, "two reads on one port"
        self._read = address
        self._clock.driven.append(self)

    def write(self, address: int, value: T) -> None:
        assert self._write is None, "two writes on one port"
        assert 0 <= address < len(self.cells), "write outside the memory"
        self._write = address, value
        self._clock.driven.append(self)

    def commit(self) -> None:
        if self._read is not None:
            self.out = self.cells[self._read]
            self._read = None
        if self._write is not None:
            address, value = self._write
            self.cells[address] = value
            self._write = None


class Queue(Generic[T]):
    """A FIFO whose `full` and `empty` are registers: they ignore what happens in this cycle."""

    __slots__ = ("_clock", "_pop", "_push", "depth", "items")

    def __init__(self, clock: Clock, depth: int) -> None:
        self.items: deque[T] = deque()
        self.depth = depth
        self._push: list[T] = []
        self._pop = False
        self._clock = clock

    @property
    def full(self) -> bool:
        return len(self.items) >= self.depth

    @property
    def empty(self) -> bool:
        return not self.items

    @property
    def head(self) -> T:
        return self.items[0]

    def push(self, item: T) -> None:
        assert not self._push, "two pushes in one cycle"
        assert not self.full, "push into a full queue"
        self._push.append(item)
        self._clock.driven.append(self)

    def pop(self) -> None:
        assert not self._pop, "two pops in one cycle"
        assert self.items, "pop from an empty queue"
        self._pop = True
        self._clock.driven.append(self)

    def commit(self) -> None:
        if self._pop:
            self.items.popleft()
            self._pop = False
        if self._push:
            self.items.append(self._push.pop())


# --- the order of work -----------------------------------------------------------------------
# The counters of the sequencer (layer, pass, tile, chunk), unrolled once: a register then holds an
# index into these lists.


@dataclass(frozen=True)
class Load:
    """A chunk that is read into one half of the scratchpads; the pass's last holds the biases."""

    layer: Descriptor
    segment: int
    half: int
    last: bool


@dataclass(frozen=True)
class Round:
    """A tile of a pass: broadcasts up to a barrier, then a drain. `half` has its biases."""

    layer: int
    number: int
    slots: int
    tile: tuple[int, int, int, int]
    half: int
    ends_layer: bool


@dataclass(frozen=True)
class Work:
    """The broadcast of one chunk to one tile; whether it ends its round, and gives up its half."""

    layer: int
    segment: SegmentDescriptor
    start: int
    end: int
    tile: tuple[int, int, int, int]
    round: int
    load: int
    half: int
    ends_round: bool
    frees: bool


@dataclass(frozen=True)
class Place:
    """One output position of one block, in drain order."""

    layer: int
    block: int
    slot: int
    at: int
    row: int
    column: int
    opens: bool  # first position of its pooling window
    closes: bool  # last one
    restarts: bool  # its row of the spike memory begins


@dataclass
class Schedule:
    """Loads, rounds and broadcasts of the whole network, and the addresses that the port reads."""

    loads: list[Load]
    rounds: list[Round]
    works: list[Work]
    words: list[int]


def tiles(layer: Descriptor) -> Iterator[tuple[int, int, int, int]]:
    for y in range(0, layer.size[0], layer.tile[0]):
        for x in range(0, layer.size[1], layer.tile[1]):
            yield y, x, min(layer.tile[0], layer.size[0] - y), min(layer.tile[1], layer.size[1] - x)


def schedule(packed: Packed) -> Schedule:
    plan = Schedule([], [], [], [])
    for index, layer in enumerate(packed.layers):
        if layer.host:
            continue
        areas = list(tiles(layer))
        resident = len(layer.chunks) == 1
        for number, (address, size) in enumerate(layer.passes):
            for turn, tile in enumerate(areas):
                ends_pass = turn == len(areas) - 1
                if turn == 0 or not resident:
                    plan.words += packed.stream[address : address + size].tolist()
                for position, (segment, start, end) in enumerate(layer.chunks):
                    last = position == len(layer.chunks) - 1
                    if turn == 0 or not resident:
                        plan.loads.append(Load(layer, segment, len(plan.loads) % 2, last))
                    plan.works.append(
                        Work(
                            index,
                            layer.segments[segment],
                            start,
                            end,
                            tile,
                            len(plan.rounds),
                            len(plan.loads) - 1,
                            plan.loads[-1].half,
                            last,
                            not resident or ends_pass,
                        )
                    )
                ends = ends_pass and number == len(layer.passes) - 1
                half = plan.loads[-1].half
                plan.rounds.append(Round(index, number, layer.slots_used[number], tile, half, ends))
    return plan


def places(
    layer: Descriptor, index: int, number: int, tile: tuple[int, int, int, int]
) -> list[list[Place]]:
    """For each slot that the pass uses, the positions of the tile in drain order."""
    top, left, height, width = tile
    side = layer.pool
    found = []
    for slot in range(layer.slots_used[number]):
        column = []
        for wy in range(0, height, side):
            for wx in range(0, width, side):
                for n in range(side * side):
                    y, x = wy + n // side, wx + n % side
                    column.append(
                        Place(
                            index,
                            number * layer.slots + slot,
                            slot,
                            (slot * layer.tile[0] + y) * layer.tile[1] + x,
                            (top + wy) // side,
                            (left + wx) // side,
                            n == 0,
                            n == side * side - 1,
                            left + wx == 0,
                        )
                    )
        found.append(column)
    return found


def host_words(
    packed: Packed, currents: npt.NDArray[np.int32], order: Sequence[Place]
) -> Iterator[int]:
    """The host's part of the stream: `pes` currents of 24 bits a place, low lane first."""
    layer = packed.layers[0]
    for place in order:
        y, x = divmod(place.at - place.slot * layer.tile[0] * layer.tile[1], layer.tile[1])
        y += place.row * layer.pool - (y - y % layer.pool)
        x += place.column * layer.pool - (x - x % layer.pool)
        word = 0
        for lane, number in enumerate(layer.blocks[place.block].tolist()):
            if number >= 0:
                word |= (int(currents[number, y, x]) & 0xFFFFFF) << 24 * lane
        for _ in range(packed.arch.current_words):
            yield word & (1 << 64) - 1
            word >>= 64


# --- memory port and loader ------------------------------------------------------------------


class Port:
    """One request a cycle while there is credit; a delay line stands for the memory."""

    def __init__(self, machine: Machine, words: list[int]) -> None:
        self.machine = machine
        clock, arch = machine.clock, machine.arch
        self.words = words
        self.issued = Reg(clock, 0)
        self.credits = Reg(clock, arch.stream_depth)
        self.line: Reg[tuple[int | None, ...]] = Reg(clock, (None,) * arch.memory_latency)
        self.fifo: Queue[int] = Queue(clock, arch.stream_depth)

    def step(self) -> None:
        word = None
        if self.credits.q > 0 and self.issued.q < len(self.words):
            word = self.words[self.issued.q]
            self.issued.set(self.issued.q + 1)
        self.credits.set(self.credits.q - (word is not None) + self.machine.loader.takes())
        self.line.set((word, *self.line.q[:-1]))
        arrived = self.line.q[-1]
        if arrived is not None:
            self.fifo.push(arrived)


@dataclass(frozen=True)
class Word:
    """Four units in a PE's holding register; whether it is the PE's first or last of the chunk."""

    bits: int
    load: Load
    first: bool
    last: bool


class Loader:
    """Hands the words of the stream on: to the host layer, to the counts, to the PEs in turn."""

    def __init__(self, machine: Machine, host_words: int) -> None:
        self.machine = machine
        clock, arch = machine.clock, machine.arch
        self.heads = -(-arch.pes // 8)
        self.host = Reg(clock, host_words)
        self.load = Reg(clock, 0)
        self.head = Reg(clock, 0)
        self.counts: Reg[tuple[int, ...]] = Reg(clock, ())
        self.left: Reg[tuple[int, ...]] = Reg(clock, ())
        self.target = Reg(clock, 0)
        self.occupied = (Reg(clock, False), Reg(clock, False))

    def takes(self) -> bool:
        """Wire: a word is handed on in this cycle."""
        machine = self.machine
        if machine.port.fifo.empty:
            return False
        if self.host.q:
            return True
        if self.head.q == 0:  # its first word: not before its half is free
            return not self.occupied[machine.plan.loads[self.load.q].half].q
        if self.head.q < self.heads:
            return True
        return machine.pes[self.target.q].unpacker.hold.q is None

    def completes_block(self) -> bool:
        """Wire: the last word of a block of the host's currents is handed on in this cycle."""
        held = len(self.machine.drain.current.q)
        return self.host.q > 0 and held == self.machine.arch.current_words - 1 and self.takes()

    def step(self) -> None:
        freed = self.machine.sequencer.frees()
        if freed is not None:
            self.occupied[freed].set(False)
        if not self.takes():
            return
        word = self.machine.port.fifo.head
        self.machine.port.fifo.pop()
        if self.host.q:
            self.host.set(self.host.q - 1)
            self.machine.drain.take_current(word)
        elif self.head.q < self.heads:
            self._count(word)
        else:
            self._hand_on(word)

    def _count(self, word: int) -> None:
        if self.head.q == 0:
            self.occupied[self.machine.plan.loads[self.load.q].half].set(True)
        counts = (() if self.head.q == 0 else self.counts.q) + tuple(word.to_bytes(8, "little"))
        counts = counts[: self.machine.arch.pes]
        self.counts.set(counts)
        self.left.set(counts)
        self.target.set(0)  # every PE has a word: at least the number of its tokens
        self.head.set(self.head.q + 1)

    def _hand_on(self, word: int) -> None:
        pe = self.target.q
        left = list(self.left.q)
        first, last = left[pe] == self.counts.q[pe], left[pe] == 1
        load = self.machine.plan.loads[self.load.q]
        self.machine.pes[pe].unpacker.hold.set(Word(word, load, first, last))
        left[pe] -= 1
        self.left.set(tuple(left))
        turn = [n % len(left) for n in range(pe + 1, pe + 1 + len(left))]
        following = next((n for n in turn if left[n]), None)
        if following is None:
            self.load.set(self.load.q + 1)
            self.head.set(0)
        else:
            self.target.set(following)


@dataclass
class Unpacking:
    """Registers of a PE's token decoder.

    tokens: of the current pair, still to come. opened: the kernel whose WSP grows, or -1.
    flush: its header is to be written, it was the last of the chunk.
    """

    load: Load | None = None
    at: int = 0
    counted: bool = False
    left: int = 0
    tokens: tuple[int, ...] = ()
    kernel: int = 0
    opened: int = -1
    wsp: int = 0
    kernel_weight: int = 0
    channel: int = -1
    channel_header: int = 0
    channel_weight: int = 0
    headers: int = 0
    weights: int = 0
    biases: int = 0
    flush: bool = False


class Unpacker:
    """The PE's part of the loader: 16-bit units in, weight bank, header bank and table out."""

    def __init__(self, machine: Machine, banks: Banks) -> None:
        clock = machine.clock
        self.banks = banks
        self.hold: Reg[Word | None] = Reg(clock, None)
        self.state = Reg(clock, Unpacking())
        self.presence = (Reg(clock, 0), Reg(clock, 0))
        self.bias_base = (Reg(clock, 0), Reg(clock, 0))
        self.unpacked = Reg(clock, 0)

    def step(self) -> None:
        word, old = self.hold.q, self.state.q
        if word is None and not old.flush:
            return
        new = replace(old)
        if old.flush:
            self._close(new)
            new.flush = False
        if word is not None:
            self._process(word, new)
        self.state.set(new)

    def _process(self, word: Word, new: Unpacking) -> None:
        if word.first and new.at == 0:
            fresh = Unpacking(load=word.load)
            new.__dict__.update(fresh.__dict__)
        assert new.load is not None
        pid_bits = PID_BITS[new.load.layer.segments[new.load.segment].kernel]
        skip = (1 << pid_bits) - 1
        if new.tokens and new.tokens[0] & skip == skip:
            new.kernel += ((new.tokens[0] >> pid_bits) + 1) << (TOKEN_BITS - pid_bits)
            new.tokens = new.tokens[1:]
        else:
            self._unit(word.bits >> 16 * new.at & 0xFFFF, new, pid_bits)
            new.at += 1
        if new.at == 4 and not (new.tokens and new.tokens[0] & skip == skip):
            new.at = 0
            self.hold.set(None)
            if word.last:
                self.unpacked.set(self.unpacked.q + 1)

    def _unit(self, unit: int, new: Unpacking, pid_bits: int) -> None:
        assert new.load is not None
        half, slots = new.load.half, new.load.layer.slots
        if not new.counted:
            new.counted, new.left = True, unit
            new.biases = 2 * slots if new.load.last else 0
            self.presence[half].set(0)
            self.bias_base[half].set(0)
        elif new.tokens:
            token, new.tokens = new.tokens[0], new.tokens[1:]
            new.kernel += token >> pid_bits
            if new.kernel != new.opened:
                if new.opened >= 0:
                    self._close(new)
                new.opened, new.wsp, new.kernel_weight = new.kernel, 0, new.weights
            new.wsp |= 1 << (token & ((1 << pid_bits) - 1))
            self.banks.weight[half].write(new.weights, unit - (unit >> 15 << 16))
            new.weights += 1
            channel = new.kernel // slots
            self.presence[half].set(self.presence[half].q | 1 << channel)
            self.bias_base[half].set(new.weights)
            # The header of the last kernel follows in the cycle after: the bank has one port, and
            # may be taking the header of the kernel before.
            new.flush = not (new.left or new.tokens)
        elif new.left:
            new.tokens = (unit & 0xFF, unit >> 8)[: new.left]
            new.left -= len(new.tokens)
        elif new.biases:
            self.banks.weight[half].write(new.weights, unit)
            new.weights += 1
            new.biases -= 1
        # Anything else is the padding of the last word.

    def _close(self, new: Unpacking) -> None:
        """Write the header of the open kernel and its channel's line of the table."""
        assert new.load is not None
        half = new.load.half
        channel, slot = divmod(new.opened, new.load.layer.slots)
        if channel != new.channel:
            new.channel, new.channel_header = channel, new.headers
            new.channel_weight = new.kernel_weight
        kernel = new.load.layer.segments[new.load.segment].kernel
        self.banks.write_header(half, new.headers, slot << kernel * kernel | new.wsp, kernel)
        new.headers += 1
        line = (new.channel_header, new.channel_weight, new.headers - new.channel_header)
        self.banks.table[half].write(channel, line)


class Banks:
    """A PE's scratchpad and channel table, each in two halves.

    The header bank is read in words of 32 bits; two of these lie side by side, so that a header of
    64 bits (K = 7) is written at once.
    """

    def __init__(self, machine: Machine) -> None:
        clock, arch = machine.clock, machine.arch
        size = arch.weight_words
        self.weight = tuple(Ram(clock, size, 0) for _ in range(2))
        lines = arch.chunk_channels
        self.table = tuple(Ram(clock, lines, (0, 0, 0)) for _ in range(2))
        words = -(-arch.header_words // 4)
        self.units = arch.header_words
        self.header = tuple(Ram(clock, words, (0, 0, 0, 0)) for _ in range(2))

    def write_header(self, half: int, index: int, value: int, kernel: int) -> None:
        units = HEADER_UNITS[kernel]
        assert (index + 1) * units <= self.units, "more headers than the bank holds"
        line, lane = divmod(index * units, 4)
        # A write enable for each 16 bits leaves the neighbours as they are.
        content = list(self.header[half].cells[line])
        for n in range(units):
            content[lane + n] = value >> 16 * n & 0xFFFF
        self.header[half].write(line, (content[0], content[1], content[2], content[3]))

    def word(self, half: int, address: int) -> int:
        """Wire: the 32 bits that a read of `address` in the cycle before has brought."""
        line = self.header[half].out
        return line[address % 2 * 2] | line[address % 2 * 2 + 1] << 16


# --- APU -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """What D holds beside the data of the spike memory; a marker has no data."""

    work: Work
    row: int
    block: int
    marker: bool


@dataclass(frozen=True)
class Activation:
    """An entry of a PE's FIFO; (y, x) in the map that the kernel sees."""

    work: Work
    marker: bool
    channel: int = 0
    mask: int = 0
    y: int = 0
    x: int = 0


@dataclass(frozen=True)
class Visit:
    """The decoder's position: a row of a block, and the entries of it already decoded.

    row is -1 before the first visit.
    """

    work: Work
    row: int
    block: int
    done: int


def reach(work: Work, axis: int) -> tuple[int, int]:
    """First and end of the source's rows (axis 0) or columns (1) that reach the tile."""
    segment = work.segment
    origin, length = work.tile[axis], work.tile[axis + 2]
    extent = (segment.height, segment.width)[axis]
    first = max(0, origin * segment.stride - segment.padding)
    end = (origin + length - 1) * segment.stride - segment.padding + segment.kernel
    return first * segment.average, min(extent, end * segment.average)


class Apu:
    """Decoder, register D and lane stage."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        clock = machine.clock
        self.visit: Reg[Visit | None] = Reg(clock, None)
        self.entry: Reg[Entry | None] = Reg(clock, None)
        self.lanes: Reg[tuple[Activation, ...]] = Reg(clock, ())  # still to broadcast

    # Wires, from the last stage to the first.

    def fires(self) -> bool:
        """The lane stage broadcasts its first activation."""
        if not self.lanes.q:
            return False
        return not any(pe.fifo.full for pe in self._receivers(self.lanes.q[0]))

    def fires_last(self) -> bool:
        return len(self.lanes.q) == 1 and self.fires()

    def fires_marker(self) -> bool:
        return bool(self.lanes.q) and self.lanes.q[0].marker and self.fires()

    def gives_up(self) -> bool:
        """D holds an entry that leaves it: dropped, or taken by the lane stage."""
        if self.entry.q is None:
            return False
        return not self.wanted() or not self.lanes.q or self.fires_last()

    def wanted(self) -> tuple[Activation, ...]:
        """The activations of the entry in D."""
        entry = self.entry.q
        assert entry is not None
        work = entry.work
        if entry.marker:
            return (Activation(work, True),)
        column, masks = self.machine.memory.entries.out
        first, end = reach(work, 1)
        if not first <= column < end:
            return ()
        side = work.segment.average
        present = 0
        for pe in self.machine.pes:
            present |= pe.unpacker.presence[work.half].q
        base = entry.block * self.machine.arch.pes
        return tuple(
            Activation(work, False, at - work.start, mask, entry.row // side, column // side)
            for at, mask in enumerate(masks, start=base)
            if mask and work.start <= at < work.end and present >> (at - work.start) & 1
        )

    def _receivers(self, item: Activation) -> list[Pe]:
        """The PEs that have a weight of the channel; of a marker: all."""
        bit = 0 if item.marker else 1 << item.channel
        half = item.work.half
        return [pe for pe in self.machine.pes if not bit or pe.unpacker.presence[half].q & bit]

    def step(self) -> None:
        lanes = self.lanes.q
        if self.fires():
            for pe in self._receivers(lanes[0]):
                pe.fifo.push(lanes[0])
        if not lanes or self.fires_last():
            self.lanes.set(self.wanted() if self.gives_up() else ())
        elif self.fires():
            self.lanes.set(lanes[1:])
        self._decode()

    def _decode(self) -> None:
        entry = None
        visit = self.visit.q
        free = self.entry.q is None or self.gives_up()
        if self.machine.sequencer.starts():
            self.visit.set(Visit(self.machine.sequencer.work(), -1, 0, 0))
        elif visit is not None and self.machine.sequencer.timer.q == 0:
            counts = self.machine.memory.counts.out
            following = self._next_row(visit)
            if visit.row >= 0 and visit.done < counts:
                if free:
                    base = self.machine.memory.row(visit.work.segment, visit.block, visit.row)
                    self.machine.memory.entries.read(base + visit.done)
                    entry = Entry(visit.work, visit.row, visit.block, False)
                    self.visit.set(replace(visit, done=visit.done + 1))
            elif following is not None:
                row, block = following
                at = self.machine.memory.row(visit.work.segment, block, row)
                self.machine.memory.counts.read(at)
                self.visit.set(Visit(visit.work, row, block, 0))
            elif free:
                entry = Entry(visit.work, 0, 0, True)
                self.visit.set(None)
        if free and entry is not self.entry.q:
            self.entry.set(entry)

    def _next_row(self, visit: Visit) -> tuple[int, int] | None:
        """The row visit that follows: all blocks of a row, then the next row."""
        work, pes = visit.work, self.machine.arch.pes
        first_row, end_row = reach(work, 0)
        first, last = work.start // pes, (work.end - 1) // pes
        row, block = (visit.row, visit.block + 1) if visit.row >= 0 else (first_row, first)
        if block > last:
            row, block = row + 1, first
        return (row, block) if row < end_row else None


class SpikeMemory:
    """CSR spikes of all layers: entries {column, masks}, and a count for each row.

    A row is addressed by its first entry.
    """

    def __init__(self, machine: Machine) -> None:
        clock, arch = machine.clock, machine.arch
        silent: tuple[int, tuple[int, ...]] = (0, (0,) * arch.pes)
        self.entries = Ram(clock, arch.spike_entries, silent)
        self.counts = Ram(clock, arch.spike_entries, 0)

    @staticmethod
    def row(segment: SegmentDescriptor, block: int, row: int) -> int:
        return segment.spike_base + (block * segment.height + row) * segment.width


# --- PE --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fetch:
    """A read of the header bank on its way to M2: `number` counts from the channel's first."""

    item: Activation
    number: int
    line: tuple[int, int, int]
    last: bool


@dataclass(frozen=True)
class Match:
    """A kernel with matches: where its weights begin, its WSP, and the PIDs that match."""

    slot: int
    pids: int
    wsp: int
    base: int


@dataclass(frozen=True)
class Matched:
    """An entry of the match queue: the matches of one fetch, or a marker."""

    item: Activation
    kernels: tuple[Match, ...]


def output(item: Activation, pid: int) -> tuple[int, int] | None:
    """The position in the tile that kernel position `pid` connects the activation to, or None."""
    work = item.work
    segment = work.segment
    found = []
    for at, shift, origin, length in (
        (item.y, pid // segment.kernel, work.tile[0], work.tile[2]),
        (item.x, pid % segment.kernel, work.tile[1], work.tile[3]),
    ):
        quotient, rest = divmod(at + segment.padding - shift, segment.stride)
        if rest or not origin <= quotient < origin + length:
            return None
        found.append(quotient - origin)
    return found[0], found[1]


def position_mask(item: Activation) -> int:
    side = item.work.segment.kernel
    return sum(1 << pid for pid in range(side * side) if output(item, pid) is not None)


class Pe:
    """FIFO, M0, M1, M2, match queue, gates and accumulators of one processing element."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        clock, arch = machine.clock, machine.arch
        self.banks = Banks(machine)
        self.unpacker = Unpacker(machine, self.banks)
        self.fifo: Queue[Activation] = Queue(clock, arch.fifo_depth)
        self.m1: Reg[tuple[Activation, int] | None] = Reg(clock, None)
        self.m2: Reg[Fetch | None] = Reg(clock, None)
        self.pointer = Reg(clock, 0)  # weights of the channel's headers that M2 has seen
        self.low = Reg(clock, 0)  # first half of a header (K = 7)
        self.mask = Reg(clock, 0)  # position mask of the activation in M1, and of that in M2
        self.mask2 = Reg(clock, 0)
        self.queue: Queue[Matched] = Queue(clock, arch.match_depth)
        self.kernel = Reg(clock, 0)
        self.pids = Reg(clock, 0)  # matches of the kernel at the gates that are left; 0: all
        self.marked = Reg(clock, 0)  # broadcasts worked off
        self.rounds = Reg(clock, 0)  # rounds worked off
        self.adder: Reg[tuple[int, Activation] | None] = Reg(clock, None)
        self.clear: Reg[int | None] = Reg(clock, None)  # the row that was read for the drain
        self.forward: Reg[tuple[int, tuple[int, ...]] | None] = Reg(clock, None)
        self.zero = (0,) * arch.timesteps
        self.rows = Ram(clock, arch.accumulators, self.zero)
        self.overflow = Reg(clock, False)

    # Wires, from the last stage to the first.

    def issues(self) -> bool:
        """A matched weight is at the gates."""
        return not self.queue.empty and not self.queue.head.item.marker

    def matches(self) -> tuple[Match, ...]:
        """M2: the headers of the fetch that belong to the channel, against the position mask."""
        found, _ = self._match()
        return found

    def m2_leaves(self) -> bool:
        fetch = self.m2.q
        if fetch is None:
            return False
        if fetch.item.marker or self.matches():
            return not self.queue.full
        return True

    def m1_leaves(self) -> bool:
        return self.m1.q is not None and (self.m2.q is None or self.m2_leaves())

    def pops(self) -> bool:
        if self.fifo.empty or self.fifo.head.work.round != self.machine.sequencer.drained.q:
            return False
        if self.m1.q is None:
            return True
        return self.m1_leaves() and self._fetch()[0].last

    def _fetch(self) -> tuple[Fetch, int]:
        """M1: the fetch that it does, and the 32-bit address in the header bank."""
        assert self.m1.q is not None
        item, number = self.m1.q
        if item.marker:
            return Fetch(item, 0, (0, 0, 0), True), 0
        line = self.banks.table[item.work.half].out
        first, _, headers = line
        assert headers, "an activation without a weight"
        units = HEADER_UNITS[item.work.segment.kernel]
        start, end = first * units // 2, ((first + headers) * units - 1) // 2
        return Fetch(item, number, line, start + number == end), start + number

    def _match(self) -> tuple[tuple[Match, ...], int]:
        """Matches of the fetch in M2, and the number of weights of its headers."""
        fetch = self.m2.q
        assert fetch is not None
        side = fetch.item.work.segment.kernel
        first, base, headers = fetch.line
        units = HEADER_UNITS[side]
        address = first * units // 2 + fetch.number
        word = self.banks.word(fetch.item.work.half, address)
        if units == 1:
            pair = ((2 * address, word & 0xFFFF), (2 * address + 1, word >> 16))
            values = [value for at, value in pair if first <= at < first + headers]
        elif units == 2:
            values = [word]
        else:  # the second half completes a header
            values = [self.low.q | word << 32] if fetch.number % 2 else []
        found, seen = [], 0 if fetch.number == 0 else self.pointer.q
        for value in values:
            wsp = value & (1 << side * side) - 1
            pids = wsp & self.mask2.q
            if pids:
                found.append(Match(value >> side * side, pids, wsp, base + seen))
            seen += wsp.bit_count()
        return tuple(found), seen

    def step(self) -> None:
        self.unpacker.step()
        self._match_stages()
        self._gates()
        self._adders()

    def _match_stages(self) -> None:
        pops, m1_leaves, m2_leaves = self.pops(), self.m1_leaves(), self.m2_leaves()
        if m2_leaves:
            fetch = self.m2.q
            assert fetch is not None
            if fetch.item.marker:
                self.queue.push(Matched(fetch.item, ()))
            else:
                found, seen = self._match()
                self.pointer.set(seen)
                first = fetch.line[0] * HEADER_UNITS[fetch.item.work.segment.kernel] // 2
                self.low.set(self.banks.word(fetch.item.work.half, first + fetch.number))
                if found:
                    self.queue.push(Matched(fetch.item, found))
        if m1_leaves:
            fetch, address = self._fetch()
            self.banks.header[fetch.item.work.half].read(address // 2)
            self.m2.set(fetch)
            self.mask2.set(self.mask.q)
        elif m2_leaves:
            self.m2.set(None)
        if pops:
            head = self.fifo.head
            self.fifo.pop()
            if not head.marker:
                self.banks.table[head.work.half].read(head.channel)
                self.mask.set(position_mask(head))
            self.m1.set((head, 0))
        elif m1_leaves:
            assert self.m1.q is not None
            item, number = self.m1.q
            self.m1.set(None if self._fetch()[0].last else (item, number + 1))

    def _gates(self) -> None:
        issued = None
        if not self.queue.empty:
            head = self.queue.head
            if head.item.marker:
                self.queue.pop()
                self.marked.set(self.marked.q + 1)
                if head.item.work.ends_round:
                    self.rounds.set(self.rounds.q + 1)
            else:
                issued = self._issue(head)
        if issued is not None or self.adder.q is not None:
            self.adder.set(issued)

    def _issue(self, head: Matched) -> tuple[int, Activation]:
        match = head.kernels[self.kernel.q]
        pids = self.pids.q or match.pids
        pid = (pids & -pids).bit_length() - 1
        rest = pids & (pids - 1)
        last = self.kernel.q == len(head.kernels) - 1
        self.pids.set(rest)
        if not rest:
            self.kernel.set(0 if last else self.kernel.q + 1)
            if last:
                self.queue.pop()
        at = output(head.item, pid)
        assert at is not None
        height, width = self.machine.packed.layers[head.item.work.layer].tile
        row = (match.slot * height + at[0]) * width + at[1]
        before = (match.wsp & ((1 << pid) - 1)).bit_count()
        self.banks.weight[head.item.work.half].read(match.base + before)
        self.rows.read(row)
        return row, head.item

    def _adders(self) -> None:
        drained = self.machine.drain.row()
        if drained is not None:
            self.rows.read(drained)
        if self.clear.q is not None:
            self.rows.write(self.clear.q, self.zero)
        if self.clear.q != drained:
            self.clear.set(drained)
        job = self.adder.q
        if job is None:
            if self.forward.q is not None:
                self.forward.set(None)
            return
        row, item = job
        weight = self.banks.weight[item.work.half].out
        # The row read in the cycle of its own write is old: take the sum from the register.
        sums = self.rows.out
        if self.forward.q is not None and self.forward.q[0] == row:
            sums = self.forward.q[1]
        total = [s + weight * (item.mask >> t & 1) for t, s in enumerate(sums)]
        clipped = tuple(max(LOW, min(HIGH, s)) for s in total)
        if list(clipped) != total:
            self.overflow.set(True)
        self.rows.write(row, clipped)
        self.forward.set((row, clipped))


# --- drain, LIF, collector -------------------------------------------------------------------


@dataclass(frozen=True)
class Neurons:
    """A block at one position, on its way from the accumulators to the spike memory."""

    place: Place
    sums: tuple[tuple[int, ...], ...] = ()
    biases: tuple[int, ...] = ()
    membranes: tuple[int, ...] = ()
    masks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Position:
    """Registers of the drain: phases 0 and 1 read the bias, 2 positions; beats are logit writes."""

    round: int
    slot: int = 0
    phase: int = 0
    index: int = 0
    beat: int = 0


class Drain:
    """Drain counters, one LIF stage a timestep, OR-pool and CSR write.

    An item that is read in cycle d is in pipe[n] in d + 1 + n: [0] has the RAM's data, [1] to
    [timesteps] are the LIF, then the OR-pool, and pipe[timesteps + 2] writes.
    """

    def __init__(self, machine: Machine, host: list[Place]) -> None:
        self.machine = machine
        clock, arch = machine.clock, machine.arch
        self.host = host
        self.host_at = Reg(clock, 0)
        self.current: Reg[tuple[int, ...]] = Reg(clock, ())
        self.block: Reg[tuple[int, ...] | None] = Reg(clock, None)
        self.at: Reg[Position | None] = Reg(clock, None)
        self.captures = Reg(clock, -1)  # phase of the read whose data is at the RAM's output
        self.capture_half = Reg(clock, 0)
        self.low: Reg[tuple[int, ...]] = Reg(clock, (0,) * arch.pes)
        self.biases: Reg[tuple[int, ...]] = Reg(clock, (0,) * arch.pes)
        self.pipe: Reg[tuple[Neurons | None, ...]] = Reg(clock, (None,) * (arch.timesteps + 3))
        self.pool: Reg[tuple[int, ...]] = Reg(clock, ())
        self.logits: dict[int, int] = {}
        self.spots = [
            places(machine.packed.layers[r.layer], r.layer, r.number, r.tile)
            for r in machine.plan.rounds
        ]

    # Wires.

    def drains(self) -> bool:
        return self.at.q is not None or self.block.q is not None

    def beats(self, number: int) -> int:
        layer = self.machine.packed.layers[self.machine.plan.rounds[number].layer]
        return self.machine.arch.logit_words if layer.last else 1

    def row(self) -> int | None:
        """The accumulator row that all PEs read in this cycle."""
        at = self.at.q
        if at is None or at.phase < 2 or at.beat:
            return None
        return self.spots[at.round][at.slot][at.index].at

    def ends_round(self) -> bool:
        """The last drain cycle of a round; of the host layer: of the layer."""
        if self.block.q is not None:
            return self.host_at.q == len(self.host) - 1
        at = self.at.q
        if at is None or at.phase < 2:
            return False
        slots = self.spots[at.round]
        return (
            at.slot == len(slots) - 1
            and at.index == len(slots[at.slot]) - 1
            and at.beat == self.beats(at.round) - 1
        )

    def ends_layer(self) -> bool:
        at = self.at.q
        return self.ends_round() and (at is None or self.machine.plan.rounds[at.round].ends_layer)

    def take_current(self, word: int) -> None:
        """A word of the host's currents is handed on in this cycle."""
        words = (*self.current.q, word)
        full = len(words) == self.machine.arch.current_words
        self.current.set(() if full else words)
        if full:
            self.block.set(words)

    def step(self) -> None:
        machine = self.machine
        item: Neurons | None = None
        if self.block.q is not None:
            item = Neurons(self.host[self.host_at.q], self._currents(self.block.q), self._no_bias())
            self.host_at.set(self.host_at.q + 1)
            if not machine.loader.completes_block():
                self.block.set(None)
        elif self.at.q is not None:
            item = self._read(self.at.q)
            self.at.set(self._advance(self.at.q))
        elif machine.sequencer.barrier():
            self.at.set(Position(machine.sequencer.drained.q))
        self._capture()
        self._flow(item)

    def _no_bias(self) -> tuple[int, ...]:
        return (0,) * self.machine.arch.pes

    def _currents(self, words: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        bits = sum(word << 64 * n for n, word in enumerate(words))
        found = []
        for lane in range(self.machine.arch.pes):
            value = bits >> 24 * lane & 0xFFFFFF
            value -= value >> 23 << 24
            found.append((value,) * self.machine.arch.timesteps)
        return tuple(found)

    def _read(self, at: Position) -> Neurons | None:
        """The reads of a drain cycle."""
        half = self.machine.plan.rounds[at.round].half
        if at.phase < 2:
            for pe in self.machine.pes:
                base = pe.unpacker.bias_base[half].q
                pe.banks.weight[half].read(base + 2 * at.slot + at.phase)
            return None
        if at.beat:
            return None
        place = self.spots[at.round][at.slot][at.index]
        return Neurons(place)  # each PE reads its row

    def _advance(self, at: Position) -> Position | None:
        if at.phase < 2:
            return replace(at, phase=at.phase + 1)
        if at.beat < self.beats(at.round) - 1:
            return replace(at, beat=at.beat + 1)
        if at.index < len(self.spots[at.round][at.slot]) - 1:
            return replace(at, index=at.index + 1, beat=0)
        if at.slot < len(self.spots[at.round]) - 1:
            return Position(at.round, at.slot + 1)
        return None

    def _capture(self) -> None:
        """The biases: low unit, then high unit, one cycle behind their reads."""
        at = self.at.q
        self.captures.set(-1 if at is None else at.phase)
        if at is not None:
            self.capture_half.set(self.machine.plan.rounds[at.round].half)
        data = tuple(pe.banks.weight[self.capture_half.q].out for pe in self.machine.pes)
        if self.captures.q == 0:
            self.low.set(data)
        elif self.captures.q == 1:
            pairs = zip(self.low.q, data, strict=True)
            whole = [low & 0xFFFF | (high & 0xFF) << 16 for low, high in pairs]
            self.biases.set(tuple(v - (v >> 23 << 24) for v in whole))

    def _flow(self, item: Neurons | None) -> None:
        pipe = self.pipe.q
        if item is None and not any(pipe):
            return
        shifted: list[Neurons | None] = [item]
        for stage, neurons in enumerate(pipe[:-1]):
            shifted.append(None if neurons is None else self._stage(stage, neurons))
        self.pipe.set(tuple(shifted))
        self._write(pipe[-1])

    def _stage(self, stage: int, neurons: Neurons) -> Neurons | None:
        time = self.machine.packed.timesteps
        layer = self.machine.packed.layers[neurons.place.layer]
        if stage == 0:
            if not layer.host:
                sums = tuple(pe.rows.out for pe in self.machine.pes)
                neurons = replace(neurons, sums=sums, biases=self.biases.q)
            zero = self._no_bias()
            return replace(neurons, membranes=zero, masks=zero)
        if stage <= self.machine.arch.timesteps:
            return neurons if layer.last or stage > time else lif(layer, neurons, stage - 1)
        if layer.last:
            return neurons
        pooled = neurons.masks
        if not neurons.place.opens:
            pooled = tuple(a | b for a, b in zip(pooled, self.pool.q, strict=True))
        self.pool.set(pooled)
        return replace(neurons, masks=pooled) if neurons.place.closes else None

    def _write(self, neurons: Neurons | None) -> None:
        if neurons is None:
            return
        place, memory = neurons.place, self.machine.memory
        layer = self.machine.packed.layers[place.layer]
        if layer.last:
            for lane, number in enumerate(layer.blocks[place.block].tolist()):
                sums = neurons.sums[lane][: self.machine.packed.timesteps]
                if number >= 0:
                    self.logits[number] = sum(s + neurons.biases[lane] for s in sums)
            return
        height, width = layer.size[0] // layer.pool, layer.size[1] // layer.pool
        row = layer.spike_base + (place.block * height + place.row) * width
        # The count of the row is a register: the row's other tiles left theirs in the memory, which
        # is read while the position is in the LIF.
        count = 0 if place.restarts else memory.counts.cells[row]
        fired = any(neurons.masks)
        if fired:
            memory.entries.write(row + count, (place.column, neurons.masks))
        memory.counts.write(row, count + fired)


def lif(layer: Descriptor, neurons: Neurons, time: int) -> Neurons:
    """One LIF stage: leak, add, compare, reset."""
    membranes, masks = [], []
    for lane, u in enumerate(neurons.membranes):
        left = {Leak.QUARTER: u >> 2, Leak.HALF: u >> 1, Leak.THREE_QUARTERS: u - (u >> 2)}
        u = left.get(layer.leak, u) + neurons.sums[lane][time] + neurons.biases[lane]
        u = max(LOW, min(HIGH, u))
        fired = u >= layer.threshold
        if fired:
            u = 0 if layer.reset is Reset.HARD else u - layer.threshold
        membranes.append(u)
        masks.append(neurons.masks[lane] | fired << time)
    return replace(neurons, membranes=tuple(membranes), masks=tuple(masks))


# --- sequencer -------------------------------------------------------------------------------


class Sequencer:
    """Starts broadcasts and drains, frees halves of the scratchpads, counts layers."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        clock = machine.clock
        # The ANDs over the PEs; each PE's own count is a register before them.
        self.loaded = Reg(clock, 0)
        self.seen = Reg(clock, 0)  # chunks whose `loaded` was seen in an earlier cycle
        self.marked = Reg(clock, 0)
        self.rounds = Reg(clock, 0)
        self.drained = Reg(clock, 0)
        self.retired = Reg(clock, 0)
        self.next = Reg(clock, 0)
        self.broadcasting = Reg(clock, False)
        self.timer = Reg(clock, 0)
        self.layer = Reg(clock, 0)
        self.gap = Reg(clock, 0)
        self.tail = Reg(clock, 0)  # cycles until the layer's last write; 0: not in its tail

    # Wires.

    def work(self) -> Work:
        return self.machine.plan.works[self.next.q]

    def starts(self) -> bool:
        """A broadcast starts in the next cycle."""
        if self.next.q == len(self.machine.plan.works) or self.gap.q or self.tail.q:
            return False
        work = self.work()
        before = work.round - 2
        return (
            work.layer == self.layer.q
            and self.loaded.q > work.load
            and (not self.broadcasting.q or self.machine.apu.fires_marker())
            and (
                self.drained.q > before
                or (self.drained.q == before and self.machine.drain.ends_round())
            )
        )

    def barrier(self) -> bool:
        """All PEs have worked off the round: the drain begins in the next cycle."""
        return self.rounds.q > self.drained.q

    def retires(self) -> bool:
        """The oldest broadcast is over: worked off on all PEs, or drained if it ended the round."""
        if self.retired.q == len(self.machine.plan.works):
            return False
        if self.machine.plan.works[self.retired.q].ends_round:
            return self.machine.drain.at.q is not None and self.machine.drain.ends_round()
        return self.marked.q > self.retired.q

    def frees(self) -> int | None:
        """The half of the scratchpads that is free from the next cycle on, or None."""
        work = self.machine.plan.works[self.retired.q] if self.retires() else None
        return work.half if work is not None and work.frees else None

    def last_write(self) -> bool:
        return self.tail.q == 1

    def step(self) -> None:
        machine = self.machine
        self.loaded.set(min(pe.unpacker.unpacked.q for pe in machine.pes))
        self.seen.set(self.loaded.q)
        self.marked.set(min(pe.marked.q for pe in machine.pes))
        self.rounds.set(min(pe.rounds.q for pe in machine.pes))
        if self.retires():
            self.retired.set(self.retired.q + 1)
        if machine.drain.at.q is not None and machine.drain.ends_round():
            self.drained.set(self.drained.q + 1)
        if machine.drain.ends_layer():
            self.tail.set(machine.arch.timesteps + 3)
        elif self.tail.q:
            self.tail.set(self.tail.q - 1)
        if self.last_write():
            self.layer.set(self.layer.q + 1)
            self.gap.set(3)
        elif self.gap.q:
            self.gap.set(self.gap.q - 1)
        if self.starts():
            self.next.set(self.next.q + 1)
            self.broadcasting.set(True)
            self.timer.set(2)
        else:
            if machine.apu.fires_marker():
                self.broadcasting.set(False)
            if self.timer.q:
                self.timer.set(self.timer.q - 1)


# --- the whole -------------------------------------------------------------------------------


@dataclass
class LayerTrace:
    """What the stepped model says about one layer; the fields are those of `LayerRun`."""

    name: str
    cycles: int
    busy: list[int]
    starved: list[int]
    waiting: list[int]
    loading: list[int]
    draining: list[int]
    masks: npt.NDArray[np.uint8]
    logits: npt.NDArray[np.int64] | None = None


class Machine:
    """The accelerator, with an image in its memory and the host's currents at the head of it.

    shuffle: a seed; the blocks then step in another order in every cycle, which must not matter.
    """

    def __init__(
        self, packed: Packed, currents: npt.NDArray[np.int32], shuffle: int | None = None
    ) -> None:
        self.packed = packed
        self.arch: Arch = packed.arch
        self.clock = Clock()
        self.plan = schedule(packed)
        host = packed.layers[0]
        order = [
            place
            for number in range(len(host.slots_used))
            for tile in tiles(host)
            for slot in places(host, 0, number, tile)
            for place in slot
        ]
        words = list(host_words(packed, currents, order))
        self.memory = SpikeMemory(self)
        self.port = Port(self, words + self.plan.words)
        self.loader = Loader(self, len(words))
        self.pes = [Pe(self) for _ in range(self.arch.pes)]
        self.apu = Apu(self)
        self.drain = Drain(self, order)
        self.sequencer = Sequencer(self)
        self.cycle = 0
        self._random = None if shuffle is None else np.random.default_rng(shuffle)

    def run(self, limit: int = 1_000_000) -> list[LayerTrace]:
        """Every layer of one inference."""
        found = []
        for index, layer in enumerate(self.packed.layers):
            start = self.cycle
            counts = [dict.fromkeys(STATES, 0) for _ in self.pes]
            while self.sequencer.layer.q == index:
                self.cycle += 1
                assert self.cycle < limit, f"layer {layer.name} does not end"
                for pe, count in zip(self.pes, counts, strict=True):
                    count[self.state(pe)] += 1
                self.step()
            busy, starved, waiting, loading, draining = (
                [count[state] for count in counts] for state in STATES
            )
            span = self.cycle - start
            trace = LayerTrace(
                layer.name, span, busy, starved, waiting, loading, draining, self.masks(layer)
            )
            if layer.last:
                values = [self.drain.logits[n] for n in range(layer.filters)]
                trace.logits = np.array(values, dtype=np.int64)
            found.append(trace)
        return found

    def step(self) -> None:
        blocks: list[Port | Loader | Pe | Apu | Drain | Sequencer] = [
            self.port,
            self.loader,
            *self.pes,
            self.apu,
            self.drain,
            self.sequencer,
        ]
        order = (
            np.arange(len(blocks))
            if self._random is None
            else self._random.permutation(len(blocks))
        )
        for at in order:
            blocks[at].step()
        self.clock.tick()

    def state(self, pe: Pe) -> str:
        """What a PE does in this cycle, from the registers alone."""
        sequencer, drain = self.sequencer, self.drain
        if drain.drains():
            return "draining"
        if sequencer.tail.q or pe.rounds.q > sequencer.drained.q:
            return "waiting"
        if self.packed.layers[sequencer.layer.q].host:
            return "loading"
        if pe.issues():
            return "busy"
        if sequencer.seen.q <= self.plan.works[pe.marked.q].load:
            return "loading"
        return "starved"

    def masks(self, layer: Descriptor) -> npt.NDArray[np.uint8]:
        """The layer's spikes out of the spike memory, [filters, H, W]; zeros for the last layer."""
        height, width = layer.size[0] // layer.pool, layer.size[1] // layer.pool
        dense = np.zeros((layer.filters, height, width), dtype=np.uint8)
        if layer.last:
            return dense
        for block, lanes in enumerate(layer.blocks.tolist()):
            for y in range(height):
                row = layer.spike_base + (block * height + y) * width
                entries = self.memory.entries.cells[row : row + self.memory.counts.cells[row]]
                assert all(a[0] < b[0] for a, b in pairwise(entries)), "columns do not ascend"
                for column, masks in entries:
                    for number, mask in zip(lanes, masks, strict=True):
                        if number >= 0:
                            dense[number, y, column] = mask
        return dense


def run(packed: Packed, currents: npt.NDArray[np.int32]) -> list[LayerTrace]:
    return Machine(packed, currents).run()
