"""Bench of Watchdog: when it barks, for every limit that a simulation gets to the end of."""

from __future__ import annotations

from cocotb.triggers import ClockCycles

from evenspike_core.arch import Arch
from evenspike_hw.rtl.watchdog import Watchdog
from tests.helpers.driver import Bench, test

ARCH = Arch(pes=4)


def component(_: Arch) -> Watchdog:
    return Watchdog()


class Rig:
    """The watchdog, and the cycles since something has moved."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.still = 0
        self.barked = False

    async def cycle(self, watches: int = 1, event: int = 0, limit: int = 3) -> None:
        bench = self.bench
        barks = bool(watches) and limit > 0 and self.still >= 1 << limit
        out = await bench.cycle(watches=watches, event=event, limit=limit)
        bench.check(out, {"barks": int(barks)})
        bench.cover("barks", barks)
        bench.cover("barks for more than a cycle", barks and self.barked)
        self.barked = barks
        bench.cover("an event while it barks", barks and event)
        bench.cover("an event in the last cycle", event and self.still == (1 << limit) - 1)
        bench.cover("never", not limit and self.still > 100)
        bench.cover("nobody waits", not watches and self.still)
        self.still = 0 if event or not watches else self.still + (not barks)


@test
async def every_limit(bench: Bench) -> None:
    """The cycle of the bark, for each limit; the longest are only seen not to bark early."""
    rig = Rig(bench)
    most = 16 if bench.transactions > 1000 else 9
    for limit in range(1, 32):
        await rig.cycle(event=1, limit=limit)
        quiet = min(1 << limit, 1 << most) - 3
        if quiet > 100:
            await rig.cycle(limit=limit)
            await ClockCycles(bench.clock, quiet)
            rig.still += quiet
        for _ in range(min(1 << limit, 1 << most) + 3 - rig.still):
            await rig.cycle(limit=limit)
    await rig.cycle(watches=0)
    for event in (0, 1):
        for at in range(5, 11):
            for _ in range(at):
                await rig.cycle()
            await rig.cycle(event=event, watches=event)
            await rig.cycle()
    await rig.cycle(event=1, limit=0)
    for _ in range(300):
        await rig.cycle(limit=0)


@test
async def random_events(bench: Bench) -> None:
    rig = Rig(bench)
    for n in range(bench.transactions):
        if n % 50 == 0:
            share = bench.random.choice((0.0, 0.02, 0.2))
            limit = bench.random.randrange(6)
            await rig.cycle(watches=0, limit=limit)
        watches, event = int(not bench.chance(share / 4)), int(bench.chance(share))
        await rig.cycle(watches, event, limit)


@test
async def reset(bench: Bench) -> None:
    """It counts from the reset."""
    rig = Rig(bench)
    for length in range(12):
        for _ in range(length):
            await rig.cycle()
        bench.cover("reset while it barks", rig.still >= 8)
        await bench.idle(limit=3)
        await bench.reset(limit=3)
        rig.still = 0
        for _ in range(10):
            await rig.cycle()
        await rig.cycle(event=1)
