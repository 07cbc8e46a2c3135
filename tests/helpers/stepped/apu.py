"""The APU: decoder, D, lane stage and register B, beside the spike memory that they read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.helpers.stepped.order import Work
from tests.helpers.stepped.positions import Activation, position_mask
from tests.helpers.stepped.storage import Ram, Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Cluster
    from tests.helpers.stepped.pe import Pe


PLACES = 3
"""Entries that D has room for, the one that comes out of the memory included."""


@dataclass(frozen=True)
class Entry:
    """What is known of an entry beside the data of the spike memory; a marker has no data."""

    work: Work
    row: int
    block: int
    marker: bool


@dataclass(frozen=True)
class Visit:
    """The decoder's position: a row of a block, its entries and how many of them are decoded.

    row is -1 before the first visit.
    """

    work: Work
    row: int
    block: int
    count: int
    done: int


def reach(work: Work, axis: int) -> tuple[int, int]:
    """First and end of the source's rows (axis 0) or columns (1) that reach the tile."""
    segment = work.segment
    origin, length = work.tile[axis], work.tile[axis + 2]
    extent = (segment.height, segment.width)[axis]
    first = max(0, origin * segment.stride + segment.offset[axis])
    end = (origin + length - 1) * segment.stride + segment.offset[axis] + segment.kernel
    return first * segment.average, min(extent, end * segment.average)


class Apu:
    """Decoder, D, lane stage and register B."""

    def __init__(self, machine: Cluster) -> None:
        self.machine = machine
        clock = machine.clock
        self.visit: Reg[Visit | None] = Reg(clock, None)
        self.arriving: Reg[Entry | None] = Reg(clock, None)  # read in the cycle before
        self.held: Reg[tuple[tuple[Activation, ...], ...]] = Reg(clock, ())  # entries behind that
        self.lanes: Reg[tuple[Activation, ...]] = Reg(clock, ())  # still to pick
        self.ready: Reg[Activation | None] = Reg(clock, None)  # B

    # Wires, from the last stage to the first.

    def fires(self) -> bool:
        """What B holds is broadcast."""
        item = self.ready.q
        return item is not None and not any(pe.full for pe in self._receivers(item))

    def fires_marker(self) -> bool:
        return self.ready.q is not None and self.ready.q.marker and self.fires()

    def picks(self) -> bool:
        """The lane stage hands its first lane to B."""
        return bool(self.lanes.q) and (self.ready.q is None or self.fires())

    def gives_up(self) -> bool:
        """D gives up its oldest entry: drops it, or the lane stage takes it."""
        if not self.held.q:
            return False
        ends = len(self.lanes.q) == 1 and self.picks()
        return not self.held.q[0] or not self.lanes.q or ends

    def wanted(self) -> tuple[Activation, ...]:
        """The activations of the entry that comes out of the memory."""
        entry = self.arriving.q
        assert entry is not None
        work = entry.work
        if entry.marker:
            return (Activation(work, True),)
        column, masks = self.machine.memory.entries.out
        first, end = reach(work, 1)
        if not first <= column < end:
            return ()
        side = work.segment.average
        y, x = entry.row // side, column // side
        if not position_mask(Activation(work, False, y=y, x=x)):
            return ()
        present = 0
        for pe in self.machine.pes:
            present |= pe.unpacker.presence[work.half].q
        base = entry.block * self.machine.arch.pes
        return tuple(
            Activation(work, False, at - work.start, mask, y, x)
            for at, mask in enumerate(masks, start=base)
            if mask and work.start <= at < work.end and present >> (at - work.start) & 1
        )

    def _receivers(self, item: Activation) -> list[Pe]:
        """The PEs that have a weight of the channel; of a marker: all."""
        bit = 0 if item.marker else 1 << item.channel
        half = item.work.half
        return [pe for pe in self.machine.pes if not bit or pe.unpacker.presence[half].q & bit]

    def step(self) -> None:
        if self.fires():
            item = self.ready.q
            assert item is not None
            for pe in self._receivers(item):
                pe.filter.take(item)
        lanes, held = self.lanes.q, self.held.q
        if self.picks():
            self.ready.set(lanes[0])
            lanes = lanes[1:]
        elif self.fires():
            self.ready.set(None)
        if self.gives_up():
            lanes, held = lanes or held[0], held[1:]
        if self.arriving.q is not None:
            held = (*held, self.wanted())
        self.lanes.set(lanes)
        self.held.set(held)
        self._decode()

    def _decode(self) -> None:
        entry = None
        visit = self.visit.q
        timer = self.machine.sequencer.timer.q
        free = (self.arriving.q is not None) + len(self.held.q) < PLACES
        if self.machine.sequencer.starts():
            self.visit.set(Visit(self.machine.sequencer.work(), -1, 0, 0, 0))
        elif visit is not None and timer == 1:
            self._read_ahead(visit)
        elif visit is not None and timer == 0:
            following = self._next_row(visit)
            if visit.done < visit.count:
                if free:
                    base = self.machine.memory.row(visit.work, visit.block, visit.row)
                    self.machine.memory.entries.read(base + visit.done)
                    entry = Entry(visit.work, visit.row, visit.block, False)
                    self.visit.set(replace(visit, done=visit.done + 1))
            elif following is not None:
                count = self.machine.memory.counts.out
                following = replace(following, count=count)
                self._read_ahead(following)
                self.visit.set(following)
            elif free:
                entry = Entry(visit.work, 0, 0, True)
                self.visit.set(None)
        self.arriving.set(entry)

    def _read_ahead(self, visit: Visit) -> None:
        """Read the count of the row that follows, if there is one."""
        following = self._next_row(visit)
        if following is not None:
            at = self.machine.memory.row(following.work, following.block, following.row)
            self.machine.memory.counts.read(at)

    def _next_row(self, visit: Visit) -> Visit | None:
        """The row visit that follows: all blocks of a row, then the next row."""
        work, pes = visit.work, self.machine.arch.pes
        first_row, end_row = reach(work, 0)
        first, last = work.start // pes, (work.end - 1) // pes
        row, block = (visit.row, visit.block + 1) if visit.row >= 0 else (first_row, first)
        if block > last:
            row, block = row + 1, first
        return Visit(work, row, block, 0, 0) if row < end_row else None


class SpikeMemory:
    """CSR spikes of all layers: entries {column, masks}, and a count for each row.

    A row is addressed by its first entry, and has a number of them at least; each group of
    timesteps of each image has a region of its own.
    """

    def __init__(self, machine: Cluster) -> None:
        clock, arch = machine.clock, machine.arch
        silent: tuple[int, tuple[int, ...]] = (0, (0,) * arch.pes)
        self.entries = Ram(clock, arch.spike_entries, silent)
        self.counts = Ram(clock, arch.spike_entries, 0)
        self.least = arch.row_entries
        self.region, self.groups = machine.packed.region, machine.packed.groups

    def map(self, image: int, group: int) -> int:
        """Entries from the maps of the first image's group 0 to those of another."""
        return (image * self.groups + group) * self.region

    def row(self, work: Work, block: int, row: int) -> int:
        """Where a row of the source begins, of the spikes of the work's image and group."""
        segment = work.segment
        first = segment.spike_base + self.map(work.image, work.group)
        return first + self.behind(block * segment.height + row, segment.width)

    def behind(self, rows: int, width: int) -> int:
        """Entries of so many rows of a map."""
        return rows * max(width, self.least)
