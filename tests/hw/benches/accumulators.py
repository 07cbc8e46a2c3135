"""Bench of Accumulators: rows, sums and overflow in every cycle against a model."""

from __future__ import annotations

from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.pe.accumulators import Accumulators
from tests.helpers.driver import Bench, test

component = Accumulators
ARCH = Arch(pes=4, accumulators=16)
VARIANTS = {"one-timestep": Arch(pes=4, accumulators=4, timesteps=1)}
LOW, HIGH = -(1 << 23), (1 << 23) - 1


class Model:
    """What is in the rows; what was read in the cycle before is written in this one.

    A read is an "issue", a "drain", or a drain that keeps the row: "keep".
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.zero = [0] * bench.arch.timesteps
        self.rows = [self.zero] * bench.arch.accumulators
        self.last: list[tuple[str, int]] = [("", -1)] * 3  # what was read in the last cycles
        self.sums: list[int] | None = None  # what the RAM shows; None: not known
        self.overflow = 0
        self.saturated = False
        self.carried = -1  # the row that was carried to in the cycle before
        self.row_bits = (bench.arch.accumulators - 1).bit_length()

    def may(self, kind: str, row: int) -> bool:
        """Whether the docstring allows it after the cycle before."""
        before, busy = self.last[0]
        return row != busy or (kind == "issue" and before == "issue")

    async def cycle(
        self,
        kind: str = "",
        row: int = 0,
        addends: list[int] | None = None,
        clear: bool = False,
        carry: tuple[int, int] | None = None,
    ) -> None:
        """kind: what is read, if anything. addends: for the issue of the cycle before. carry: a row
        and what it gets.
        """
        bench = self.bench
        bits, drains = bench.bits, kind in {"drain", "keep"}
        if addends is None:
            addends = [bits(16) for _ in self.zero]
            addends = [value - (value >> 15 << 16) for value in addends]
        out = await bench.cycle(
            issue={"enable": kind == "issue", "row": row if kind == "issue" else 0},
            drain={
                "enable": drains,
                "keep": kind == "keep" if drains else bench.random.getrandbits(1),
                "row": row if drains else 0,
            },
            carry={
                "enable": carry is not None,
                "row": bits(self.row_bits) if carry is None else carry[0],
                "value": bits(24) - (1 << 23) if carry is None else carry[1],
            },
            addends=addends,
            clear_overflow=clear,
        )
        expected: dict[str, Any] = {"overflow": self.overflow}
        if self.sums is not None:
            expected["sums"] = self.sums
        bench.check(out, expected)
        self._corners(kind, row, clear)
        self._step(kind, row, addends, clear)
        if carry is not None:
            self._carry(*carry)

    def may_carry(self, to: int, kind: str, row: int) -> bool:
        """Whether a row may be carried to in the cycle of such a read."""
        return self.last[0][0] in {"", "keep"} and not (kind and row == to)

    def _carry(self, row: int, value: int) -> None:
        cover, rows = self.bench.cover, self.rows
        reads, read = self.last[0]
        cover("carry in the cycle of an issue to another row", reads == "issue" and read != row)
        cover("carry in the cycle of a drain that keeps its row", reads == "keep")
        cover("carry to a row with psums", any(rows[row]))
        cover("carry below 0", value < 0)
        self.rows = [*rows[:row], [value, *self.zero[1:]], *rows[row + 1 :]]
        self.carried = row

    def _step(self, kind: str, row: int, addends: list[int], clear: bool) -> None:
        before, busy = self.last[0]
        over = False
        written = list(self.rows)
        if before == "issue":
            total = [a + b for a, b in zip(self.rows[busy], addends, strict=True)]
            clipped = [max(LOW, min(HIGH, value)) for value in total]
            over = clipped != total
            self._totals(busy, total, clipped)
            written[busy] = clipped
        elif before == "drain":
            written[busy] = self.zero
        if kind:
            self.sums = self.rows[row]  # as they were before this cycle's write
        self.overflow = 1 if over else 0 if clear else self.overflow
        self.bench.cover("saturates in the cycle of the clear", over and clear)
        self.saturated = over
        self.rows = written
        self.last = [(kind, row), *self.last[:2]]
        self.carried = -1

    def _totals(self, row: int, total: list[int], clipped: list[int]) -> None:
        cover = self.bench.cover
        cover("largest sum without saturation", HIGH in total)
        cover("most negative sum without saturation", LOW in total)
        cover("saturates high", max(total) > HIGH)
        cover("saturates low", min(total) < LOW)
        cover(
            "a single timestep saturates",
            sum(a != b for a, b in zip(total, clipped, strict=True)) == 1,
        )
        cover("forwards a saturated sum", self.saturated and self.last[1] == ("issue", row))

    def _corners(self, kind: str, row: int, clear: bool) -> None:
        cover = self.bench.cover
        (one, first), (two, second) = self.last[:2]
        cover("clears the overflow", clear and self.overflow)
        if not kind:
            cover("sums stay without a read", self.sums is not None)
        elif kind == "issue":
            cover("issue to a row in the cycle behind its carry", row == self.carried)
            if (one, first) == (kind, row):
                cover("same row in the next cycle")
                cover("same row three times on end", (two, second) == (kind, row))
            elif one == kind:
                cover("another row in the next cycle")
            if second == row and first != row and two != "keep":
                cover(
                    "same row in the cycle after the next"
                    if two == kind
                    else "issue two cycles behind a drain of the row"
                )
        elif one == kind == "drain":
            cover("drain behind a drain")
        elif one == kind:
            cover("drain that keeps its row behind such")
        elif one == "issue":
            cover("drain behind an issue to another row")
        cover(
            "drain of a row in the cycle behind its carry", kind == "drain" and row == self.carried
        )
        cover(
            "drain two cycles behind an issue to the row",
            kind == "drain" and (two, second) == ("issue", row),
        )

    async def settle(self) -> None:
        for _ in range(3):
            await self.cycle()

    async def drain_all(self) -> None:
        await self.settle()
        for row in range(len(self.rows)):
            await self.cycle("drain", row)
        await self.settle()


async def model(bench: Bench) -> Model:
    """After a first read: until then `sums` is undefined, and no bench can read it."""
    await bench.reset(drain=1)
    return Model(bench)


@test
async def first_use(bench: Bench) -> None:
    """Before anything was written every row is zero, and the overflow is off."""
    made = await model(bench)
    await made.drain_all()
    for row in range(len(made.rows)):
        await made.cycle("issue", row)
    await made.drain_all()


@test
async def latency(bench: Bench) -> None:
    """Issued in g, the sum is there for an issue in g + 1, a drain in g + 2; cleared in d + 1."""
    made = await model(bench)
    times = bench.arch.timesteps
    await made.drain_all()
    await bench.cycle(issue={"enable": 1, "row": 2}, drain=0)
    await bench.cycle(issue={"enable": 1, "row": 2}, drain=0, addends=[3] * times)
    await bench.cycle(issue=0, addends=[-5] * times)
    await bench.cycle(drain={"enable": 1, "row": 2}, addends=[100] * times)
    bench.check(await bench.cycle(drain=0), {"sums": [-2] * times, "overflow": 0})
    await bench.cycle(drain={"enable": 1, "keep": 1, "row": 2})
    bench.check(await bench.cycle(drain=0), {"sums": [0] * times})
    # A row that is kept stays until it is carried to, which counts from the next cycle on.
    await bench.cycle(issue={"enable": 1, "row": 2})
    await bench.cycle(issue=0, addends=[7] * times)
    for _ in range(2):
        await bench.cycle(drain={"enable": 1, "keep": 1, "row": 2})
        bench.check(await bench.cycle(drain=0), {"sums": [7] * times})
    await bench.cycle(carry={"enable": 1, "row": 2, "value": -9})
    await bench.cycle(carry=0, drain={"enable": 1, "row": 2})
    bench.check(await bench.cycle(drain=0), {"sums": [-9] + [0] * (times - 1)})
    await bench.cycle(drain={"enable": 1, "row": 2})
    bench.check(await bench.cycle(drain=0), {"sums": [0] * times})
    # The overflow shows two cycles behind the issue whose addition saturates.
    count = -(-(HIGH + 1) // 0x7FFF)
    for _ in range(count + 1):
        out = await bench.cycle(issue={"enable": 1, "row": 1}, addends=[0x7FFF] * times)
        bench.check(out, {"overflow": 0})
    bench.check(await bench.cycle(issue=0), {"overflow": 1})
    bench.check(await bench.cycle(clear_overflow=1), {"overflow": 1})
    bench.check(await bench.cycle(clear_overflow=0), {"overflow": 0})
    await bench.cycle(drain={"enable": 1, "row": 1})
    bench.check(await bench.cycle(drain=0), {"sums": [HIGH] * times})


@test
async def extremes(bench: Bench) -> None:
    """Each timestep alone runs into each limit, to the last unit, and is caught there."""
    made = await model(bench)
    times = bench.arch.timesteps
    await made.drain_all()
    for time in range(times):
        for limit, step in ((HIGH, 0x7FFF), (LOW, -0x8000)):
            row = bench.random.randrange(len(made.rows))
            count, rest = divmod(abs(limit), abs(step))
            values = [step] * count + [rest if limit > 0 else -rest]
            values += [1, -1, 1, 0] if limit > 0 else [-1, 1, -1, 0]
            await made.cycle("issue", row)
            for value in values[:-1]:
                addends = [value if t == time else 0 for t in range(times)]
                await made.cycle("issue", row, addends, clear=bench.chance(0.5))
            await made.cycle(addends=[0] * times)
            await made.cycle("drain", row, clear=True)
            await made.settle()
    await made.drain_all()


@test
async def carries(bench: Bench) -> None:
    """What is read in the cycles before a carry and behind it, of its row and of another."""
    made = await model(bench)
    rows = range(len(made.rows))
    await made.drain_all()
    for before in ("", "keep"):
        for during in ("", "issue", "drain", "keep"):
            for after in ("issue", "drain", "keep"):
                to, other = bench.random.sample(rows, 2)
                for row in rows:
                    await made.cycle("issue", row)
                await made.settle()
                await made.cycle(before, to)
                await made.cycle(during, other, carry=(to, bench.bits(24) - (1 << 23)))
                await made.cycle(after, to)
                await made.settle()
                await made.cycle("drain", to)
                await made.settle()
    await made.drain_all()


@test
async def random_traffic(bench: Bench) -> None:
    """Bursts to few or all rows, with addends of one kind for each timestep, and some drains."""
    made = await model(bench)
    random = bench.random
    await made.drain_all()
    done = 0
    while done < bench.transactions:
        rows = random.sample(range(len(made.rows)), random.choice((1, 2, 3, len(made.rows))))
        kinds = [random.choice(("high", "low", "any", "any", "small")) for _ in made.zero]
        rate = random.choice((0.3, 0.8, 1.0))
        drains = random.choice((0.0, 0.02, 0.3))
        keeps, carries = random.choice((0.0, 0.5, 1.0)), random.choice((0.0, 0.3, 1.0))
        for _ in range(random.randrange(5, 700)):
            kind = "" if not bench.chance(rate) else "drain" if bench.chance(drains) else "issue"
            if kind == "drain" and bench.chance(keeps):
                kind = "keep"
            row, carry = random.choice(rows), None
            if kind and not made.may(kind, row):
                kind = ""
            if bench.chance(carries):
                carry = random.choice(rows), bench.bits(24) - (1 << 23)
                if not made.may_carry(carry[0], kind, row):
                    carry = None
            addends = [_addend(bench, style) for style in kinds]
            await made.cycle(kind, row, addends, clear=bench.chance(0.2), carry=carry)
            done += kind != ""
    await made.drain_all()


def _addend(bench: Bench, style: str) -> int:
    if style == "high":
        return 0x7FFF
    if style == "low":
        return -0x8000
    value = bench.bits(16)
    value -= value >> 15 << 16
    return value >> 12 if style == "small" else value


@test
async def reset(bench: Bench) -> None:
    """A reset takes back the overflow, and an issue that stands through it does not add."""
    made = await model(bench)
    times = bench.arch.timesteps
    await made.drain_all()
    for _ in range(2):
        for _ in range(300):
            await made.cycle("issue", 1, [0x7FFF] * times)
        await made.settle()
        assert made.overflow
        # The first cycle of the reset still completes what was under way.
        await bench.cycle(issue={"enable": 1, "row": 1}, drain=0, addends=[-2] * times)
        await bench.reset(5)
        bench.cover("reset while a row is added to")
        made.sums = made.rows[1] = [value - 2 for value in made.rows[1]]
        made.overflow = 0
        await made.cycle()
        await made.drain_all()
