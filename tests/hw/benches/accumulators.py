"""Bench of Accumulators: every psum in its bank, sums and overflow in every cycle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.pe.accumulators import Accumulators
from tests.helpers.driver import Bench, test
from tests.helpers.psums import HIGH, Psums, Read, skew

component = Accumulators
ARCH = Arch(pes=4, accumulators=16)
VARIANTS = {
    "issue1": replace(ARCH, issue=1),
    "three-timesteps": replace(ARCH, timesteps=3, accumulators=64),  # a bank more than timesteps
    "five-timesteps": replace(ARCH, timesteps=5, accumulators=32),  # digits of three bits in five
    "one-timestep": replace(ARCH, timesteps=1, accumulators=4),
}


def banks(arch: Arch) -> int:
    return 1 << (arch.timesteps - 1).bit_length() if arch.issue > 1 else 1


def CORNERS(arch: Arch) -> Iterator[str]:  # noqa: N802  (as where it is a constant)
    if banks(arch) > 1:
        yield from ("a bank alone saturates", "all banks issue", "banks issue different rows")
        yield from ("a psum of each bank is carried to", "a bank issues alone")
        yield "banks forward from different issues"


class Model:
    """The rows, what the sums show, and the flag."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        arch = bench.arch
        self.rows = range(arch.accumulators)
        self.banks = range(banks(arch))
        self.psums = Psums(len(self.rows), arch.timesteps, len(self.banks))
        self.adders = self.psums.adders
        self.sums: list[int] | None = None  # of a drain; None: not known
        self.overflow = False
        self.carried: set[int] = set()  # banks

    async def cycle(
        self,
        issues: dict[int, int] | None = None,
        drain: Read | None = None,
        carry: tuple[int, int] | None = None,
        *,
        addends: list[list[int]] | None = None,
        clear: bool = False,
    ) -> None:
        """issues: a row for some banks. addends: for each bank, of the issues of the cycle before.
        carry: a row and what it gets.
        """
        bench = self.bench
        rows = [(issues or {}).get(bank) for bank in self.banks]
        if addends is None:
            addends = [[bench.bits(16) - (1 << 15) for _ in range(self.adders)] for _ in self.banks]
        noise = [bench.random.choice(self.rows) for _ in range(len(rows) + 2)]
        out = await bench.cycle(
            issue=[
                {"enable": row is not None, "row": noise[n] if row is None else row}
                for n, row in enumerate(rows)
            ],
            addends=[value for values in addends for value in values],
            drain={
                "enable": drain is not None,
                "keep": bench.random.getrandbits(1) if drain is None else drain.keep,
                "row": noise[-1] if drain is None else drain.row,
            },
            carry={
                "enable": carry is not None,
                "row": noise[-2] if carry is None else carry[0],
                "value": bench.bits(24) - (1 << 23) if carry is None else carry[1],
            },
            clear_overflow=clear,
        )
        expected: dict[str, Any] = {"overflow": self.overflow}
        if self.sums is not None:
            expected["sums"] = self.sums
        bench.check(out, expected)
        self._corners(rows, drain, carry, clear)
        if any(addition.saturates for addition in self.psums.additions()):
            bench.cover("saturates in the cycle of the clear", clear)
            self.overflow = True
        elif clear:
            bench.cover("clears the overflow", self.overflow)
            self.overflow = False
        found = self.psums.step(rows, addends, drain, carry)
        if found is not None or any(row is not None for row in rows):
            self.sums = found

    def _corners(
        self,
        rows: list[int | None],
        drain: Read | None,
        carry: tuple[int, int] | None,
        clear: bool,
    ) -> None:
        cover = self.bench.cover
        cover(
            "a row is drained that issued three cycles before", drain and self.settled == drain.row
        )
        cover("a row is kept", drain is not None and drain.keep)
        cover("a row is carried to while another is drained", carry and drain)
        cover(
            "a row is carried to while another issues", carry and any(r is not None for r in rows)
        )
        cover("sums stay without a read", self.sums is not None and drain is None)
        cover("no clear while the flag is set", self.overflow and not clear)
        issued = [row for row in self.psums.issued[1] if row is not None]
        self.settled = issued[0] if issued else None
        if len(self.banks) > 1:
            self._banks(rows, carry)

    settled: int | None = None
    """A row that has issued three cycles before."""

    def _banks(self, rows: list[int | None], carry: tuple[int, int] | None) -> None:
        """Corners of CORNERS, where there are several banks."""
        given = [row for row in rows if row is not None]
        before, earlier = self.psums.issued
        follows = {n for n, row in enumerate(rows) if row is not None and row == before[n]}
        overtakes = {n for n, row in enumerate(rows) if row is not None and row == earlier[n]}
        if carry is not None:
            self.carried.add(skew(carry[0], len(self.banks)))
        additions = self.psums.additions()
        saturated = sum(addition.saturates for addition in additions)
        for corner, met in (
            ("a bank alone saturates", saturated == 1 < len(additions)),
            ("all banks issue", len(given) == len(rows)),
            ("a bank issues alone", len(given) == 1),
            ("banks issue different rows", len(set(given)) > 1),
            ("banks forward from different issues", follows - overtakes and overtakes - follows),
            ("a psum of each bank is carried to", len(self.carried) == len(rows)),
        ):
            self.bench.cover(corner, met)

    def issues(self, row: int, times: int) -> dict[int, int]:
        """Of psums `times` of a row, by banks."""
        if len(self.banks) == 1:
            return {0: row}
        found = {}
        for time in range(self.bench.arch.timesteps):
            if times >> time & 1:
                found[time ^ skew(row, len(self.banks))] = row
        return found

    async def settle(self) -> None:
        for _ in range(4):
            await self.cycle()

    async def drain_all(self) -> None:
        await self.settle()
        for row in self.rows:
            await self.cycle(drain=Read(row))
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
    """Before anything was written every row is zero, and the overflow is off."""
    await bench.reset(drain=1)
    await Model(bench).drain_all()


@test
async def every_psum(bench: Bench) -> None:
    """Each psum of each row gets a number of its own, all are drained, kept, and drained again."""
    made = await model(bench)
    times = range(bench.arch.timesteps)
    for row in made.rows:
        for time in times if len(made.banks) > 1 else [0]:
            await made.cycle(made.issues(row, 1 << time))
            value = [[1 + row * 8 + (time or n) for n in range(made.adders)] for _ in made.banks]
            await made.cycle(addends=value)
    await made.settle()
    for keep in (True, False):
        for row in made.rows:
            await made.cycle(drain=Read(row, keep))
        await made.settle()
    await made.drain_all()


@test
async def every_carry(bench: Bench) -> None:
    """Each row is carried to while another is kept; its other psums are 0 then."""
    made = await model(bench)
    whole = (1 << bench.arch.timesteps) - 1
    for row in made.rows:
        await made.cycle(made.issues(row, whole))
    await made.settle()
    for number, row in enumerate(made.rows):
        other = made.rows[number - 1]
        value = bench.bits(24) - (1 << 23)
        await made.cycle(drain=Read(other, keep=True), carry=(row, value))
    await made.settle()
    await made.drain_all()


@test
async def latency(bench: Bench) -> None:
    """The overflow shows three cycles behind the issue whose addition saturates, and a row that
    was drained in d is there in d + 1.
    """
    made = await model(bench)
    times = bench.arch.timesteps
    issues = made.issues(1, 1)
    fields = [{"enable": n in issues, "row": issues.get(n, 0)} for n in made.banks]
    addends = [0x7FFF] * (len(made.banks) * made.adders)
    for number in range(-(-(HIGH + 1) // 0x7FFF) + 3):
        out = await bench.cycle(issue=fields, addends=addends)
        bench.check(out, {"overflow": max(0, number - 2) * 0x7FFF > HIGH})
    bench.check(await bench.cycle(issue=0), {"overflow": 1})
    for _ in range(2):
        bench.check(await bench.cycle(addends=0), {"overflow": 1})
    bench.check(await bench.cycle(clear_overflow=1), {"overflow": 1})
    bench.check(await bench.cycle(clear_overflow=0), {"overflow": 0})
    await bench.cycle(drain={"enable": 1, "row": 1})
    others = HIGH if len(made.banks) == 1 else 0
    bench.check(await bench.cycle(drain=0), {"sums": [HIGH] + [others] * (times - 1)})


@test
async def extremes(bench: Bench) -> None:
    """Each adder alone runs into each limit, and sets the flag; the others add nothing."""
    made = await model(bench)
    for bank in made.banks:
        for adder in range(made.adders):
            for step in (0x7FFF, -0x8000):
                row = bench.random.choice(
                    [row for row in made.rows if made.psums.may_issue(bank, row)]
                )
                for _ in range(260):
                    addends = [
                        [step * (n == adder) for n in range(made.adders)] for _ in made.banks
                    ]
                    await made.cycle({bank: row}, addends=addends, clear=bench.chance(0.5))
                await made.cycle(addends=[[0] * made.adders for _ in made.banks])
                await made.settle()
                await made.cycle(clear=True)
                await made.cycle(drain=Read(row))
                await made.settle()
    await made.drain_all()


@test
async def random_traffic(bench: Bench) -> None:
    """Banks issue by themselves, few or all rows, with drains and carries between."""
    made, random = await model(bench), bench.random
    done = 0
    while done < bench.transactions:
        rows = random.sample(made.rows, random.choice((1, 2, 3, len(made.rows))))
        rate, busy = random.choice((0.1, 0.5, 1.0)), random.choice((0.3, 0.9, 1.0))
        drains = random.choice((0.0, 0.1, 0.5, 1.0))
        keeps, carries = random.choice((0.0, 0.5, 1.0)), random.choice((0.0, 0.3, 1.0))
        extreme = bench.chance(0.3)
        for _ in range(random.randrange(5, 300)):
            issues: dict[int, int] = {}
            drain = carry = None
            row = random.choice(rows)
            if bench.chance(drains):
                if made.psums.may_drain(row):
                    drain = Read(row, bench.chance(keeps))
            elif bench.chance(rate):
                for bank in made.banks:
                    wanted = random.choice(rows)
                    if bench.chance(busy) and made.psums.may_issue(bank, wanted):
                        issues[bank] = wanted
            if bench.chance(carries):
                carry = random.choice(rows), bench.bits(24) - (1 << 23)
                touched = [*issues.values(), *([] if drain is None else [drain.row])]
                if not made.psums.may_carry(carry[0], touched):
                    carry = None
            addends = None
            if extreme:
                addends = [[0x7FFF] * made.adders for _ in made.banks]
            await made.cycle(issues, drain, carry, addends=addends, clear=bench.chance(0.2))
            done += bool(issues) + (drain is not None)
    await made.drain_all()


@test
async def reset(bench: Bench) -> None:
    """A reset takes back the overflow."""
    made = await model(bench)
    for _ in range(3):
        for _ in range(300):
            addends = [[0x7FFF] * made.adders for _ in made.banks]
            await made.cycle(made.issues(1, 1), addends=addends)
        await made.settle()
        assert made.overflow
        await bench.reset(5)
        made.overflow, made.sums = False, None
        await made.cycle()
    await made.drain_all()
