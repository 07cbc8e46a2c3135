"""The APU: decoder, register D and lane stage, beside the spike memory that they read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.helpers.stepped.order import Work
from tests.helpers.stepped.positions import Activation, position_mask
from tests.helpers.stepped.storage import Ram, Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Machine
    from tests.helpers.stepped.pe import Pe


@dataclass(frozen=True)
class Entry:
    """What D holds beside the data of the spike memory; a marker has no data."""

    work: Work
    row: int
    block: int
    marker: bool


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
    first = max(0, origin * segment.stride + segment.offset[axis])
    end = (origin + length - 1) * segment.stride + segment.offset[axis] + segment.kernel
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
        return not any(pe.full for pe in self._receivers(self.lanes.q[0]))

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
        lanes = self.lanes.q
        if self.fires():
            for pe in self._receivers(lanes[0]):
                pe.filter.take(lanes[0])
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
                    base = self.machine.memory.row(visit.work, visit.block, visit.row)
                    self.machine.memory.entries.read(base + visit.done)
                    entry = Entry(visit.work, visit.row, visit.block, False)
                    self.visit.set(replace(visit, done=visit.done + 1))
            elif following is not None:
                row, block = following
                at = self.machine.memory.row(visit.work, block, row)
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

    A row is addressed by its first entry; each group of timesteps of each image has a region of its
    own.
    """

    def __init__(self, machine: Machine) -> None:
        clock, arch = machine.clock, machine.arch
        silent: tuple[int, tuple[int, ...]] = (0, (0,) * arch.pes)
        self.entries = Ram(clock, arch.spike_entries, silent)
        self.counts = Ram(clock, arch.spike_entries, 0)
        self.region, self.groups = machine.packed.region, machine.packed.groups

    def map(self, image: int, group: int) -> int:
        """Entries from the maps of the first image's group 0 to those of another."""
        return (image * self.groups + group) * self.region

    def row(self, work: Work, block: int, row: int) -> int:
        """Where a row of the source begins, of the spikes of the work's image and group."""
        segment = work.segment
        first = segment.spike_base + self.map(work.image, work.group)
        return first + (block * segment.height + row) * segment.width
