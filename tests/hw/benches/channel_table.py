"""ChannelTable: lines and presence bits against dictionaries, both outputs in every cycle."""

from __future__ import annotations

from evenspike_core.arch import Arch
from evenspike_hw.rtl.pe.channel_table import ChannelTable
from tests.helpers.driver import Bench, test

component = ChannelTable
ARCH = Arch(pes=4, chunk_blocks=5)  # not a power of two: addresses end before their bits do


Place = tuple[int, int]
"""Half; line or block."""


class Model:
    """What was written; a block that a clear or the reset has forgotten is not in `lanes`."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.blocks = bench.arch.chunk_blocks
        self.channels = bench.arch.chunk_channels
        self.width = bench.outputs["line"].width
        self.pattern_width = bench.outputs["pattern"].width
        # A line as it is written: its pattern, then what the matcher reads.
        self.written = self.width + self.pattern_width
        self.lines = {(half, n): 0 for half in (0, 1) for n in range(self.channels)}
        self.lanes: dict[Place, int] = {}
        # Presence bits are written, and cleared, a cycle later.
        self.late: tuple[int | None, tuple[Place, int] | None] = (None, None)
        self.line: int | None = 0
        self.pattern: int | None = 0
        self.presence: int | None = 0
        self.line_place: Place | None = None
        self.pattern_place: Place | None = None
        self.block_place: Place | None = None
        self.cleared: set[Place] = set()
        self.seen: set[tuple[str, int, int]] = set()

    async def cycle(
        self,
        write: tuple[Place, int] | None = None,
        read: Place | None = None,
        clear: int | None = None,
        present: tuple[Place, int] | None = None,
        ask: Place | None = None,
        look: Place | None = None,
    ) -> None:
        """A write and a read of the table, a clear (of a half), write and read of presence bits;
        and a read of a pattern.
        """
        bench, random = self.bench, self.bench.random
        half = random.randrange(2)
        if present is not None:
            half = present[0][0]
        if clear is not None:
            assert present is None or clear == half  # they share a half
            half = clear
        # Fields do not count without their enables.
        place, line = write or (self.random_line(), random.getrandbits(self.written))
        (_, block), lanes = present or (self.random_block(), bench.bits(bench.arch.pes))
        wanted, asked = read or self.random_line(), ask or self.random_block()
        looked = look or self.random_line()
        found = await bench.cycle(
            table_write=bench.bits_of(
                "table_write", {"enable": write is not None, "half": place[0], "line": place[1]}
            )
            | line << bench.inputs["table_write"].width - self.written,
            table_read={"enable": read is not None, "half": wanted[0], "line": wanted[1]},
            pattern_read={"enable": look is not None, "half": looked[0], "line": looked[1]},
            presence_write={
                "clear": clear is not None,
                "enable": present is not None,
                "half": half,
                "block": block,
                "lanes": lanes,
            },
            presence_read={"enable": ask is not None, "half": asked[0], "block": asked[1]},
        )
        known = {"line": self.line, "pattern": self.pattern, "presence": self.presence}
        bench.check(found, {name: value for name, value in known.items() if value is not None})
        self.late, (clear, present) = (clear, present), self.late
        self._cover(write, read, clear, present, ask)
        self._cover_pattern(write, read, look)
        # What is read in the cycle of its write is not defined, but of a block that was cleared. A
        # read sees what was there before a clear in its cycle. (Of presence bits: the cycle after.)
        self._read(write, read, look)
        if ask is not None:
            self.presence, self.block_place = self.lanes.get(ask, 0), ask
            if present is not None and present[0] == ask and ask in self.lanes:
                self.presence = None
        if write is not None:
            self.lines[write[0]] = write[1]
        if clear is not None:
            forgotten = {at for at in self.lanes if at[0] == clear}
            self.cleared |= {at for at in forgotten if self.lanes[at]}
            for at in forgotten:
                del self.lanes[at]
        if present is not None:
            self.lanes[present[0]] = present[1]
            self.cleared.discard(present[0])

    def _read(
        self, write: tuple[Place, int] | None, read: Place | None, look: Place | None
    ) -> None:
        written = write[0] if write is not None else None
        if read is not None:
            self.line_place = read
            self.line = None if read == written else self.lines[read] & (1 << self.width) - 1
        if look is not None:
            self.pattern_place = look
            self.pattern = None if look == written else self.lines[look] >> self.width

    def _cover(
        self,
        write: tuple[Place, int] | None,
        read: Place | None,
        clear: int | None,
        present: tuple[Place, int] | None,
        ask: Place | None,
    ) -> None:
        cover = self.bench.cover
        asks = self.lanes.get(ask, 0) if ask is not None else 0
        other = any(at[0] != ask[0] for at in self.cleared) if ask is not None else False
        cover("line read in the cycle of its write", write is not None and write[0] == read)
        cover(
            "line held while it is overwritten",
            write is not None and read is None and write[0] == self.line_place,
        )
        cover("block read in the cycle after its write", present is not None and present[0] == ask)
        cover(
            "block read in the cycle after a clear of its half",
            ask is not None and asks > 0 and clear == ask[0],
        )
        cover(
            "presence held during a clear of its half",
            bool(self.presence)
            and ask is None
            and self.block_place is not None
            and clear == self.block_place[0],
        )
        cover(
            "presence held while it is overwritten",
            present is not None and ask is None and present[0] == self.block_place,
        )
        cover("block read that was cleared", ask in self.cleared)
        cover("block of the other half read after a clear", asks > 0 and other)
        cover("clear and write at once", clear is not None and present is not None)
        if read is not None:
            self.seen.add(("line", *read))
        if ask is not None and asks:
            self.seen.add(("block", *ask))
        ends = {("line", half, n) for half in (0, 1) for n in (0, self.channels - 1)}
        cover("first and last line of each half", ends <= self.seen)
        ends = {("block", half, n) for half in (0, 1) for n in (0, self.blocks - 1)}
        cover("first and last block of each half", ends <= self.seen)

    def _cover_pattern(
        self, write: tuple[Place, int] | None, read: Place | None, look: Place | None
    ) -> None:
        cover = self.bench.cover
        cover("pattern read in the cycle of its write", write is not None and write[0] == look)
        cover(
            "pattern held while it is overwritten",
            write is not None and look is None and write[0] == self.pattern_place,
        )
        cover(
            "line and pattern of other channels read at once",
            read is not None and look is not None and read != look,
        )
        if look is not None:
            self.seen.add(("pattern", *look))
        ends = {("pattern", half, n) for half in (0, 1) for n in (0, self.channels - 1)}
        cover("first and last pattern of each half", ends <= self.seen)

    def random_line(self) -> Place:
        return self.bench.random.randrange(2), self.bench.random.randrange(self.channels)

    def random_block(self) -> Place:
        return self.bench.random.randrange(2), self.bench.random.randrange(self.blocks)


async def begin(bench: Bench) -> Model:
    """The line on the output and in all of the table 0. The table is read in the reset, since a
    RAM's output is undefined before its first read; what it holds is from the test before.
    """
    await bench.reset(table_read=1, pattern_read=1)
    model = Model(bench)
    for half, line in model.lines:
        await bench.cycle(table_write={"enable": 1, "half": half, "line": line})
    await bench.cycle(table_write=0, table_read={"enable": 1}, pattern_read={"enable": 1})
    return model


@test
async def nothing_is_present_after_a_reset(bench: Bench) -> None:
    model = await begin(bench)
    everything = (1 << bench.arch.pes) - 1
    places = [(half, n) for half in (0, 1) for n in range(model.blocks)]
    for _ in range(2):
        for place in places:
            await model.cycle(ask=place)
        for place in places:
            await model.cycle(present=(place, everything))
        for place in places:
            await model.cycle(ask=place)
        await model.cycle()
        assert model.presence == everything
        await bench.reset()
        model.late = (None, None)
        model.lanes.clear()
        model.presence = 0
    for place in places:
        await model.cycle(ask=place)
    await model.cycle()
    bench.cover("every half empty after a reset")


@test
async def every_line_and_block_has_a_cell_of_its_own(bench: Bench) -> None:
    model = await begin(bench)
    lines = [(half, n) for half in (0, 1) for n in range(model.channels)]
    blocks = [(half, n) for half in (0, 1) for n in range(model.blocks)]
    ones, lanes = (1 << model.written) - 1, (1 << bench.arch.pes) - 1
    for flip in (0, ones):
        for number, place in enumerate(lines):
            await model.cycle(write=(place, (number * 0x9E3779B97F4A7C15 & ones) ^ flip))
        for place, other in zip(lines, reversed(lines), strict=True):
            await model.cycle(read=place, look=other)
        for number, place in enumerate(blocks):
            await model.cycle(present=(place, (number ^ flip) & lanes))
        for place in blocks:
            await model.cycle(ask=place)
    await model.cycle()


@test
async def clear_forgets_one_half(bench: Bench) -> None:
    model = await begin(bench)
    blocks = [(half, n) for half in (0, 1) for n in range(model.blocks)]
    for half in (0, 1):
        for together in (None, (half, 0), (half, model.blocks - 1)):
            for place in blocks:
                await model.cycle(present=(place, 1 + place[1] % 3 * 5))
            await model.cycle(ask=(half, 0))
            await model.cycle(clear=half, present=together and (together, 6))
            if together is None:
                await model.cycle()  # what was read stays
            for place in blocks:
                await model.cycle(ask=place)
    await model.cycle()


@test
async def random_traffic(bench: Bench) -> None:
    model = await begin(bench)
    accesses = 0
    while accesses < bench.transactions:
        busy = bench.random.choice((0.2, 0.6, 1))
        for _ in range(100):
            write = read = clear = present = ask = look = None
            if bench.chance(busy):
                write = (model.random_line(), bench.bits(model.written))
            if bench.chance(busy):
                read = model.random_line()
                if write is not None and bench.chance(0.2):
                    read = write[0]
            if bench.chance(busy):
                look = model.random_line()
                if write is not None and bench.chance(0.2):
                    look = write[0]
            if bench.chance(busy):
                place = model.block_place if bench.chance(0.2) else None
                present = (place or model.random_block(), bench.bits(bench.arch.pes))
            if bench.chance(0.05):
                clear = bench.random.randrange(2) if present is None else present[0][0]
            if bench.chance(busy):
                ask = model.random_block()
                if model.late[1] is not None and bench.chance(0.2):
                    ask = model.late[1][0]
            accesses += sum(item is not None for item in (write, read, clear, present, ask, look))
            await model.cycle(write, read, clear, present, ask, look)
    await model.cycle()
