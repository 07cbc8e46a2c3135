"""A PE's matcher: M0 to M2, the fetches under way, their credits and the match queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evenspike_core.arch import HEADER_UNITS
from tests.helpers.stepped.positions import Activation, position_mask
from tests.helpers.stepped.storage import Queue, Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.pe import Pe


@dataclass(frozen=True)
class Channel:
    """What M2 holds: an activation and its line of the channel table, all 0 for a marker."""

    item: Activation
    first: int
    weight: int
    headers: int


@dataclass(frozen=True)
class Fetch:
    """A read of the header bank: `number` counts from the channel's first, `address` in fetches."""

    channel: Channel
    number: int
    address: int
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


class Matcher:
    """M0, M1, M2, two registers behind the header bank, and the match queue."""

    def __init__(self, pe: Pe) -> None:
        self.pe = pe
        clock, arch = pe.machine.clock, pe.machine.arch
        self.units = arch.fetch_units
        self.held = Reg(clock, False)  # behind a marker that ends a round that is not drained
        self.m1: Reg[Activation | None] = Reg(clock, None)
        self.m2: Reg[Channel | None] = Reg(clock, None)
        self.number = Reg(clock, 0)  # fetches that M2 has done for its channel
        self.credits = Reg(clock, arch.match_depth)
        self.read: Reg[Fetch | None] = Reg(clock, None)  # its line is at the RAM's output
        self.fetched: Reg[tuple[Fetch, tuple[int, ...]] | None] = Reg(clock, None)
        self.pointer = Reg(clock, 0)  # weights of the channel's headers that were compared
        self.low = Reg(clock, 0)  # the half of a header that came first (K = 7)
        self.queue: Queue[Matched] = Queue(clock, arch.match_depth)

    # Wires, from the last stage to the first.

    def fetches(self) -> Fetch | None:
        """M2: what it fetches in this cycle."""
        channel = self.m2.q
        if channel is None or self.credits.q == 0:
            return None
        if channel.item.marker:
            return Fetch(channel, 0, 0, True)
        side = HEADER_UNITS[channel.item.work.segment.kernel]
        start = channel.first * side // self.units
        end = ((channel.first + channel.headers) * side - 1) // self.units
        address = start + self.number.q
        return Fetch(channel, self.number.q, address, address == end)

    def m2_leaves(self) -> bool:
        fetch = self.fetches()
        return fetch is not None and fetch.last

    def m1_leaves(self) -> bool:
        return self.m1.q is not None and (self.m2.q is None or self.m2_leaves())

    def pops(self) -> bool:
        """M0: the head of the FIFO is popped."""
        if self.pe.filter.fifo.empty or self.held.q:
            return False
        return self.m1.q is None or self.m1_leaves()

    def step(self) -> None:
        entry, back = self._compare()
        if entry is not None:
            self.queue.push(entry)
        fetch = self.fetches()
        change = back + self.pe.selector.takes() - (fetch is not None)
        if change:
            self.credits.set(self.credits.q + change)
        self._headers(fetch)
        self._channels(fetch)

    def _headers(self, fetch: Fetch | None) -> None:
        """From M2 to the register behind the header bank."""
        if fetch is not None and not fetch.channel.item.marker:
            self.pe.banks.read_headers(fetch.channel.item.work.half, fetch.address)
        read, fetched = self.read.q, None
        if fetch is not None or read is not None:
            self.read.set(fetch)
        if read is not None:
            half = read.channel.item.work.half
            marker = read.channel.item.marker
            fetched = (read, () if marker else self.pe.banks.headers(half, read.address))
        if fetched is not None or self.fetched.q is not None:
            self.fetched.set(fetched)

    def _channels(self, fetch: Fetch | None) -> None:
        """M0, M1 and M2."""
        pops, m1_leaves, m2_leaves = self.pops(), self.m1_leaves(), self.m2_leaves()
        if pops and self.pe.filter.fifo.head.marker and self.pe.filter.fifo.head.work.ends_round:
            self.held.set(True)
        elif self.pe.machine.drain.ends_round():
            self.held.set(False)
        if fetch is not None:
            self.number.set(0 if fetch.last else fetch.number + 1)
        item = self.m1.q
        if m1_leaves:
            assert item is not None
            line = (0, 0, 0) if item.marker else self.pe.banks.table[item.work.half].out
            assert item.marker or line[2], "an activation without a weight"
            self.m2.set(Channel(item, *line))
        elif m2_leaves:
            self.m2.set(None)
        if pops:
            head = self.pe.filter.fifo.head
            if not head.marker:
                self.pe.banks.table[head.work.half].read(head.channel)
            self.m1.set(head)
        elif m1_leaves:
            self.m1.set(None)

    def _compare(self) -> tuple[Matched | None, bool]:
        """The headers of the fetch that belong to the channel, against the position mask.

        What goes to the match queue; whether the credit comes back, since nothing does.
        """
        if self.fetched.q is None:
            return None, False
        fetch, units = self.fetched.q
        channel = fetch.channel
        item = channel.item
        if item.marker:
            return Matched(item, ()), False
        side, seen = item.work.segment.kernel, 0 if fetch.number == 0 else self.pointer.q
        mask, found = position_mask(item), []
        for value in self._values(fetch, units):
            wsp = value & (1 << side * side) - 1
            pids = wsp & mask
            if pids:
                found.append(Match(value >> side * side, pids, wsp, channel.weight + seen))
            seen += wsp.bit_count()
        self.pointer.set(seen)
        return (Matched(item, tuple(found)), False) if found else (None, True)

    def _values(self, fetch: Fetch, units: tuple[int, ...]) -> list[int]:
        """The headers that the fetch completes, of those that belong to the channel."""
        channel = fetch.channel
        length = HEADER_UNITS[channel.item.work.segment.kernel]
        if length > self.units:  # half of a header
            bits = units[0] | units[1] << 16
            if fetch.number % 2 == 0:
                self.low.set(bits)
                return []
            return [self.low.q | bits << 32]
        values = []
        for at in range(0, self.units, length):
            index = (fetch.address * self.units + at) // length
            if channel.first <= index < channel.first + channel.headers:
                values.append(sum(units[at + n] << 16 * n for n in range(length)))
        return values
