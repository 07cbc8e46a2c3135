"""Bench of Bank: rows, sums and saturation in every cycle against a model."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.pe.bank import Bank
from tests.helpers.driver import Bench, test
from tests.helpers.psums import HIGH, LOW, Psums, Read

ARCH = Arch(pes=4, accumulators=16, issue=1)
VARIANTS = {"one-psum": Arch(pes=4, accumulators=4, issue=2)}


def component(arch: Arch) -> Bank:
    """A bank of whole rows, or one of several, which has a psum of each."""
    return Bank(arch, psums(arch))


def psums(arch: Arch) -> int:
    return 1 if arch.issue > 1 else arch.timesteps


def CORNERS(arch: Arch) -> Iterator[str]:  # noqa: N802  (as where it is a constant)
    if psums(arch) > 1:
        yield "a single psum saturates"


class Model:
    """The rows, and what the outputs show. A read is an "issue", a "drain", or one that "keep"s."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.rows = range(bench.arch.accumulators)
        self.psums = Psums(len(self.rows), psums(bench.arch))
        self.sums: list[int] | None = None  # of a drain; None: not known
        self.last: list[tuple[str, int]] = [("", -1)] * 3  # what was read in the last cycles
        self.earlier: tuple[str, int] = ("", -1)  # and what was in the cycle before those
        self.saturated: set[int] = set()  # rows whose last addition did

    def may(self, kind: str, row: int) -> bool:
        if kind == "issue":
            return self.psums.may_issue(0, row)
        return not kind or self.psums.may_drain(row)

    async def cycle(
        self,
        kind: str = "",
        row: int = 0,
        addends: list[int] | None = None,
        carry: tuple[int, int] | None = None,
    ) -> None:
        """kind: what is read, if anything. addends: for the issue of the cycle before. carry: a row
        and what it gets.
        """
        bench = self.bench
        if addends is None:
            addends = [bench.bits(16) - (1 << 15) for _ in range(self.psums.psums)]
        out = await bench.cycle(**self._inputs(kind, row, carry), addends=addends)
        additions = self.psums.additions()
        expected: dict[str, Any] = {"saturates": any(sum_.saturates for sum_ in additions)}
        if self.sums is not None:
            expected["sums"] = self.sums
        bench.check(out, expected)
        self._totals()
        self._corners(kind, row, carry)
        for sum_ in additions:
            self.saturated.discard(sum_.row)
        self.saturated |= {sum_.row for sum_ in additions if sum_.saturates}
        issue = row if kind == "issue" else None
        drain = Read(row, kind == "keep") if kind in {"drain", "keep"} else None
        found = self.psums.step([issue], [addends], drain, carry)
        if kind:
            self.sums = found
        self.last = [(kind, row), *self.last[:2]]

    def _inputs(self, kind: str, row: int, carry: tuple[int, int] | None) -> dict[str, Any]:
        bench = self.bench
        noise = [bench.random.choice(self.rows) for _ in range(3)]  # without their enable
        issues, drains = kind == "issue", kind in {"drain", "keep"}
        value = bench.bits(24) - (1 << 23) if carry is None else carry[1]
        keeps = kind == "keep" if drains else bench.random.getrandbits(1)
        return {
            "issue": {"enable": issues, "row": row if issues else noise[0]},
            "drain": {"enable": drains, "keep": keeps, "row": row if drains else noise[1]},
            "carry": {
                "enable": carry is not None,
                "row": noise[2] if carry is None else carry[0],
                "value": value,
            },
        }

    def _totals(self) -> None:
        cover, found = self.bench.cover, self.psums.additions()
        totals = [sum_.total for sum_ in found]
        cover("largest sum without saturation", HIGH in totals)
        cover("most negative sum without saturation", LOW in totals)
        cover("saturates high", any(total > HIGH for total in totals))
        cover("saturates low", any(total < LOW for total in totals))
        if self.psums.psums > 1:
            self._several("a single psum saturates", sum(s.saturates for s in found) == 1)
        row = self.last[1][1]
        saturated = bool(found) and row in self.saturated
        cover(
            "adds to a saturated sum of the issue before",
            saturated and self.last[2] == self.last[1],
        )
        cover(
            "adds to a saturated sum of two issues before",
            saturated and self.earlier == ("issue", row) and self.last[2] != self.last[1],
        )
        self.earlier = self.last[2]

    def _several(self, corner: str, met: object) -> None:
        """A corner of CORNERS, where there are several psums."""
        self.bench.cover(corner, met)

    def _corners(self, kind: str, row: int, carry: tuple[int, int] | None) -> None:
        cover = self.bench.cover
        (one, _), _, (three, third) = self.last
        mine = ("issue", row)
        carried = self.psums.carried
        cover("sums stay without a read", not kind and self.sums is not None)
        if kind == "issue":
            cover("issue to a row in the cycle behind its carry", row == carried)
            cover("same row in the next cycle", self.last[0] == mine != self.last[1])
            cover("same row three times on end", self.last[0] == mine == self.last[1])
            other = self.last[0] != mine
            cover(
                "same row two cycles behind, another between",
                self.last[1] == mine and one and other,
            )
            cover("same row two cycles behind, none between", self.last[1] == mine and not one)
            cover(
                "same row three cycles behind",
                other and self.last[1] != mine and self.last[2] == mine,
            )
            cover("another row in the next cycle", one == "issue" and other)
            cover("issue two cycles behind a drain of the row", self.last[1] == ("drain", row))
            cover("issue behind a drain of another row", one == "drain")
        elif kind:
            cover("drain behind a drain", one == kind == "drain")
            cover("drain that keeps its row behind such", one == kind == "keep")
            cover("drain three cycles behind an issue to the row", (three, third) == mine)
            cover(
                "drain of a row in the cycle behind its carry", kind == "drain" and row == carried
            )
        if carry is not None:
            cover("carry in the cycle of an issue to another row", kind == "issue")
            cover("carry in the cycle of a drain that keeps its row", kind == "keep")
            cover("carry behind a drain that keeps its row", one == "keep")
            cover("carry three cycles behind an issue", three == "issue")
            cover("carry to a row with psums", any(self.psums.rows[carry[0]]))
            cover("carry below 0", carry[1] < 0)

    async def settle(self) -> None:
        for _ in range(4):
            await self.cycle()

    async def drain_all(self) -> None:
        await self.settle()
        for row in self.rows:
            await self.cycle("drain", row)
        await self.settle()


async def model(bench: Bench) -> Model:
    """After a first read: until then `sums` is undefined, and no bench can read it. Of what the
    tests before have left every row is cleared.
    """
    await bench.reset(drain=1)
    for row in range(bench.arch.accumulators):
        await bench.cycle(issue=0, carry=0, drain={"enable": 1, "row": row})
    await bench.cycle(drain=0)
    return Model(bench)


@test
async def first_use(bench: Bench) -> None:
    """Before anything was written every row is zero."""
    await bench.reset(drain=1)
    made = Model(bench)
    await made.drain_all()
    for row in made.rows:
        await made.cycle("issue", row)
    await made.drain_all()


@test
async def latency(bench: Bench) -> None:
    """Issued in g, a sum is there for an issue in g + 1, and for a drain in g + 3; a row that is
    drained in d is cleared for one in d + 2.
    """
    made = await model(bench)
    count = made.psums.psums
    issue, drain = {"enable": 1, "row": 2}, {"enable": 1, "row": 2}
    keep = drain | {"keep": 1}
    await bench.cycle(issue=issue, drain=0, carry=0)
    await bench.cycle(issue=issue, addends=[3] * count)
    await bench.cycle(issue={"enable": 1, "row": 1}, addends=[-5] * count)
    await bench.cycle(issue=issue, addends=[0x100] * count)
    await bench.cycle(issue=0, addends=[-9] * count)
    await bench.cycle(addends=[0x7FFF] * count)
    await bench.cycle(drain=drain)
    bench.check(await bench.cycle(drain=0), {"sums": [-11] * count, "saturates": 0})
    await bench.cycle(drain=keep)
    bench.check(await bench.cycle(drain=0), {"sums": [0] * count})
    # A row that is kept stays until it is carried to, which counts from the next cycle on.
    await bench.cycle(issue=issue)
    await bench.cycle(issue=0, addends=[7] * count)
    await bench.cycle()
    for _ in range(2):
        await bench.cycle(drain=keep)
        bench.check(await bench.cycle(drain=0), {"sums": [7] * count})
    await bench.cycle(carry={"enable": 1, "row": 2, "value": -9})
    await bench.cycle(carry=0, drain=drain)
    bench.check(await bench.cycle(drain=0), {"sums": [-9] + [0] * (count - 1)})
    await bench.cycle(drain=drain)
    bench.check(await bench.cycle(drain=0), {"sums": [0] * count})
    # A saturation shows two cycles behind its issue.
    for number in range(-(-(HIGH + 1) // 0x7FFF) + 4):
        out = await bench.cycle(issue={"enable": 1, "row": 3}, addends=[0x7FFF] * count)
        bench.check(out, {"saturates": max(0, number - 1) * 0x7FFF > HIGH})


@test
async def extremes(bench: Bench) -> None:
    """Each psum alone runs into each limit, to the last unit, and is caught there."""
    made = await model(bench)
    count = made.psums.psums
    for number in range(count):
        for limit, step in ((HIGH, 0x7FFF), (LOW, -0x8000)):
            # The same row in every cycle, or with another between.
            for apart in (False, True):
                row, other = bench.random.sample(made.rows, 2)
                times, rest = divmod(abs(limit), abs(step))
                values = [step] * times + [rest if limit > 0 else -rest]
                values += [1, -1, 1, 0] if limit > 0 else [-1, 1, -1, 0]
                await made.cycle("issue", row)
                for value in values[:-1]:
                    addends = [value if n == number else 0 for n in range(count)]
                    if apart:
                        await made.cycle("issue", other, addends)
                        addends = [0] * count
                    await made.cycle("issue", row, addends)
                await made.cycle(addends=[0] * count)
                await made.settle()
                await made.cycle("drain", row)
                await made.settle()
    await made.drain_all()


@test
async def carries(bench: Bench) -> None:
    """What is read in the cycles before a carry and behind it, of its row and of another."""
    made = await model(bench)
    for before in ("", "keep"):
        for during in ("", "issue", "drain", "keep"):
            for after in ("", "issue", "drain", "keep"):
                to, other = bench.random.sample(made.rows, 2)
                for row in made.rows:
                    await made.cycle("issue", row)
                await made.settle()
                await made.cycle(before, to)
                await made.cycle(during, other, carry=(to, bench.bits(24) - (1 << 23)))
                if made.may(after, to):
                    await made.cycle(after, to)
                await made.settle()
                await made.cycle("drain", to)
                await made.settle()
    await made.drain_all()


@test
async def gaps(bench: Bench) -> None:
    """Every two reads of a row, or of two rows, at every distance at which they meet."""
    made = await model(bench)
    kinds = ("issue", "drain", "keep")
    for first, between, second in product(kinds, ("", "issue"), kinds):
        for gap in range(5):
            row, other, third = bench.random.sample(made.rows, 3)
            for at in (row, other):
                await made.cycle(first, row)
                for _ in range(gap):
                    await made.cycle(between if made.may(between, third) else "", third)
                if made.may(second, at):
                    await made.cycle(second, at)
                await made.settle()
                await made.cycle("issue", at)
                await made.cycle()
                await made.cycle()
                await made.cycle(carry=(at, bench.bits(24) - (1 << 23)))
    await made.drain_all()


@test
async def random_traffic(bench: Bench) -> None:
    """Bursts to few or all rows, with addends of one kind for each psum, and some drains."""
    made, random = await model(bench), bench.random
    done = 0
    while done < bench.transactions:
        rows = random.sample(made.rows, random.choice((1, 2, 3, len(made.rows))))
        kinds = [random.choice(KINDS) for _ in range(made.psums.psums)]
        rate = random.choice((0.1, 0.3, 0.8, 1.0))
        drains = random.choice((0.0, 0.1, 0.5, 1.0))
        keeps, carries = random.choice((0.0, 0.5, 1.0)), random.choice((0.0, 0.3, 1.0))
        for _ in range(random.randrange(5, 700)):
            kind = "" if not bench.chance(rate) else "drain" if bench.chance(drains) else "issue"
            if kind == "drain" and bench.chance(keeps):
                kind = "keep"
            row, carry = random.choice(rows), None
            if not made.may(kind, row):
                kind = ""
            if bench.chance(carries):
                carry = random.choice(rows), bench.bits(24) - (1 << 23)
                if not made.psums.may_carry(carry[0], [row] if kind else []):
                    carry = None
            await made.cycle(kind, row, [addend(bench, style) for style in kinds], carry)
            done += kind != ""
    await made.drain_all()


KINDS = ("high", "low", "any", "any", "small")


def addend(bench: Bench, style: str) -> int:
    if style in {"high", "low"}:
        return 0x7FFF if style == "high" else -0x8000
    value = bench.bits(16) - (1 << 15)
    return value >> 12 if style == "small" else value


@test
async def reset(bench: Bench) -> None:
    """What has issued before a reset, or stands through it, does not add."""
    made = await model(bench)
    count = made.psums.psums
    for delay in (0, 1, 2):
        for _ in range(10):
            await made.cycle("issue", 1, [bench.bits(14)] * count)
        await made.settle()
        before = made.psums.rows[1]
        await bench.cycle(issue={"enable": 1, "row": 1}, drain=0, carry=0, addends=[0] * count)
        for _ in range(delay):
            await bench.cycle(issue=0, addends=[-2] * count)
        await bench.reset(5)
        bench.cover("reset while a row is read for an issue", delay == 0)
        # The first cycle of the reset still writes.
        made = Model(bench)
        made.psums.rows[1] = [value - 2 for value in before] if delay else before
        await made.settle()
        await made.drain_all()
