"""Collector: what it writes and reads in every cycle, against the contract's few lines."""

from __future__ import annotations

from dataclasses import dataclass

from evenspike_core.arch import Arch
from evenspike_hw.rtl.collector import Collector
from evenspike_hw.rtl.layouts import ENTRY_BITS, MAP_BITS
from tests.helpers.driver import Bench, test

component = Collector
ARCH = Arch(pes=4, timesteps=3)

COUNTS = 1 << MAP_BITS


@dataclass(frozen=True)
class Window:
    """A pooling window: the fields of its places, and the bits of the masks of each position."""

    fields: dict[str, int]
    masks: tuple[int, ...]


@dataclass(frozen=True)
class Closed:
    """A window whose last position came in the cycle before.

    follows: that was the cycle in which another window of the same row was written.
    """

    fields: dict[str, int]
    pooled: int
    follows: bool


class Model:
    """One position a cycle; a window that closes is written in the cycle after."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.bits = bench.inputs["masks"].width
        self.addresses = bench.arch.spike_entries
        self.pooled = 0
        self.closed: Closed | None = None
        self.count = 0  # of the row, with the window before
        self.windows = 0
        self.silent = False
        self.flowing = False

    async def cycle(
        self,
        fields: dict[str, int] | None = None,
        opens: bool = False,
        closes: bool = False,
        masks: int | None = None,
        resume: int | None = None,
    ) -> None:
        bench = self.bench
        resume = bench.bits(MAP_BITS) if resume is None else resume
        masks = bench.bits(self.bits) if masks is None else masks
        place = bench.random.getrandbits(bench.inputs["place"].width) & ~1
        if fields is not None:
            known = {"valid": 1, "opens": int(opens), "closes": int(closes)}
            place = bench.bits_of("place", {**known, **fields})
        found = await bench.cycle(place=place, masks=masks, resume=resume)

        # What a port has to say: its bits where it is enabled, else only that it is not.
        expected = dict.fromkeys(bench.outputs, 0)
        if fields is not None and closes and fields["row_start"] and not fields["restarts"]:
            expected["resume_read"] = self.bits_of(fields["entry"])
        if self.closed is not None:
            self._write(self.closed, resume, expected)
        for name, wanted in expected.items():
            if found[name] & 1 != wanted & 1 or (wanted and found[name] != wanted):
                got, right = (bench.fields(name, bits) for bits in (found[name], wanted))
                raise AssertionError(f"cycle {bench.now - 1}: {name} is {got}, expected {right}")

        before, self.closed = self.closed, None
        if fields is not None:
            self.pooled = masks | (0 if opens else self.pooled)
            if closes:
                row = None if before is None else before.fields["entry"] % self.addresses
                follows = row == fields["entry"] % self.addresses
                self.closed = Closed(fields, self.pooled, follows)
                self.windows += 1
            bench.cover("positions in a row without a gap", self.flowing)
        elif masks:
            bench.cover("masks without a position")
        self.flowing = fields is not None

    def bits_of(self, address: int, data: int = 0) -> int:
        """An enabled port."""
        return 1 | address % self.addresses << 1 | data << self.addresses.bit_length()

    def _write(self, closed: Closed, resume: int, expected: dict[str, int]) -> None:
        fields, pooled = closed.fields, closed.pooled
        count = self.count
        if fields["row_start"] and fields["restarts"]:
            count = 0
        elif fields["row_start"] and not closed.follows:
            count = resume
        entry = fields["entry"]
        if pooled:
            data = fields["column"] | pooled << MAP_BITS
            expected["entry_write"] = self.bits_of(entry + count, data)
        self.count = (count + (pooled != 0)) % COUNTS
        expected["count_write"] = self.bits_of(entry, self.count)
        self._cover(closed, resume)

    def _cover(self, closed: Closed, resume: int) -> None:
        cover = self.bench.cover
        fields, pooled = closed.fields, closed.pooled
        resumed = fields["row_start"] and not fields["restarts"] and not closed.follows
        cover("window in which no lane fired", not pooled)
        cover("one lane fired once", pooled.bit_count() == 1)
        cover("every lane fired in every timestep", pooled == (1 << self.bits) - 1)
        cover("row restarts", fields["row_start"] and fields["restarts"])
        cover("row goes on in the same tile", not fields["row_start"])
        cover("row goes on behind a silent window", not fields["row_start"] and self.silent)
        cover("row is resumed from an empty count", resumed and resume == 0)
        cover("row is resumed from the largest count", resumed and resume == COUNTS - 1)
        cover(
            "row is resumed by the next position",
            fields["row_start"] and not fields["restarts"] and closed.follows,
        )
        cover(
            "row restarts behind its own window",
            fields["row_start"] and fields["restarts"] and closed.follows,
        )
        self.silent = not pooled

    async def window(self, window: Window, gap: float = 0.0, resume: int | None = None) -> None:
        """All positions of a window, with gaps; resume: in all of these cycles."""
        count = len(window.masks)
        self.bench.cover("window of one position" if count == 1 else "window of four positions")
        for number, masks in enumerate(window.masks):
            while self.bench.chance(gap):
                self.bench.cover("gap inside a window", number)
                await self.cycle(resume=resume)
            await self.cycle(window.fields, number == 0, number == count - 1, masks, resume)
        if count > 1 and sum(masks != 0 for masks in window.masks) == 1:
            if window.masks[0]:
                self.bench.cover("only the first position of a window fired")
            elif window.masks[-1]:
                self.bench.cover("only the last position of a window fired")

    def random(self, positions: int, row_start: bool, entry: int, share: float) -> Window:
        bench = self.bench
        fields = {
            "restarts": int(bench.chance(0.5)),
            "row_start": int(row_start),
            "entry": entry,
            "column": bench.bits(MAP_BITS),
        }
        masks = tuple(bench.bits(self.bits) * bench.chance(share) for _ in range(positions))
        return Window(fields, masks)


@test
async def written_in_the_next_cycle(bench: Bench) -> None:
    model = Model(bench)
    fields = {"restarts": 1, "row_start": 1, "entry": 100, "column": 5}
    await model.window(Window(fields, (1,)))
    assert model.closed is not None
    await model.cycle()
    assert model.closed is None
    assert model.count == 1
    for bit in range(model.bits):
        fields = {**fields, "row_start": 0, "restarts": bit % 2, "column": 1 << bit % MAP_BITS}
        await model.window(Window(fields, (1 << bit,)))
    await model.cycle()
    assert model.count == model.bits + 1
    for number in range(4):
        for bit in range(model.bits):
            masks = [0, 0, 0, 0]
            masks[number] = 1 << bit
            await model.window(Window(fields, tuple(masks)))
    await model.window(Window(fields, (0,)))
    await model.cycle()
    assert model.count == 5 * model.bits + 1


@test
async def resumed_rows(bench: Bench) -> None:
    model = Model(bench)
    for positions in (1, 4):
        for resume in (0, COUNTS - 1, *(1 << n for n in range(MAP_BITS))):
            for masks in (0, 1, (1 << model.bits) - 1):
                fields = {"restarts": 0, "row_start": 1, "entry": bench.bits(ENTRY_BITS)}
                fields["column"] = bench.bits(MAP_BITS)
                silent = (0,) * (positions - 1)
                await model.window(Window(fields, (*silent, masks)))
                await model.cycle(resume=resume)  # the count comes in the cycle behind the read
                assert model.count == (resume + (masks != 0)) % COUNTS


@test
async def resumed_in_the_cycle_of_the_write(bench: Bench) -> None:
    model = Model(bench)
    ones = (1 << model.bits) - 1
    for bit in range(-1, (model.addresses - 1).bit_length()):
        other = 0 if bit < 0 else 1 << bit
        bench.cover("row is resumed behind a row whose address differs in one bit", other)
        for masks in (0, ones):
            for restarts in (0, 1):
                entry = bench.random.randrange(model.addresses)
                fields = {"restarts": 1, "row_start": 1, "entry": entry, "column": 1}
                after = {**fields, "restarts": restarts, "entry": entry ^ other, "column": 2}
                await model.window(Window(fields, (masks,)))
                await model.window(Window(after, (ones,)))
                await model.cycle(resume=100)
                fresh = 0 if restarts else 100
                kept = int(masks != 0) if other == 0 and not restarts else fresh
                assert model.count == kept + 1


@test
async def addresses_carry(bench: Bench) -> None:
    model = Model(bench)
    for bit in range(ENTRY_BITS):
        fields = {"restarts": 1, "row_start": 1, "entry": (1 << bit) - 1, "column": bit}
        for _ in range(3):
            await model.window(Window(fields, (bench.random.getrandbits(model.bits) | 1,)))
            fields = {**fields, "row_start": 0}


@test
async def reset_forgets_the_window(bench: Bench) -> None:
    fields = {"restarts": 0, "row_start": 1, "entry": 3, "column": 4}
    for closes in (False, True):
        model = Model(bench)
        await model.cycle(fields, True, closes, (1 << model.bits) - 1)
        bench.cover("reset before the write" if closes else "reset inside a window")
        if closes:
            # The write comes in the cycle of the edge that resets.
            bench.check(await bench.cycle(place=0), {})
        await bench.reset()
        model = Model(bench)
        for _ in range(3):
            await model.cycle()
        # A row that goes on begins with a count of 0, and the pool is empty.
        await model.cycle({**fields, "row_start": 0}, False, True, 0)
        await model.cycle()
        await model.window(Window({**fields, "row_start": 0}, (5,)))
        await model.cycle()
        assert model.count == 1


@test
async def random_windows(bench: Bench) -> None:
    model = Model(bench)
    while model.windows < bench.transactions:
        positions = bench.random.choice((1, 1, 4))
        share = bench.random.choice((0.0, 0.1, 0.5, 1.0))
        gap = bench.random.choice((0, 0, 0.3, 0.8))
        entry = bench.bits(ENTRY_BITS)
        narrow = bench.chance(0.2)  # every window is the first of its row of a tile
        for number in range(bench.random.randrange(1, 20)):
            await model.window(model.random(positions, narrow or number == 0, entry, share), gap)
    await model.cycle()
    await model.cycle()
