"""Bench of NeuronBank: every psum, membrane and spike in every cycle, against plain integers."""

from __future__ import annotations

from typing import Any

from evenspike_core.arch import IMPLIED, WEIGHTS, Arch
from evenspike_hw.rtl.pe.neuron_bank import NeuronBank
from tests.helpers.driver import Bench, test

ARCH = Arch(pes=4, accumulators=64, gates=WEIGHTS, lif_parallel=1, **IMPLIED)
VARIANTS = {"sixteen": Arch(pes=4, gates=WEIGHTS, lif_parallel=1, **IMPLIED)}
LOW, HIGH = -(1 << 23), (1 << 23) - 1


def component(arch: Arch) -> NeuronBank:
    return NeuronBank(arch.accumulators // 16)


def clipped(value: int) -> int:
    return max(LOW, min(HIGH, value))


class Model:
    """Psums with all that has issued more than two cycles before, and membranes."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.rows = range(bench.arch.accumulators // 16)
        self.psums, self.values = [0] * len(self.rows), [0] * len(self.rows)
        self.saturated = [False] * len(self.rows)
        self.issued: list[int | None] = [None, None]
        self.addend = 0
        self.layer: dict[str, int] = {}

    def choose(self) -> None:
        """Another layer: its neurons."""
        bench, random = self.bench, self.bench.random
        self.layer = {
            "bias": bench.bits(24) - (1 << 23) if bench.chance(0.3) else random.randrange(-99, 99),
            "threshold": random.choice((1, 50, (1 << 23) - 1, bench.bits(23) or 1)),
            "leak": random.choice((0, 4096, 3072, 3686, random.randrange(4097))),
            "hard": random.getrandbits(1),
            "reset": random.choice((0, 0, 40, -40, bench.bits(24) - (1 << 23))),
            "psums": bench.chance(0.2),
        }

    async def cycle(
        self,
        issue: int | None = None,
        *,
        steps: bool = False,
        ends: bool = False,
        carries: bool = False,
        addend: int | None = None,
    ) -> None:
        """addend: of the issue of the cycle before."""
        bench, layer = self.bench, self.layer
        given = bench.bits(16) - (1 << 15) if addend is None else addend
        read = bench.random.choice(self.rows)
        noise = bench.random.choice(self.rows)
        inputs: dict[str, Any] = {
            "issue": issue is not None,
            "row": noise if issue is None else issue,
        }
        inputs |= {"addend": given, "steps": steps, "ends": ends, "carries": carries, "read": read}
        out = await bench.cycle(**inputs, **layer)
        row = self.issued[1]
        total = None if row is None else self.psums[row] + self.addend
        saturates = total is not None and total != clipped(total)
        spikes = [not layer["psums"] and u >= layer["threshold"] for u in self.values]
        expected = {"value": self.values[read], "spike": spikes[read]}
        expected |= {"saturated": self.saturated[read], "saturates": saturates}
        bench.check(out, expected)
        bench.cover("a psum saturates", saturates)
        bench.cover("the row of the issue before", issue is not None and issue == self.issued[0])
        bench.cover("a neuron fires", spikes[read])
        bench.cover("a saturated membrane is read", self.saturated[read])
        if row is not None and total is not None:
            self.psums[row] = clipped(total)
        self.issued, self.addend = [issue, self.issued[0]], given
        if steps:
            self._step()
        if ends:
            self._end(spikes, carries)

    def _step(self) -> None:
        for row in self.rows:
            total = self.values[row] + self.psums[row] + self.layer["bias"]
            over = not self.layer["psums"] and total != clipped(total)
            self.values[row] = total if self.layer["psums"] else clipped(total)
            self.saturated[row] |= over
            self.psums[row] = 0
            self.bench.cover("a step saturates", over)
            self.bench.cover("a sum has 25 bits", abs(self.values[row]) > 1 << 23)

    def _end(self, spikes: list[bool], carries: bool) -> None:
        layer = self.layer
        for row, fires in enumerate(spikes):
            u = 0 if fires and layer["hard"] else self.values[row]
            total = (u * layer["leak"] >> 12) - (layer["reset"] if fires else 0)
            self.values[row] = clipped(total) if carries else 0
            self.saturated[row] = carries and total != clipped(total)
            self.bench.cover("what is left saturates", carries and total != clipped(total))
            self.bench.cover("a hard reset", carries and fires and layer["hard"])
            self.bench.cover(
                "a negative membrane leaks", carries and u < 0 and layer["leak"] < 4096
            )
        self.bench.cover("membranes are cleared", not carries)

    async def round(self, issues: int, *, carries: bool, extreme: int = 0) -> None:
        """Weights, a step, reads, and what is left."""
        random = self.bench.random
        for _ in range(issues):
            issue = random.choice(self.rows) if self.bench.chance(0.8) else None
            await self.cycle(issue, addend=extreme or None)
        for _ in range(3):
            await self.cycle(addend=extreme or None)
        await self.cycle(steps=True)
        for _ in range(random.randrange(12)):
            await self.cycle()
        await self.cycle(ends=True, carries=carries)


@test
async def latency(bench: Bench) -> None:
    """A weight that issues in g is in the psum from g + 3 on; what steps in c shows in c + 1."""
    still = {"threshold": 100, "leak": 2048, "hard": 1, "read": 1, "bias": 5}
    for late in (2, 3):
        await bench.cycle(issue=1, row=1, **still)
        await bench.cycle(issue=0, addend=200)
        for _ in range(late - 2):
            await bench.cycle(addend=0)
        out = await bench.cycle(steps=late > 2)
        bench.check(out, {"value": 0, "spike": 0})
        bench.check(await bench.cycle(steps=0), {"value": 205 * (late > 2), "spike": late > 2})
        await bench.reset()
    bench.check(await bench.cycle(), {"value": 0})


@test
async def extremes(bench: Bench) -> None:
    """A sum of psum and bias that has a bit more than a membrane, and a reset's amount that takes a
    membrane over both ends.
    """
    model = Model(bench)
    plain = {"threshold": 1, "leak": 4096, "hard": 0, "reset": 0, "psums": 0}
    for bias, weight in ((HIGH, 0x7FFF), (LOW, -0x8000)):
        model.layer = plain | {"bias": bias, "psums": 1}
        await model.round(40, carries=False, extreme=weight)
    for amount in (LOW, HIGH):
        model.layer = plain | {"bias": HIGH if amount == LOW else 1, "reset": amount}
        for carries in (True, True, False):
            await model.round(20, carries=carries)


@test
async def random_rounds(bench: Bench) -> None:
    model, random = Model(bench), bench.random
    done = 0
    while done < bench.transactions // 2:
        model.choose()
        groups = random.choice((1, 1, 2, 4))
        extreme = random.choice((0, 0, 0x7FFF, -0x8000))
        for group in range(groups):
            issues = random.choice((3, 30, 1200 if extreme and bench.chance(0.3) else 60))
            carries = group < groups - 1 and not model.layer["psums"]
            await model.round(issues, carries=carries, extreme=extreme)
            done += issues


@test
async def reset(bench: Bench) -> None:
    """A reset clears psums, membranes and flags."""
    for _ in range(4):
        model = Model(bench)
        model.choose()
        await model.round(30, carries=True)
        await bench.reset()
        fresh = Model(bench)
        fresh.layer = model.layer
        await fresh.cycle(steps=True)
        for _ in range(8):
            await fresh.cycle()
        await fresh.cycle(ends=True)
        await bench.reset()
