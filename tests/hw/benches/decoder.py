"""Decoder: visits, entries and marker in every cycle against the list of a broadcast's items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from evenspike_core.arch import Arch
from evenspike_hw.rtl.decoder import Decoder
from evenspike_hw.rtl.layouts import ENTRY_BITS, MAP_BITS
from tests.helpers.driver import Bench, test

component = Decoder
ARCH = Arch(pes=4, timesteps=3, chunk_blocks=256, spike_entries=1 << ENTRY_BITS)
VARIANTS = {
    "block1": Arch(pes=4, timesteps=3, chunk_blocks=1, spike_entries=100),
    "kernel3": Arch(
        pes=4, timesteps=3, chunk_blocks=2, spike_entries=1000, row_entries=1, kernel_max=3
    ),
}

COUNT_MAX = (1 << MAP_BITS) - 1


@dataclass(frozen=True)
class Item:
    """visit: the row at `address`; else the entry at `address`; else the marker."""

    kind: str
    row: int = 0
    block: int = 0
    address: int = 0


@dataclass(frozen=True)
class Broadcast:
    """Rows first to end of `blocks`, and the counts of rows at random."""

    first: int
    end: int
    blocks: int
    width: int
    block_stride: int
    entry: int
    half: int
    counts: tuple[int, ...]

    def items(self, model: Model) -> Iterator[Item]:
        """In order; a visit finds the count that was read before it."""
        for visit in self.visits(model.bench.arch.row_entries):
            yield visit
            for number in range(model.count):
                yield replace(visit, kind="entry", address=visit.address + number)
        yield Item("marker")

    def visits(self, least: int) -> Iterator[Item]:
        """least: entries of a row."""
        for row in range(self.first, self.end):
            for block in range(self.blocks):
                address = self.entry + block * self.block_stride + row * max(self.width, least)
                yield Item("visit", row, block, address)


class Model:
    """The item that is next, and when it may come."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.addresses = 1 << (bench.arch.spike_entries - 1).bit_length()
        self.broadcast: Broadcast | None = None
        self.given: Broadcast | None = None  # whose work the inputs show
        self.items: Iterator[Item] = iter(())
        self.item: Item | None = None
        self.behind: Iterator[Item] = iter(())  # visits whose count has not been read
        self.wait = 0
        self.count = bench.bits(MAP_BITS)
        self.entries = 0
        self.done = 0
        self.idle = 0
        self.waited = False
        self.limits = (0, 0)

    async def cycle(self, free: bool = True, begin: Broadcast | None = None) -> Item | None:
        """begin: it starts, so the next cycle is its S. Returns the item that was decoded."""
        bench = self.bench
        work, now = {}, self.given
        if self.wait == 3 and self.broadcast is not None:  # S
            now = self.given = self.broadcast
            self.limits = now.first, now.end
            first, end = bench.bits(MAP_BITS), bench.bits(MAP_BITS)
            work = {"work": self.work(now)}
        else:
            first, end = self.limits
        found = await bench.cycle(
            start=begin is not None, first=first, end=end, free=free, count=self.count, **work
        )

        item = self.item if self.broadcast is not None and self.wait == 0 else None
        if item is not None and item.kind != "visit" and not free:
            bench.cover("entry waits" if item.kind == "entry" else "marker waits")
            self.waited, item = True, None
        elif item is not None and item.kind == "visit" and not free:
            bench.cover("row visit while an entry could not leave")
        reads = None
        if self.wait == 1 or (item is not None and item.kind == "visit"):
            reads = next(self.behind, None)
        self._check(found, item, reads, now)

        if item is not None:
            self._advance(item)
        if reads is not None and self.broadcast is not None:
            self.count = bench.random.choice(self.broadcast.counts)
            self._cover_count(reads, self.broadcast)
        if self.wait:
            self.wait -= 1
        if begin is not None:
            assert self.broadcast is None
            bench.cover("start later" if self.idle else "start in the cycle behind the marker")
            self.broadcast, self.wait = begin, 3
            self.items, self.behind = begin.items(self), begin.visits(bench.arch.row_entries)
            self.item = next(self.items)
            self._cover(begin)
        self.idle = self.idle + 1 if item is None else 0
        return item

    def work(self, broadcast: Broadcast) -> int:
        """The work's bits; what the decoder has no use for is random."""
        bench = self.bench
        fields = bench.fields("work", bench.random.getrandbits(bench.inputs["work"].width))
        fields |= {
            "half": broadcast.half,
            "blocks": broadcast.blocks,
            "entry": broadcast.entry,
        }
        fields["segment"] |= {
            "width": broadcast.width,
            "block_stride": broadcast.block_stride,
        }
        return bench.bits_of("work", fields)

    def _check(
        self,
        found: dict[str, int],
        item: Item | None,
        reads: Item | None,
        work: Broadcast | None,
    ) -> None:
        """reads: the visit whose count is read."""
        kind = None if item is None else item.kind
        entry = item if kind == "entry" else None
        expected: dict[str, int] = {
            "marker": int(kind == "marker"),
            "count_read": int(reads is not None),
            "entry_read": int(kind == "entry"),
            "presence_read": int(kind == "entry"),
        }
        got = {name: found[name] & 1 for name in expected}
        for name, at in (("count_read", reads), ("entry_read", entry)):
            if at is not None:
                expected[name] |= at.address % self.addresses << 1
                got[name] = found[name]
        if item is not None and kind == "entry":
            assert work is not None
            expected["presence_read"] |= work.half << 1 | item.block << 2
            expected |= {"row": item.row, "block": item.block}
            got |= {"presence_read": found["presence_read"], "row": found["row"]}
            got["block"] = found.get("block", 0)
        now = self.bench.now - 1
        assert got == expected, f"cycle {now}: {got}, expected {expected}"

    def _advance(self, item: Item) -> None:
        bench = self.bench
        self.done += 1
        bench.cover("an address wraps", item.address % self.addresses == self.addresses - 1)
        self.entries += item.kind == "entry"
        self.item = next(self.items, None)
        if self.item is None:
            self.broadcast = None

    def _cover_count(self, visit: Item, broadcast: Broadcast) -> None:
        cover = self.bench.cover
        last = visit.row == broadcast.end - 1 and visit.block == broadcast.blocks - 1
        cover("a row without entries", self.count == 0)
        cover("a row with entries in every column", self.count == COUNT_MAX)
        cover("the last row without entries", last and self.count == 0)

    def _cover(self, broadcast: Broadcast) -> None:
        cover = self.bench.cover
        rows = broadcast.end - broadcast.first
        cover("no row", rows <= 0)
        cover("no row, the first behind the last", broadcast.first > broadcast.end)
        cover("one row", rows == 1)
        cover("from the first row of a map", rows > 0 and broadcast.first == 0)
        cover("one block", broadcast.blocks == 1)
        least = self.bench.arch.row_entries
        cover(
            "several rows narrower than they take entries (not with row_entries of 1)",
            least == 1 or (rows > 1 and 0 < broadcast.width < least),
        )
        cover("most blocks", broadcast.blocks == self.bench.arch.chunk_blocks)

    async def run(self, broadcast: Broadcast, stall: float = 0.0) -> None:
        await self.cycle(free=not self.bench.chance(stall), begin=broadcast)
        while self.broadcast is not None:
            await self.cycle(free=not self.bench.chance(stall))

    def random(self) -> Broadcast:
        bench, random = self.bench, self.bench.random
        most = bench.arch.chunk_blocks
        blocks = random.choice((1, min(2, most), random.randrange(1, most + 1)))
        rows = random.choice((0, 1, 2, random.randrange(8)))
        rows = min(rows, 60 // blocks) if blocks < 60 else rows > 0
        first = random.choice((0, random.randrange(500 - rows)))
        end = first + rows
        if bench.chance(0.1):  # no row
            end, first = sorted((bench.bits(MAP_BITS), bench.bits(MAP_BITS)))
        style = random.choice(((0,), (0, 1), (0, 1, 2, 5), (1, 2, 3), (0, 0, 0, 0, 40)))
        if blocks * rows < 4 and bench.chance(0.05):
            style = (COUNT_MAX,)
        return Broadcast(
            first,
            end,
            blocks,
            bench.bits(MAP_BITS),
            bench.bits(ENTRY_BITS),
            bench.bits(ENTRY_BITS),
            random.randrange(2),
            style,
        )


@test
async def the_first_item_comes_in_the_cycle_after_three(bench: Bench) -> None:
    model = Model(bench)
    await model.cycle()
    for counts, kinds in (
        ((0,), ["visit", "visit", "marker"]),
        ((2,), ["visit", "entry", "entry", "visit", "entry", "entry", "marker"]),
    ):
        for rows in (0, 2):
            broadcast = Broadcast(3, 3 + rows, 1, 7, 100, 1000, 1, counts)
            assert await model.cycle(begin=broadcast) is None
            for _ in range(3):  # S and two more
                assert await model.cycle() is None
            # From S + 3 on one item a cycle.
            for kind in kinds if rows else ["marker"]:
                item = await model.cycle()
                assert item is not None
                assert item.kind == kind
            assert model.broadcast is None


@test
async def every_bit_of_addresses_and_rows(bench: Bench) -> None:
    model = Model(bench)
    most = bench.arch.chunk_blocks
    for bit in range(ENTRY_BITS):
        one = 1 << bit
        row = (one | 1) % 500 if bit < MAP_BITS else 250
        for entry in (one - 1, one):
            broadcast = Broadcast(row - 1, row + 1, min(2, most), row % 512, one, entry, 0, (3,))
            await model.run(broadcast)
    for first, end in ((4, 3), (511, 256), (511, 0), (0, 0), (1, 0), (511, 511)):
        await model.run(Broadcast(first, end, 1, 8, 64, 0, 0, (1,)))
    await model.run(Broadcast(0, 1, 1, 8, 64, model.addresses - 2, 0, (5,)))
    await model.run(Broadcast(255, 256, most, 256, 65536, 0, 1, (0, 0, 1)))
    await model.run(Broadcast(0, 1, most, 1, 1, 5, 1, (0, 0, 1)))
    await model.run(Broadcast(0, 256, 1, 256, 65536, 0, 1, (0, 0, 1)))
    for count in (2, 5, 10, 21, 42, 85, 170, 341, COUNT_MAX):
        await model.run(Broadcast(0, 1, 1, 256, 65536, 0, 0, (count,)))


@test
async def reset_ends_the_broadcast(bench: Bench) -> None:
    model = Model(bench)
    for cycles in range(12):
        broadcast = Broadcast(3, 9, 1, 7, 100, 1000, 1, (4,))
        await model.cycle(begin=broadcast)
        for _ in range(cycles):
            await model.cycle()
        bench.cover("reset in a row" if model.entries else "reset before the first row")
        await bench.cycle(start=0, free=0)
        await bench.reset()
        model = Model(bench)
        model.count = COUNT_MAX
        for _ in range(4):
            await model.cycle()
        await model.run(Broadcast(2, 3, 1, 7, 100, 900, 0, (2,)))


@test
async def random_broadcasts(bench: Bench) -> None:
    model = Model(bench)
    while model.done < bench.transactions:
        stall = bench.random.choice((0, 0, 0.3, 0.9))
        await model.run(model.random(), stall)
        while bench.chance(0.3):
            await model.cycle(free=bench.chance(0.5))
