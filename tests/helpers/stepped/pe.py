"""A PE: FIFO, M0 to M2, match queue, gates and accumulators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evenspike_core.arch import HEADER_UNITS
from tests.helpers.stepped.apu import Activation
from tests.helpers.stepped.lif import HIGH, LOW
from tests.helpers.stepped.storage import Queue, Ram, Reg
from tests.helpers.stepped.unpacker import Banks, Unpacker

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Machine


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
    for at, shift, offset, origin, length in (
        (item.y, pid // segment.kernel, segment.offset[0], work.tile[0], work.tile[2]),
        (item.x, pid % segment.kernel, segment.offset[1], work.tile[1], work.tile[3]),
    ):
        quotient, rest = divmod(at - offset - shift, segment.stride)
        if rest or not origin <= quotient < origin + length:
            return None
        found.append(quotient - origin)
    return found[0], found[1]


def position_mask(item: Activation) -> int:
    side = item.work.segment.kernel
    return sum(1 << pid for pid in range(side * side) if output(item, pid) is not None)


class Pe:
    """FIFO, M0, M1, M2, match queue, gates and accumulators of one processing element."""

    def __init__(self, machine: Machine, number: int) -> None:
        self.machine, self.number = machine, number
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
        self.clear: Reg[int | None] = Reg(clock, None)  # the row that was drained for good
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
        carried = self.machine.drain.carried(self.number)
        if carried is not None:
            row, left = carried
            self.rows.write(row, (left, *self.zero[1:]))
        cleared = None if self.machine.drain.carries() else drained
        if self.clear.q != cleared:
            self.clear.set(cleared)
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
