"""Bench of Neurons: four weights a cycle, steps, and every neuron's mask, logit and flags."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from evenspike_core.arch import IMPLIED, WEIGHTS, Arch
from evenspike_hw.rtl.pe.neurons import Neurons
from tests.helpers.driver import Bench, test

component = Neurons
ARCH = Arch(pes=4, accumulators=64, gates=WEIGHTS, lif_parallel=1, **IMPLIED)
VARIANTS = {"256-rows": replace(ARCH, accumulators=256)}
LOW, HIGH = -(1 << 23), (1 << 23) - 1
WAYS = 4
NEVER, PSUM, COUNT, MEMBRANE = range(4)


def bank(row: int, log_width: int, rows: int) -> int:
    """Bits 1:0 of the number of a row, and the two from the tile's width on, from bit 2 on at least
    and with the topmost two at most.
    """
    width = min(max(1 << log_width, 4), rows // 4)
    return row % 4 + 4 * (row // width % 4)


def clipped(value: int) -> int:
    return max(LOW, min(HIGH, value))


class Model:
    """Psums, membranes and flags of all rows, and the neuron that was read in the cycle before."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.rows = range(bench.arch.accumulators)
        self.psums, self.values = [0] * len(self.rows), [0] * len(self.rows)
        self.saturated = [False] * len(self.rows)
        self.issued: list[dict[int, int]] = [{}, {}]
        self.addends = [0] * WAYS
        self.flags = [False, False]
        self.read: tuple[int, bool, bool] | None = None
        self.log_width, self.bias = 0, 0
        self.layer: dict[str, int] = {}

    def choose(self) -> None:
        bench, random = self.bench, self.bench.random
        self.log_width = random.randrange(len(self.rows).bit_length())
        self.layer = {
            "threshold": random.choice((1, 5000, bench.bits(23) or 1)),
            "leak": random.choice((0, 4096, 3072, random.randrange(4097))),
            "hard": random.getrandbits(1),
            "reset": random.choice((0, 4000, -4000, bench.bits(24) - (1 << 23))),
            "readout": random.randrange(4),
        }

    async def cycle(
        self,
        issues: dict[int, int] | None = None,
        *,
        steps: bool = False,
        ends: bool = False,
        carries: bool = False,
        read: int | None = None,
        addends: list[int] | None = None,
        bias: tuple[int, int] | None = None,
    ) -> None:
        """bias: 0 or 1 for its low or high half, and the unit."""
        bench, random = self.bench, self.bench.random
        issues = issues or {}
        given = addends or [bench.bits(16) - (1 << 15) for _ in range(WAYS)]
        clear = bench.chance(0.1)
        half, unit = (None, bench.bits(16)) if bias is None else bias
        inputs: dict[str, Any] = {
            "issue": [
                {"enable": way in issues, "row": issues.get(way, random.choice(self.rows))}
                for way in range(WAYS)
            ],
            "read": {
                "enable": read is not None,
                "row": random.choice(self.rows) if read is None else read,
            },
        }
        out = await bench.cycle(
            **inputs,
            **self.layer,
            log_tile_width=self.log_width,
            addends=given,
            steps=steps,
            ends=ends,
            carries=carries,
            bias_unit=unit,
            bias_low=half == 0,
            bias_high=half == 1,
            clear_overflow=clear,
        )
        expected: dict[str, Any] = {
            "accumulator_overflow": self.flags[0],
            "membrane_overflow": self.flags[1],
        }
        if self.read is not None:
            value, spike, _ = self.read
            readout = self.layer["readout"]
            left = 0 if spike and self.layer["hard"] else value
            expected |= {"mask": spike, "logit": spike if readout == COUNT else left}
            bench.cover("a spike", spike)
            bench.cover("a count", spike and readout == COUNT)
            bench.cover("a sum of psums", value and readout == PSUM)
            bench.cover("a membrane", left and readout == MEMBRANE)
        bench.check(out, expected)
        self._flags(clear)
        self._change(issues, given, steps=steps, ends=ends, carries=carries, read=read)

    def _flags(self, clear: bool) -> None:
        saturates = [False, self.read is not None and self.read[2]]
        for way, row in self.issued[1].items():
            total = self.psums[row] + self.addends[way]
            self.psums[row] = clipped(total)
            saturates[0] |= self.psums[row] != total
        self.bench.cover("a psum saturates", saturates[0])
        self.bench.cover("a saturated membrane is read", saturates[1])
        self.bench.cover("saturates in the cycle of a clear", clear and any(saturates))
        self.flags = [
            new or (old and not clear) for new, old in zip(saturates, self.flags, strict=True)
        ]

    def _change(
        self,
        issues: dict[int, int],
        given: list[int],
        *,
        steps: bool,
        ends: bool,
        carries: bool,
        read: int | None,
    ) -> None:
        layer, psums = self.layer, self.layer["readout"] == PSUM
        fires = [not psums and u >= layer["threshold"] for u in self.values]
        self.read = None
        if read is not None:
            self.read = self.values[read], fires[read], self.saturated[read]
        self.issued, self.addends = [dict(issues), self.issued[0]], given
        self.bench.cover("four weights", len(issues) == WAYS)
        for row in self.rows if steps else ():
            total = self.values[row] + self.psums[row] + self.bias
            self.saturated[row] |= not psums and total != clipped(total)
            self.values[row] = total if psums else clipped(total)
            self.psums[row] = 0
        for row in self.rows if ends else ():
            u = 0 if fires[row] and layer["hard"] else self.values[row]
            total = (u * layer["leak"] >> 12) - (layer["reset"] if fires[row] else 0)
            self.values[row] = clipped(total) if carries else 0
            self.saturated[row] = carries and total != clipped(total)

    async def round(self, issues: int, *, carries: bool, extreme: int) -> None:
        bench, random = self.bench, self.bench.random
        addends = [extreme] * WAYS if extreme else None
        few = random.sample(self.rows, 3)
        for _ in range(issues):
            given: dict[int, int] = {}
            taken: set[int] = set()
            for way in range(WAYS):
                row = random.choice(few if extreme else self.rows)
                at = bank(row, self.log_width, len(self.rows))
                if at not in taken and bench.chance(0.8):
                    given[way] = row
                    taken.add(at)
            await self.cycle(given, addends=addends)
        for _ in range(3):
            await self.cycle(addends=addends)
        bias = random.choice((0, 99, -99, bench.bits(24) - (1 << 23)))
        for half in (0, 1):
            await self.cycle(bias=(half, bias >> 12 * half & 0xFFF | bench.bits(4) << 12))
        self.bias = bias
        await self.cycle(steps=True)
        rows = random.sample(self.rows, random.choice((1, 5, len(self.rows))))
        for row in [*rows, *few]:
            await self.cycle(read=row)
        await self.cycle(read=few[0], ends=True, carries=carries)
        await self.cycle()


@test
async def random_rounds(bench: Bench) -> None:
    model, random = Model(bench), bench.random
    done = 0
    while done < bench.transactions // 8:
        model.choose()
        groups = random.choice((1, 2, 4))
        extreme = random.choice((0, 0, 0x7FFF, -0x8000))
        for group in range(groups):
            issues = random.choice((3, 30, 900 if extreme else 60))
            carries = group < groups - 1 and model.layer["readout"] != PSUM
            await model.round(issues, carries=carries, extreme=extreme)
            done += min(issues, 30)


@test
async def reset(bench: Bench) -> None:
    """A reset clears psums, membranes and flags."""
    for _ in range(3):
        model = Model(bench)
        model.choose()
        await model.round(20, carries=True, extreme=0x7FFF)
        await bench.reset()
        fresh = Model(bench)
        fresh.layer, fresh.log_width = model.layer, model.log_width
        await fresh.round(0, carries=False, extreme=0)
        await bench.reset()
