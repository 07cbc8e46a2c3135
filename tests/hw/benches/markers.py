"""Bench of Markers: every kind of marker at every count."""

from __future__ import annotations

from evenspike_core.arch import Arch
from evenspike_hw.rtl.pe.markers import Markers
from tests.helpers.driver import Bench, test

component = Markers
ARCH = Arch(pes=4)


class Model:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.counts = {"rounds": 0, "worked": 0, "finished": 0}

    async def cycle(self, marker: int, ends: int, frees: int) -> None:
        bench = self.bench
        fields = {"enable": marker, "ends_round": ends, "frees": frees}
        bench.check(await bench.cycle(marker=fields), self.counts)
        bench.cover("no marker, whatever its fields", not marker and ends and frees)
        if not marker:
            return
        bench.cover("a marker that only ends its round", ends and not frees)
        bench.cover("a marker that only gives up its half", frees and not ends)
        bench.cover("a marker that does both", ends and frees)
        bench.cover("a marker that does neither", not ends and not frees)
        for name, counts in (
            ("rounds", ends),
            ("worked", frees and not ends),
            ("finished", frees),
        ):
            bench.cover("a count wraps", counts and self.counts[name] == 3)
            self.counts[name] = (self.counts[name] + int(bool(counts))) % 4


@test
async def every_marker(bench: Bench) -> None:
    """Each kind alone, often enough to wrap, counts in the next cycle."""
    model = Model(bench)
    for fields in range(8):
        for _ in range(9):
            await model.cycle(fields & 1, fields >> 1 & 1, fields >> 2)
    await model.cycle(0, 0, 0)


@test
async def random_traffic(bench: Bench) -> None:
    model = Model(bench)
    for _ in range(bench.transactions):
        fields = bench.random.getrandbits(3)
        await model.cycle(fields & 1, fields >> 1 & 1, fields >> 2)


@test
async def reset(bench: Bench) -> None:
    """A reset forgets the counts, also of a marker that stands through it."""
    for _ in range(10):
        model = Model(bench)
        for _ in range(bench.random.randrange(1, 10)):
            await model.cycle(1, bench.random.getrandbits(1), 1)
        await bench.reset(marker=0b111)
        model = Model(bench)
        await model.cycle(0, 0, 0)
