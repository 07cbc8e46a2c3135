"""Bench of Filter: every output in every cycle against the contract, with a FIFO and patterns."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import product
from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import Layouts
from evenspike_hw.rtl.pe.filter import Filter
from tests.helpers.driver import Bench, pack, test

component = Filter
ARCH = Arch(pes=4, chunk_blocks=2, fifo_depth=5)
VARIANTS = {
    "kernel3": Arch(pes=1, timesteps=1, chunk_blocks=3, kernel_max=3, fifo_depth=2),
    "kernel5": Arch(pes=4, chunk_blocks=2, kernel_max=5, fifo_depth=64),
    "depth1": Arch(pes=4, chunk_blocks=2, kernel_max=3, fifo_depth=1),
}
SIDE = 3


@dataclass
class Item:
    """A broadcast activation, its bits, and what is known of its channel. behind: cycles since."""

    fields: dict[str, int]
    bits: int
    pattern: int
    behind: int = 0

    @property
    def positions(self) -> int:
        """Kernel positions that connect it to the tile, for K <= 3."""
        side = 2 * self.fields["kernel"] + 1
        return sum(
            (self.fields["rows"] >> r & self.fields["columns"] >> s & 1) << r * side + s
            for r, s in product(range(side), repeat=2)
        )

    @property
    def has_pattern(self) -> bool:
        return not self.fields["marker"] and 2 * self.fields["kernel"] + 1 <= SIDE

    @property
    def passes(self) -> bool:
        return not self.has_pattern or bool(self.pattern & self.positions)


class Model:
    """inside: activations on their way through the filter. fifo: what is in the FIFO. gone: what
    was popped or dropped in the cycle before, and still has its place.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.layouts = Layouts(bench.arch)
        self.depth = bench.arch.fifo_depth
        self.sides = len(self.layouts.sides)
        self.every = (1 << bench.arch.kernel_max) - 1
        self.inside: deque[Item] = deque()
        self.fifo: deque[Item] = deque()
        self.gone = 0
        self.was_full = False
        self.broadcast = self.passed = 0

    @property
    def places(self) -> int:
        return len(self.inside) + len(self.fifo) + self.gone

    def random(self, **fields: int) -> Item:
        """An activation, which some of its channel's weights match or none does."""
        bench, random = self.bench, self.bench.random
        side = bench.arch.kernel_max
        some = (self.every, 1 << random.randrange(side), random.getrandbits(side), 0)
        drawn = {
            "marker": int(bench.chance(0.1)),
            "ends_round": random.getrandbits(1),
            "frees": random.getrandbits(1),
            "half": random.getrandbits(1),
            "kernel": random.randrange(self.sides),
            "log_stride": random.getrandbits(1),
            "line": random.randrange(bench.arch.chunk_channels),
            "mask": bench.bits(bench.arch.timesteps),
            "rows": random.choice(some),
            "columns": random.choice(some),
            "y": bench.bits(10),
            "x": bench.bits(10),
        }
        drawn |= fields
        area = (2 * drawn["kernel"] + 1) ** 2
        patterns = ((1 << area) - 1, 1 << random.randrange(area), random.getrandbits(area))
        return self.item(drawn, random.choice(patterns) if drawn["kernel"] < 2 else 0)

    def item(self, fields: dict[str, int], pattern: int) -> Item:
        return Item(fields, pack(self.layouts.activation, fields), pattern)

    def to_pass(self) -> Item:
        return self._everywhere((1 << SIDE**2) - 1)

    def to_drop(self) -> Item:
        return self._everywhere(0)

    def _everywhere(self, pattern: int) -> Item:
        whole = {"marker": 0, "kernel": 1, "rows": self.every, "columns": self.every}
        return self.item(self.random(**whole).fields, pattern)

    async def cycle(self, offered: Item | None = None, pop: bool = False) -> bool:
        """One cycle in which it is broadcast, if the PE is not full; whether it was."""
        bench = self.bench
        full = self.places == self.depth
        popped = pop and bool(self.fifo)
        # What was read in the cycle before; of a marker, or for K > 3, it does not matter.
        pattern = bench.bits(SIDE**2)
        if self.inside and self.inside[-1].behind == 1 and self.inside[-1].has_pattern:
            pattern = self.inside[-1].pattern
        found = await bench.cycle(
            activation__valid=offered is not None,
            activation__payload=bench.random.getrandbits(self.layouts.activation.size)
            if offered is None
            else offered.bits,
            pattern=pattern,
            popped=popped,
        )
        sent = offered is not None and not full
        leaving = self.inside[0] if self.inside and self.inside[0].behind == 2 else None
        passes = leaving is not None and leaving.passes
        expected: dict[str, Any] = {
            "activation__ready": int(not full),
            "passed__valid": int(passes),
        }
        if leaving is not None and passes:
            expected["passed__payload"] = leaving.bits
        bench.check(found, expected)
        self._check_read(found["pattern_read"], offered if sent else None)
        self._cover(offered, full, popped, leaving)
        self.gone = popped + (leaving is not None and not passes)
        if popped:
            self.fifo.popleft()
        if leaving is not None:
            self.inside.popleft()
            if passes:
                self.fifo.append(leaving)
                self.passed += 1
        if sent and offered is not None:
            self.inside.append(offered)
            self.broadcast += 1
        for item in self.inside:
            item.behind += 1
        self.was_full = full
        return sent

    def _check_read(self, found: int, sent: Item | None) -> None:
        """The OR of an activation's channel is read; of a marker nothing is of use."""
        if sent is None:
            assert not found & 1, f"cycle {self.bench.now - 1}: a pattern is read for nothing"
        elif not sent.fields["marker"]:
            wanted = {"enable": 1, "half": sent.fields["half"], "line": sent.fields["line"]}
            self.bench.check({"pattern_read": found}, {"pattern_read": wanted})

    def _cover(self, offered: Item | None, full: bool, popped: bool, leaving: Item | None) -> None:
        cover = self.bench.cover
        if offered is not None:
            cover("broadcast waits for a place", full)
            cover(
                "broadcast in the first cycle of a place that was missing",
                self.was_full and not full,
            )
        cover("full of what is in the FIFO", full and len(self.fifo) == self.depth)
        cover("full of what has just gone", full and self.gone)
        cover("full of what may be dropped", full and bool(self.inside))
        cover("popped while full", full and popped)
        if leaving is None:
            return
        kernel, passes = leaving.fields["kernel"], leaving.passes
        marker, positions = leaving.fields["marker"], leaving.positions
        cover("dropped while full", full and not passes)
        cover(
            "popped while another is dropped (never with 1 place)",
            self.depth < 2 or (popped and not passes),
        )
        cover("passes into an empty FIFO", passes and not self.fifo)
        cover("marker without a match", marker and not leaving.pattern & positions)
        cover("marker that ends a round", marker and leaving.fields["ends_round"])
        if marker:
            return
        cover("K = 1 passes", kernel == 0 and passes)
        cover("K = 1 is dropped", kernel == 0 and not passes)
        cover("K = 3 passes", kernel == 1 and passes)
        cover(
            "K = 3 is dropped: no weight at its positions", kernel == 1 and not passes and positions
        )
        cover("K = 3 is dropped: no position", kernel == 1 and not positions)
        cover(
            "K > 3 without a position (never for K <= 3)",
            self.sides < 3 or (kernel > 1 and not positions),
        )

    async def settle(self) -> None:
        while self.places:
            await self.cycle(pop=True)
        await self.cycle()


@test
async def latency(bench: Bench) -> None:
    """Broadcast in 0, its channel's pattern read in 0, passed in 2, or its place free in 4."""
    layout = Layouts(bench.arch).activation
    fields = {"kernel": 1, "rows": 0b010, "columns": 0b100, "line": 2, "half": 1}
    bits = pack(layout, fields)
    depth = bench.arch.fifo_depth
    for pattern, passes in ((1 << 5, True), (0x1FF ^ 1 << 5, False), (1 << 7, False)):
        for number in range(depth):
            read = {"enable": 1, "half": 1, "line": 2}
            out = await bench.cycle(activation__valid=0)
            bench.check(out, {"activation__ready": 1})
            out = await bench.cycle(activation__valid=1, activation__payload=bits, pattern=0)
            bench.check(out, {"activation__ready": 1, "pattern_read": read, "passed__valid": 0})
            room = int(number < depth - 1 if passes else depth > 1)
            out = await bench.cycle(activation__valid=0, activation__payload=0, pattern=pattern)
            bench.check(out, {"passed__valid": 0, "activation__ready": room})
            out = await bench.cycle(pattern=0x1FF ^ pattern)
            bench.check(out, {"passed__valid": int(passes)})
            if passes:
                bench.check(out, {"passed__payload": fields})
            out = await bench.cycle()
            bench.check(out, {"passed__valid": 0, "activation__ready": room})
        for number in range(depth if passes else 0):
            out = await bench.cycle(popped=1)
            bench.check(out, {"activation__ready": int(number > 1)})
        out = await bench.cycle(popped=0)
        bench.check(out, {"activation__ready": int(depth > 1 or not passes)})


@test
async def every_position(bench: Bench) -> None:
    """A kernel position passes where its own bit of the pattern is set, and there only."""
    model = Model(bench)
    everywhere = range(SIDE)
    for kernel, alone in ((1, range(9)), (0, range(1))):
        for r, s, bit in product(everywhere, everywhere, alone):
            for pattern in (1 << bit, ((1 << len(alone)) - 1) ^ 1 << bit):
                fields = {"marker": 0, "kernel": kernel, "rows": 1 << r, "columns": 1 << s}
                item = model.item(model.random(**fields).fields, pattern)
                while not await model.cycle(item, pop=True):
                    pass
    await model.settle()


@test
async def one_a_cycle(bench: Bench) -> None:
    """Activations pass without a gap while the FIFO is popped, and are dropped without one."""
    model = Model(bench)
    for make in (model.to_pass, model.to_drop):
        await model.settle()
        before = model.broadcast
        for _ in range(120):
            await model.cycle(make(), pop=True)
        # Its place is another's in the fifth cycle, the pop being in the third; or in the fourth.
        turn = 5 if make == model.to_pass else 4
        assert model.broadcast - before == 120 * min(turn, model.depth) // turn


@test
async def places(bench: Bench) -> None:
    """As many as the FIFO holds are taken and none more; a place that is given up is there once."""
    model = Model(bench)
    for _ in range(3):
        for _ in range(model.depth):
            assert await model.cycle(model.to_pass())
        for _ in range(5):
            assert not await model.cycle(model.to_pass())
        assert len(model.fifo) == model.depth
        for _ in range(2 * model.depth):
            assert not await model.cycle(model.to_pass(), pop=True)
            assert not await model.cycle(model.to_pass())
            assert await model.cycle(model.to_drop())
            for _ in range(3):
                assert not await model.cycle(model.to_pass())
            assert await model.cycle(model.to_pass())
            for _ in range(4):
                assert not await model.cycle(model.to_pass())
        await model.settle()


@test
async def reset_gives_all_places_up(bench: Bench) -> None:
    depth = bench.arch.fifo_depth
    for count in (*range(1, min(depth, 5)), depth, depth + 1, 2 * depth + 2):
        model = Model(bench)
        for _ in range(count):
            await model.cycle(model.to_pass())
        bench.cover("reset while full", model.places == model.depth)
        await bench.cycle(activation__valid=0, popped=0)
        await bench.reset()
        model = Model(bench)
        for _ in range(4):
            await model.cycle()
        for _ in range(model.depth):
            assert await model.cycle(model.to_pass())
        assert not await model.cycle(model.to_pass())
        await model.settle()


@test
async def random_traffic(bench: Bench) -> None:
    model = Model(bench)
    while model.broadcast < bench.transactions:
        supply, take = bench.random.choice(((0.9, 0.9), (1, 0.3), (0.3, 1), (0.5, 0.5), (1, 1)))
        # Short of places most of the time, or of one kind for a while.
        useless = bench.random.choice((0.0, 0.0, 0.5, 1.0))
        waiting: Item | None = None
        for _ in range(bench.random.randrange(20, 2 * model.depth + 60)):
            if waiting is None and bench.chance(supply):
                waiting = model.to_drop() if bench.chance(useless) else model.random()
            if await model.cycle(waiting, pop=bench.chance(take)):
                waiting = None
    await model.settle()
    assert model.passed <= model.broadcast
