"""Bench of InputWriter: places and masks in every cycle against the nested loops of a map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.descriptor import LAYER
from evenspike_hw.rtl.input import InputWriter
from tests.helpers.driver import Bench, pack, test
from tests.helpers.layers import ENTRIES, Layer, noise

component = InputWriter
ARCH = Arch(pes=4)  # a word, most of it empty
VARIANTS = {
    "one-pe": Arch(pes=1, timesteps=1),
    "many-pes": Arch(pes=32, timesteps=5),  # three words, the last one half full
    "port128": Arch(pes=32, timesteps=5, port_bits=128),  # two words
    "clusters": Arch(pes=4, clusters=4),  # the maps of one and the same places for each of them
}


def places(layer: Layer) -> Iterator[tuple[dict[str, int], bool]]:
    """For each position of a map in order its place, and whether it is the last."""
    height, width = layer["height"], layer["width"]
    groups = layer["groups"]
    for number in range(layer["parts"] * groups):
        for block in range(layer["passes"]):
            for row in range(height):
                for column in range(width):
                    entry = layer["spike_base"] + number * layer["region"]
                    entry += (block * height + row) * width
                    first = int(column == 0)
                    ends = (number, block, row, column) == (
                        layer["parts"] * groups - 1,
                        layer["passes"] - 1,
                        height - 1,
                        width - 1,
                    )
                    yield (
                        {
                            "valid": 1,
                            "opens": 1,
                            "closes": 1,
                            "restarts": first,
                            "row_start": first,
                            "entry": entry & ENTRIES,
                            "column": column,
                        },
                        ends,
                    )


def input_layer(bench: Bench, **given: Any) -> Layer:
    """A layer whose map is written as the input is; what has no part in that is random."""
    pick = bench.random.randrange
    fields = {"height": pick(1, 5), "width": pick(1, 5), "passes": pick(1, 4)}
    fields |= {"groups": pick(1, 5), "parts": bench.random.choice((1, 1, 2, 4))} | given
    return noise(bench, **fields, row_stride=fields["width"])


class Rig:
    """The words of a position so far, and the positions that are to come."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.count = bench.arch.input_words
        self.words: list[int] = []
        self.whole: list[int] | None = None  # the position that was completed in the cycle before
        self.places: Iterator[tuple[dict[str, int], bool]] = iter(())
        self.layer: Layer = {}
        self.positions = 0
        self.over = False
        self.since = 99  # cycles since the position before
        self.cluster = 0

    async def begin(self, layer: Layer, **drive: Any) -> None:
        self.layer, self.places, self.over = layer, places(layer), False
        self.cluster = 0
        await self.bench.cycle(layer=pack(LAYER, layer), start=1, word={"valid": 0}, **drive)
        self.words, self.whole = [], None

    async def cycle(self, word: int | None) -> None:
        bench = self.bench
        data = bench.bits(bench.arch.port_bits) if word is None else word
        drive = {"valid": int(word is not None), "data": data}
        out = await bench.cycle(word=drive, start=0)
        ends = False
        expected: dict[str, Any] = {"drains": int(self.whole is not None)}
        if self.whole is not None:
            place, ends = next(self.places)
            expected |= {"place": place, "masks": self._masks(self.whole)}
            self._corners(place, word)
            self.positions += 1
            clusters = bench.arch.clusters
            if clusters > 1:
                expected["cluster"] = self.cluster
            if ends and self.cluster < clusters - 1:
                ends, self.places = False, places(self.layer)
                self.cluster += 1
            self.over = ends
        else:
            assert not out["place"] & 1, f"cycle {bench.now - 1}: a place"
        bench.check(out, expected | {"ends_layer": int(ends)})
        self.since += 1
        self.whole = None
        if word is not None:
            self.words.append(word)
            if len(self.words) == self.count:
                self.whole, self.words = self.words, []
        bench.cover("gap in a position", self.count == 1 or (self.words and word is None))

    def _masks(self, words: list[int]) -> list[int]:
        bits = sum(value << self.bench.arch.port_bits * n for n, value in enumerate(words))
        times = self.bench.arch.timesteps
        lanes = [bits >> times * lane for lane in range(self.bench.arch.pes)]
        return [lane & (1 << times) - 1 for lane in lanes]

    def _corners(self, place: dict[str, int], word: int | None) -> None:
        cover, layer = self.bench.cover, self.layer
        cover("position right after a position", self.since == self.count)
        cover("word in the drain cycle", word is not None)
        cover("map of 256 columns", place["column"] == 255)
        cover("entry wraps", place["entry"] < layer["spike_base"])
        cover("32 groups", layer["groups"] == 32)
        cover("several groups of several images", layer["groups"] > 1 and layer["parts"] > 1)
        self.since = 0

    async def run(self, layer: Layer, busy: float = 1.0) -> None:
        """A whole map, and some cycles behind it."""
        await self.begin(layer)
        total = (
            layer["parts"]
            * layer["groups"]
            * layer["passes"]
            * layer["height"]
            * layer["width"]
            * self.count
            * self.bench.arch.clusters
        )
        while total:
            sends = self.bench.chance(busy)
            total -= sends
            await self.cycle(
                self.bench.random.getrandbits(self.bench.arch.port_bits) if sends else None
            )
        for _ in range(3):
            await self.cycle(None)
        assert self.over


@test
async def latency(bench: Bench) -> None:
    """The place in the cycle after its last word; a word in each cycle."""
    count = bench.arch.input_words
    fields = input_layer(bench, height=2, width=3, passes=1, groups=1, parts=1, spike_base=7)
    await bench.cycle(layer=pack(LAYER, fields), start=1, word={"valid": 0})
    drains, entries, ends = [], [], []
    clusters = bench.arch.clusters
    for now in range((6 * clusters + 1) * count + 1):
        valid = int(now < 6 * count * clusters)
        ones = (1 << bench.arch.port_bits) - 1
        out = await bench.cycle(word={"valid": valid, "data": ones}, start=0)
        if out["drains"]:
            drains.append(now)
            entries.append(bench.fields("place", out["place"])["entry"])
            assert out["masks"] == (1 << bench.arch.timesteps * bench.arch.pes) - 1
        if out["ends_layer"]:
            ends.append(now)
    assert drains == [count * n for n in range(1, 6 * clusters + 1)]
    assert entries == [7, 7, 7, 10, 10, 10] * clusters
    assert ends == [6 * count * clusters]


@test
async def single_bits(bench: Bench) -> None:
    """Each bit of each word alone, and each bit alone missing."""
    made = Rig(bench)
    count, width = made.count, bench.arch.port_bits
    for inverted in (0, (1 << width * count) - 1):
        await made.begin(input_layer(bench, passes=64, groups=count))
        for bit in range(width * count):
            bits = (1 << bit) ^ inverted
            for n in range(count):
                await made.cycle(bits >> width * n & (1 << width) - 1)


@test
async def long_counts(bench: Bench) -> None:
    """Every bit of the counters: the sides of a map, blocks, groups, images."""
    made = Rig(bench)
    one = {"height": 1, "width": 1, "passes": 1, "groups": 1, "parts": 1}
    longest = 0xFFF if bench.transactions > 1000 else 0x801
    for given in (
        {"height": 256},
        {"width": 256},
        {"passes": longest},
        {"passes": 0x555},
        {"groups": 32},
        {"groups": 21, "passes": 2},
        {"parts": 64, "groups": 2},
        {"parts": 127},
        {"parts": 42},
        {"height": 85, "width": 2},
        {"width": 170, "height": 2},
    ):
        await made.run(input_layer(bench, **one | given))


@test
async def random_maps(bench: Bench) -> None:
    """Maps of all shapes, one after another; words come at random rates."""
    made = Rig(bench)
    while made.positions * made.count < bench.transactions:
        await made.run(input_layer(bench), bench.random.choice((0.1, 0.5, 0.9, 1.0, 1.0)))


@test
async def start_at_any_time(bench: Bench) -> None:
    """A start in the middle of a map begins the next one from nothing."""
    made = Rig(bench)
    for words in range(8):
        await made.begin(input_layer(bench, width=3, height=2, passes=2, groups=2))
        for _ in range(words * made.count):
            await made.cycle(bench.random.getrandbits(bench.arch.port_bits))
        await made.cycle(None)
        bench.cover("start in the middle of a map", not made.over)
        await made.run(input_layer(bench))


@test
async def reset(bench: Bench) -> None:
    """A reset in the middle leaves nothing behind, and the first word after it is a position's."""
    for words in range(3 * bench.arch.input_words):
        made = Rig(bench)
        await made.begin(input_layer(bench, width=4, height=4))
        for _ in range(words):
            await made.cycle(bench.random.getrandbits(bench.arch.port_bits))
        bench.cover("reset in a map")
        await bench.cycle(word={"valid": 0})
        await bench.reset()
        made = Rig(bench)
        await made.cycle(None)
        await made.run(input_layer(bench))
