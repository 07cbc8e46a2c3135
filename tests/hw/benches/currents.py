"""Bench of Currents: blocks and the cycle of their last word, with and without gaps."""

from __future__ import annotations

from evenspike_core.arch import Arch
from evenspike_hw.rtl.currents import Currents
from tests.helpers.driver import Bench, test

component = Currents
ARCH = Arch(pes=4)  # two words, the second one half full
VARIANTS = {"one-pe": Arch(pes=1), "many-pes": Arch(pes=16)}
PSUM = (1 << 24) - 1


class Model:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.words: list[int] = []
        self.whole: list[int] | None = None  # the block that was completed in the cycle before
        self.currents = [0] * bench.arch.pes
        self.blocks = 0
        self.gap = False
        self.since = 99  # cycles since the block before

    async def cycle(self, word: int | None) -> None:
        bench = self.bench
        data = bench.bits(64) if word is None else word
        drive = {"valid": int(word is not None), "data": data}
        out = await bench.cycle(word=drive)
        expected = {"block": int(self.whole is not None), "values": self.currents}
        bench.check(out, expected)
        self._corners(word)
        if self.whole is not None:
            bits = sum(value << 64 * n for n, value in enumerate(self.whole))
            values = [bits >> 24 * lane & PSUM for lane in range(bench.arch.pes)]
            self.currents = [value - (value >> 23 << 24) for value in values]
            self.blocks += 1
            bench.cover("most negative current", -(1 << 23) in self.currents)
            bench.cover("largest current", (1 << 23) - 1 in self.currents)
        self.whole = None
        if word is not None:
            self.words.append(word)
            if len(self.words) == bench.arch.current_words:
                self.whole, self.words = self.words, []

    def _corners(self, word: int | None) -> None:
        bench, count = self.bench, self.bench.arch.current_words
        self.gap = (self.gap or word is None) if self.words else word is None
        if self.whole is not None:
            bench.cover("block right after a block", self.since == count)
            self.since = 0
            bench.cover("word in the cycle of the block", word is not None)
        elif word is None and any(self.currents):
            bench.cover("currents held")
        self.since += 1
        bench.cover(
            "block without a gap",
            count == 1 or (self.words and not self.gap and len(self.words) == count - 1),
        )
        bench.cover("gap in a block", count == 1 or (self.words and word is None))


@test
async def latency(bench: Bench) -> None:
    """The block in the cycle after its last word, its currents in the next; a word in each."""
    count = bench.arch.current_words
    period = []
    out = {}
    for now in range(6 * count):
        out = await bench.cycle(word={"valid": 1, "data": (1 << 64) - 1})
        if out["block"]:
            period.append(now)
        full = (1 << 24 * bench.arch.pes) - 1
        assert out["values"] == (full if now >= count + 1 else 0)
    assert period == [count * n for n in range(1, 6)]


@test
async def single_bits(bench: Bench) -> None:
    """Each bit of each word alone, and each bit alone missing."""
    model = Model(bench)
    count = bench.arch.current_words
    for inverted in (0, (1 << 64 * count) - 1):
        for bit in range(64 * count):
            bits = (1 << bit) ^ inverted
            for n in range(count):
                await model.cycle(bits >> 64 * n & (1 << 64) - 1)
        for edge in (1 << 23, PSUM >> 1):
            bits = sum(edge << 24 * lane for lane in range(bench.arch.pes))
            for n in range(count):
                await model.cycle(bits >> 64 * n & (1 << 64) - 1)
    for _ in range(3):
        await model.cycle(None)


@test
async def random_blocks(bench: Bench) -> None:
    model = Model(bench)
    while model.blocks < bench.transactions // bench.arch.current_words:
        busy = bench.random.choice((0.1, 0.5, 0.9, 1.0, 1.0))
        for _ in range(100):
            await model.cycle(bench.bits(64) if bench.chance(busy) else None)


@test
async def reset(bench: Bench) -> None:
    """A reset in the middle leaves nothing behind, and the first word after it is a block's."""
    for words in range(3 * bench.arch.current_words):
        model = Model(bench)
        for _ in range(words):
            await model.cycle(bench.random.getrandbits(64))
        bench.cover("reset in a block")
        await bench.cycle(word={"valid": 0})
        await bench.reset()
        model = Model(bench)
        await model.cycle(None)
        for _ in range(3 * bench.arch.current_words):
            await model.cycle(bench.random.getrandbits(64))
        await model.cycle(None)
        # The next round of this loop starts from nothing, too.
        await bench.reset()
