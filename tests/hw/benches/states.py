"""Bench of States: every combination of what counts for one PE, and random ones for all."""

from __future__ import annotations

from itertools import product
from typing import Any

import cocotb
from amaranth.lib import wiring

from evenspike_core.arch import Arch
from evenspike_hw.rtl.states import State, States
from tests.hw.benches.common import Bench, start

ARCH = Arch(pes=4)
VARIANTS = {"one-pe": Arch(pes=1)}
CORNERS = (
    *(f"{state.name.lower()}" for state in State),
    "draining goes before all",
    "waiting in a layer's tail",
    "waiting for other PEs",
    "waiting goes before busy",
    "all PEs in the same state",
    "busy, starved, loading and waiting at once",
)


def component(arch: Arch) -> wiring.Component:
    return States(arch)


def expected(drive: dict[str, Any], pe: int) -> State:
    """docs/timing.md, "Where a PE's cycles go"."""
    waits = drive["tail"] or drive["rounds"][pe] != drive["drained"]
    if drive["drains"]:
        return State.DRAINING
    if waits:
        return State.WAITING
    if not drive["host"] and drive["busy"][pe]:
        return State.BUSY
    if drive["host"] or drive["finished"][pe] == drive["seen"]:
        return State.LOADING
    return State.STARVED


async def compare(bench: Bench, drive: dict[str, Any]) -> None:
    pes = bench.arch.pes
    states = [expected(drive, pe) for pe in range(pes)]
    busy = sum(bit << pe for pe, bit in enumerate(drive["busy"]))
    out = await bench.cycle(**drive | {"busy": busy})
    bench.check(out, {"state": [int(state) for state in states]})
    away = [drive["rounds"][pe] != drive["drained"] for pe in range(pes)]
    met = {state.name.lower(): state in states for state in State}
    met |= {
        "draining goes before all": drive["drains"] and drive["tail"] and drive["host"] and busy,
        "waiting in a layer's tail": drive["tail"] and not drive["drains"] and not any(away),
        "waiting for other PEs": any(away) and not drive["tail"] and not drive["drains"],
        "waiting goes before busy": any(
            state == State.WAITING and bit for state, bit in zip(states, drive["busy"], strict=True)
        ),
        "all PEs in the same state": len(set(states)) == 1,
        "busy, starved, loading and waiting at once": len(set(states)) >= 4 or pes == 1,
    }
    for corner, hit in met.items():
        if hit:
            bench.cover(corner)


@cocotb.test()
async def every_combination(dut: Any) -> None:
    """All inputs of a PE, and of the next PE something else: no latency."""
    bench = await start(dut)
    pes = bench.arch.pes
    for at, bits in enumerate(product(range(2), repeat=4)):
        drains, tail, host, busy = bits
        for drained, rounds, seen, finished in product(range(4), repeat=4):
            turn = [(pe + at) % pes for pe in range(pes)]
            drive = {
                "drains": drains,
                "tail": tail,
                "host": host,
                "drained": drained,
                "seen": seen,
                "busy": [busy ^ n & 1 for n in turn],
                "rounds": [(rounds + n) % 4 for n in turn],
                "finished": [(finished + n // 2) % 4 for n in turn],
            }
            await compare(bench, drive)


@cocotb.test()
async def random_combinations(dut: Any) -> None:
    bench = await start(dut)
    pick = bench.random.randrange
    pes = bench.arch.pes
    for _ in range(bench.transactions):
        drained, seen = pick(4), pick(4)
        drive = {
            "drains": int(bench.chance(0.1)),
            "tail": int(bench.chance(0.1)),
            "host": int(bench.chance(0.1)),
            "drained": drained,
            "seen": seen,
            "busy": [pick(2) for _ in range(pes)],
            "rounds": [bench.random.choice((drained, drained, pick(4))) for _ in range(pes)],
            "finished": [bench.random.choice((seen, pick(4))) for _ in range(pes)],
        }
        await compare(bench, drive)
