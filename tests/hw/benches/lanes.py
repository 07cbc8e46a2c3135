"""Bench of Lanes: which weights issue in every cycle, against queues of the contract."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from amaranth.lib import data

from evenspike_core.arch import Arch
from evenspike_hw.rtl.pe.lanes import Lanes
from tests.helpers.driver import Bench, pack, test
from tests.helpers.psums import skew

component = Lanes
ARCH = Arch(pes=4, accumulators=64, lane_depth=16)
VARIANTS = {
    "shallow": replace(ARCH, timesteps=3, lane_depth=8),  # a lane more than timesteps
    "one-timestep": replace(ARCH, timesteps=1, lane_depth=8),
    "five-timesteps": replace(ARCH, timesteps=5, accumulators=32),  # digits of three bits in five
}
RESERVED = 8
"""Weights of a selection and of the three that may be in flight when it is made."""


def CORNERS(arch: Arch) -> Iterator[str]:  # noqa: N802  (as where it is a constant)
    if arch.timesteps > 1:
        yield from ("lanes of different levels", "a lane issues alone", "a weight for some lanes")
        yield "two weights that share no lane"
    yield f"a lane holds {most(arch)}"


def most(arch: Arch) -> int:
    """The weights that a lane can come to hold: while it gets two a cycle, it issues one."""
    return max(5, arch.lane_depth - RESERVED + 4)


@dataclass(frozen=True)
class Selection:
    """A row for each way, or None, and the spikes that they meet."""

    rows: tuple[int | None, int | None]
    mask: int

    def fields(self, noise: list[int]) -> dict[str, Any]:
        ways = [
            {"enable": row is not None, "row": noise[n] if row is None else row}
            for n, row in enumerate(self.rows)
        ]
        return {"mask": self.mask, "ways": ways}


@cache
def port(bench: Bench, name: str) -> data.Layout:
    shape = (bench.outputs.get(name) or bench.inputs[name]).shape
    assert isinstance(shape, data.Layout)
    return shape


class Model:
    """A queue for each lane; selections on their way from S1 to S4."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.lanes = 1 << (bench.arch.timesteps - 1).bit_length()
        self.row_bits = (bench.arch.accumulators - 1).bit_length()
        self.issued = 0
        self.clear()

    def clear(self) -> None:
        self.queues: list[deque[tuple[int, int]]] = [deque() for _ in range(self.lanes)]
        self.flight: list[Selection | None] = [None, None]  # in S2 and S3
        self.last: Selection | None = None  # in S4
        self.addends: list[int | None] = [None] * self.lanes  # of the issues of the cycle before

    @property
    def levels(self) -> list[int]:
        return [len(queue) for queue in self.queues]

    async def cycle(self, wanted: Selection | None = None) -> bool:
        """wanted: S1 selects it in this cycle, if there is room. Returns whether there is."""
        bench, third = self.bench, self.flight[1]
        weights = [bench.bits(16) - (1 << 15) for _ in range(2)]
        noise = [bench.random.getrandbits(self.row_bits) for _ in range(2)]
        given = Selection((None, None), bench.random.getrandbits(bench.arch.timesteps))
        out = await bench.cycle(
            valid=third is not None,
            selected=(third or given).fields(noise),
            weights=weights,
        )
        levels, fourth = self.levels, self.last
        room = max(levels) <= bench.arch.lane_depth - RESERVED
        bench.check(
            out,
            {"room": room, "idle": fourth is None and not any(levels), "busy": any(levels)},
        )
        self._heads(out)
        self._corners(wanted, room)

        issues = [queue.popleft() if queue else None for queue in self.queues]
        self.addends = [None if issue is None else issue[1] for issue in issues]
        self.issued += sum(issue is not None for issue in issues)
        if fourth is not None:
            self._write(fourth, weights)
        self.flight, self.last = [wanted if room else None, self.flight[0]], third
        return room

    def _heads(self, out: dict[str, int]) -> None:
        """Heads issue; what a lane shows that does not, or did not in the cycle before, is open."""
        whole = {"enable": 1, "row": (1 << self.row_bits) - 1}
        heads = [{"enable": 1, "row": q[0][0]} if q else {} for q in self.queues]
        self._compare(out, "issue", heads, [whole if q else {"enable": 1} for q in self.queues])
        known = [addend is not None for addend in self.addends]
        self._compare(
            out, "addends", [a or 0 for a in self.addends], [-1 if k else 0 for k in known]
        )

    def _compare(
        self, out: dict[str, int], name: str, wanted: list[Any], counts: list[Any]
    ) -> None:
        shape = port(self.bench, name)
        if (out[name] ^ pack(shape, wanted)) & pack(shape, counts):
            found = self.bench.fields(name, out[name])
            raise AssertionError(f"cycle {self.bench.now - 1}: {name} {found}, expected {wanted}")

    def _write(self, selection: Selection, weights: list[int]) -> None:
        """S4: each weight goes to the lanes of the timesteps that fire, the even one first."""
        cover, times = self.bench.cover, range(self.bench.arch.timesteps)
        given: list[set[int]] = []
        for row, weight in zip(selection.rows, weights, strict=True):
            fires = [t for t in times if row is not None and selection.mask >> t & 1]
            chosen = {t ^ skew(row or 0, self.lanes) for t in fires}
            for lane in chosen:
                assert row is not None
                self.queues[lane].append((row, weight))
            given.append(chosen)
        first, second = given
        cover("two weights for a lane in a cycle", first & second)
        cover("two weights of a row in a cycle", selection.rows[0] == selection.rows[1])
        cover("a weight of the first way alone", first and not second)
        cover("a weight of the second way alone", second and not first)
        if self.lanes > 1:
            apart = first and second and not first & second
            self._several("two weights that share no lane", apart)
            self._several("a weight for some lanes", first and len(first) < len(times))
        cover("a weight for all timesteps", len(first) == len(times))
        deepest = max(self.levels)
        assert deepest <= most(self.bench.arch)
        cover(f"a lane holds {most(self.bench.arch)}", deepest == most(self.bench.arch))

    def _corners(self, wanted: Selection | None, room: bool) -> None:
        cover, levels = self.bench.cover, self.levels
        some = self.last is not None
        three = some and None not in self.flight
        cover("a selection with three in flight", three and wanted and room)
        cover("a selection waits for room", wanted and not room)
        cover("a lane has just room", room and max(levels) == self.bench.arch.lane_depth - RESERVED)
        cover("a lane just has no room", max(levels) == self.bench.arch.lane_depth - RESERVED + 1)
        cover("S4 keeps the marker waiting", some and not any(levels))
        cover("all lanes issue", all(levels))
        if self.lanes > 1:
            self._several("lanes of different levels", len(set(levels)) > 1)
            self._several("a lane issues alone", sum(map(bool, levels)) == 1)

    def _several(self, corner: str, met: object) -> None:
        """A corner of CORNERS, where there are several lanes."""
        self.bench.cover(corner, met)

    def selection(self, rows: list[int], masks: list[int], both: float) -> Selection:
        random = self.bench.random
        pair = random.choice(rows), random.choice(rows)
        mask = random.choice(masks)
        if self.bench.chance(both):
            return Selection(pair, mask)
        return Selection(random.choice(((pair[0], None), (None, pair[1]))), mask)

    async def settle(self) -> None:
        while any(self.levels) or self.last or any(self.flight):
            await self.cycle()
        await self.cycle()


@test
async def latency(bench: Bench) -> None:
    """In S3 in c, read in c + 1, a weight issues in c + 2; its addend is there in c + 3."""
    mask = (1 << bench.arch.timesteps) - 1
    ways = [{"enable": 1, "row": 5}, {"enable": 1, "row": 5}]
    out = await bench.cycle(valid=1, selected={"mask": mask, "ways": ways})
    bench.check(out, {"room": 1, "idle": 1, "busy": 0})
    out = await bench.cycle(valid=0, selected=0, weights=[-3, 7])
    bench.check(out, {"room": 1, "idle": 0, "busy": 0})
    assert not any(issue["enable"] for issue in bench.fields("issue", out["issue"]))
    weights = [bench.fields("addends", (await bench.cycle(weights=0))["addends"])]
    for busy in (1, 0):
        out = await bench.cycle()
        bench.check(out, {"busy": busy, "idle": not busy})
        weights.append(bench.fields("addends", out["addends"]))
    # Rows of one timestep are in lane 0; of five, psum 4 of row 5 is in lane 4 XOR 5.
    lane = (bench.arch.timesteps - 1) ^ skew(5, len(weights[0]))
    assert [found[lane] for found in weights[1:]] == [-3, 7]


@test
async def every_row(bench: Bench) -> None:
    """Each timestep of each row meets its own lane, whatever way its weight comes."""
    model = Model(bench)
    for row in range(bench.arch.accumulators):
        for time in range(bench.arch.timesteps):
            other = bench.random.randrange(bench.arch.accumulators)
            for rows in ((row, None), (None, row), (row, other), (other, row), (row, row)):
                while not await model.cycle(Selection(rows, 1 << time)):
                    pass
    await model.settle()


@test
async def order(bench: Bench) -> None:
    """Weights of one row and every mask, one or two a cycle, leave their lanes as they came."""
    model = Model(bench)
    for mask in range(1, 1 << bench.arch.timesteps):
        row = bench.random.randrange(bench.arch.accumulators)
        for number in range(3 * bench.arch.lane_depth):
            rows = ((row, row), (row, None), (None, row))[number % 3 if mask % 2 else 0]
            while not await model.cycle(Selection(rows, mask)):
                pass
        if mask % 4 == 0:
            await model.settle()
    await model.settle()


@test
async def random_traffic(bench: Bench) -> None:
    """Selections of few or all rows and masks, as fast as there is room, or with pauses."""
    model, random = Model(bench), bench.random
    whole = (1 << bench.arch.timesteps) - 1
    while model.issued < bench.transactions:
        count = random.choice((1, 2, 3, bench.arch.accumulators))
        rows = random.sample(range(bench.arch.accumulators), count)
        masks = [random.randint(1, whole) for _ in range(random.choice((1, 2, 8)))]
        rate, both = random.choice((0.2, 0.8, 1.0)), random.choice((0.0, 0.5, 1.0))
        for _ in range(random.randrange(5, 200)):
            wants = bench.chance(rate)
            await model.cycle(model.selection(rows, masks, both) if wants else None)
        if bench.chance(0.5):
            await model.settle()
    await model.settle()


@test
async def reset(bench: Bench) -> None:
    """A reset empties S4 and the lanes, at any place of their queues."""
    model, random = Model(bench), bench.random
    rows, whole = list(range(bench.arch.accumulators)), (1 << bench.arch.timesteps) - 1
    for _ in range(20):
        for _ in range(random.randrange(4, 20)):
            await model.cycle(model.selection(rows, [whole], 1.0))
        bench.cover("reset with weights in all lanes and S4", all(model.levels) and model.last)
        await bench.cycle(valid=0, selected=0)
        await bench.reset()
        model.clear()
        for _ in range(4):
            await model.cycle()
