"""Bench of WindowAccumulators: every psum in its bank, sums and overflow in every cycle.

The reference knows rows and no banks, but for which rows may issue together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from evenspike_core.arch import IMPLIED, WEIGHTS, Arch
from evenspike_hw.rtl.pe.window_accumulators import WindowAccumulators
from tests.helpers.driver import Bench, test

component = WindowAccumulators
ARCH = Arch(pes=4, accumulators=64, gates=WEIGHTS, **IMPLIED)
VARIANTS = {"256-rows": replace(ARCH, accumulators=256)}
LOW, HIGH = -(1 << 23), (1 << 23) - 1
WAYS, BANKS = 4, 16


def bank(row: int, log_width: int, rows: int) -> int:
    """Bits 1:0 of the number of a row, and the two from the tile's width on, from bit 2 on at least
    and with the topmost two at most.
    """
    width = min(max(1 << log_width, 4), rows // 4)
    return row % 4 + 4 * (row // width % 4)


def CORNERS(arch: Arch) -> Iterator[str]:  # noqa: N802  (as where it is a constant)
    for log_width in range(arch.accumulators.bit_length()):
        yield f"tile of 2^{log_width} columns"
        yield f"all banks with 2^{log_width} columns"


class Model:
    """What every row holds when all that has issued is added, and the flag.

    issued: ways and rows of the last two cycles. addends: of the issues of the cycle before the
    last.
    """

    def __init__(self, bench: Bench, log_width: int = 4) -> None:
        self.bench = bench
        self.rows = range(bench.arch.accumulators)
        self.psums = [0] * len(self.rows)
        self.choose(log_width)
        self.overflow = False
        self.sums: int | None = None  # of a drain; None: not known
        self.issued: list[dict[int, int]] = [{}, {}]
        self.addends = [0] * WAYS
        self.drained: list[tuple[int, bool] | None] = [None, None]

    def choose(self, log_width: int) -> None:
        self.log_width, self.used = log_width, set[int]()

    def bank(self, row: int) -> int:
        return bank(row, self.log_width, len(self.rows))

    @property
    def adding(self) -> bool:
        """A weight has issued in one of the two cycles before."""
        return any(self.issued)

    async def cycle(
        self,
        issues: Mapping[int, int] | None = None,
        drain: tuple[int, bool] | None = None,
        carry: tuple[int, int] | None = None,
        *,
        addends: list[int] | None = None,
        clear: bool = False,
    ) -> None:
        """issues: a row for some ways. drain: a row, and whether it is kept. carry: a row and what
        it gets. addends: for each way, of the issues of the cycle before.
        """
        bench, random = self.bench, self.bench.random
        issues = issues or {}
        if addends is None:
            addends = [bench.bits(16) - (1 << 15) for _ in range(WAYS)]
        row, keep = drain or (random.choice(self.rows), bool(random.getrandbits(1)))
        to, value = carry or (random.choice(self.rows), bench.bits(24) - (1 << 23))
        out = await bench.cycle(
            log_tile_width=self.log_width,
            issue=[
                {"enable": way in issues, "row": issues.get(way, random.choice(self.rows))}
                for way in range(WAYS)
            ],
            addends=addends,
            drain={"enable": drain is not None, "keep": keep, "row": row},
            carry={"enable": carry is not None, "row": to, "value": value},
            clear_overflow=clear,
        )
        expected: dict[str, Any] = {"overflow": self.overflow}
        if self.sums is not None:
            expected["sums"] = [self.sums]
        bench.check(out, expected)
        saturates = self._add()
        self._corners(issues, drain, saturates, clear)
        self.overflow = saturates > 0 or (self.overflow and not clear)
        self.issued, self.addends = [dict(issues), self.issued[0]], addends
        # What a bank reads for an issue may be at the output, too.
        self.sums = None if issues else self.sums
        if drain is not None:
            self.sums = self.psums[row]
            if not keep:
                self.psums[row] = 0
        if carry is not None:
            self.psums[to] = value
        self.drained = [drain, self.drained[0]]

    def _add(self) -> int:
        """The sums of this cycle; returns how many saturate."""
        saturates = 0
        for way, row in self.issued[1].items():
            total = self.psums[row] + self.addends[way]
            self.psums[row] = max(LOW, min(HIGH, total))
            saturates += self.psums[row] != total
        return saturates

    def _corners(
        self,
        issues: Mapping[int, int],
        drain: tuple[int, bool] | None,
        saturates: int,
        clear: bool,
    ) -> None:
        cover = self.bench.cover
        before, earlier = (set(rows.values()) for rows in self.issued)
        rows = set(issues.values())
        self.used |= {self.bank(row) for row in rows}
        cover(f"tile of 2^{self.log_width} columns", rows)
        cover(f"all banks with 2^{self.log_width} columns", len(self.used) == BANKS)
        cover("four weights", len(issues) == WAYS)
        cover("a weight alone", len(issues) == 1)
        cover("a row issues again right behind", rows & before)
        cover("a row issues again two cycles behind", rows & earlier - before)
        other = {way: row for way, row in issues.items() if self.issued[0].get(way, row) != row}
        cover("the row issues from another way", set(other.values()) & before)
        cover("a sum alone saturates", saturates == 1 < len(self.issued[1]))
        cover("several sums saturate", saturates > 1)
        cover("saturates in the cycle of the clear", saturates and clear)
        cover("clears the overflow", self.overflow and clear and not saturates)
        cover("a row is kept", drain is not None and drain[1])
        cover("sums stay without a read", self.sums is not None and drain is None)

    def may_issue(self, row: int) -> bool:
        return self.drained[0] is None or self.drained[0][0] != row

    def may_drain(self, row: int) -> bool:
        return not self.adding and self.may_issue(row)

    def may_carry(self, to: int, drain: tuple[int, bool] | None) -> bool:
        last = self.drained[0]
        return not self.adding and (last is None or last[1]) and (drain is None or drain[0] != to)

    async def settle(self) -> None:
        for _ in range(4):
            await self.cycle()

    async def drain_all(self) -> None:
        await self.settle()
        for row in self.rows:
            await self.cycle(drain=(row, False))
        await self.settle()


async def model(bench: Bench) -> Model:
    """All rows cleared, and the sums known."""
    await bench.reset(drain=1)
    for log_width in range(bench.arch.accumulators.bit_length()):
        for row in range(bench.arch.accumulators):
            drain = {"enable": 1, "row": row}
            await bench.cycle(log_tile_width=log_width, issue=0, carry=0, drain=drain)
    await bench.cycle(drain=0)
    return Model(bench)


@test
async def first_use(bench: Bench) -> None:
    """Before anything was written every row is zero, and the overflow is off."""
    await bench.reset(drain=1)
    await Model(bench).drain_all()


@test
async def every_psum(bench: Bench) -> None:
    """With each width, each row gets a number of its own, is kept, carried to and drained."""
    made = await model(bench)
    for log_width in range(len(made.rows).bit_length()):
        made.choose(log_width)
        for row in made.rows:
            way = (row + log_width) % WAYS
            await made.cycle({way: row})
            await made.cycle(addends=[1 + row + (1000 * n if n != way else 0) for n in range(WAYS)])
        await made.settle()
        for row in made.rows:
            await made.cycle(drain=(row, True))
        for row in made.rows:
            await made.cycle(drain=(made.rows[row - 1], True), carry=(row, bench.bits(24) - 2**23))
        await made.drain_all()


@test
async def latency(bench: Bench) -> None:
    """The overflow shows three cycles behind the issue whose addition saturates, and a row that
    was drained in d is there in d + 1.
    """
    await model(bench)
    issue = [{"enable": n == 2, "row": 37} for n in range(WAYS)]
    for number in range(-(-(HIGH + 1) // 0x7FFF) + 3):
        out = await bench.cycle(issue=issue, addends=[1, 1, 0x7FFF, 1], log_tile_width=3)
        bench.check(out, {"overflow": max(0, number - 2) * 0x7FFF > HIGH})
    await bench.cycle(issue=0)
    for _ in range(2):
        bench.check(await bench.cycle(addends=0), {"overflow": 1})
    bench.check(await bench.cycle(clear_overflow=1), {"overflow": 1})
    bench.check(await bench.cycle(clear_overflow=0), {"overflow": 0})
    await bench.cycle(drain={"enable": 1, "row": 37})
    bench.check(await bench.cycle(drain=0), {"sums": [HIGH]})


@test
async def extremes(bench: Bench) -> None:
    """The rows of all ways run into each limit, together and one alone, and set the flag."""
    made = await model(bench)
    for step in (0x7FFF, -0x8000):
        for alone in (None, bench.random.randrange(WAYS)):
            made.choose(bench.random.randrange(5))
            rows = {
                way: 4 * bench.random.randrange(len(made.rows) // 4) + way for way in range(WAYS)
            }
            for _ in range(260):
                addends = [step if alone in (None, way) else 1 for way in range(WAYS)]
                await made.cycle(rows, addends=addends, clear=bench.chance(0.5))
            await made.drain_all()


@test
async def random_traffic(bench: Bench) -> None:
    """One to four ways issue, to few or all rows, with drains and carries between."""
    made, random = await model(bench), bench.random
    done = 0
    while done < bench.transactions // 4:  # each is of up to four weights
        made.choose(random.randrange(len(made.rows).bit_length()))
        rows = random.sample(made.rows, random.choice((2, 5, 20, len(made.rows))))
        rate, busy = random.choice((0.1, 0.5, 1.0)), random.choice((0.3, 0.9, 1.0))
        drains, carries = random.choice((0.0, 0.1, 0.5)), random.choice((0.0, 0.3, 1.0))
        extreme = random.choice((0, 0, 0x7FFF, -0x8000))
        for _ in range(random.randrange(5, 300)):
            issues: dict[int, int] = {}
            drain = carry = None
            row = random.choice(rows)
            if bench.chance(drains):
                drain = (row, bench.chance(0.5)) if made.may_drain(row) else None
            elif bench.chance(rate):
                taken: set[int] = set()
                for way in range(WAYS):
                    wanted = random.choice(rows)
                    free = made.bank(wanted) not in taken and made.may_issue(wanted)
                    if bench.chance(busy) and free:
                        issues[way] = wanted
                        taken.add(made.bank(wanted))
            if bench.chance(carries) and not issues:
                to = random.choice(rows)
                carry = (to, bench.bits(24) - 2**23) if made.may_carry(to, drain) else None
            addends = [extreme] * WAYS if extreme else None
            await made.cycle(issues, drain, carry, addends=addends, clear=bench.chance(0.2))
            done += bool(issues) + (drain is not None)
        await made.drain_all()


@test
async def reset(bench: Bench) -> None:
    """A reset takes back the overflow."""
    made = await model(bench)
    for _ in range(2):
        for _ in range(300):
            await made.cycle({1: 9}, addends=[0x7FFF] * WAYS)
        await made.settle()
        assert made.overflow
        await bench.reset(5)
        made.overflow, made.sums = False, None
        await made.cycle()
    await made.drain_all()
