"""Bench of States: every combination of what counts for one PE, and random ones for all."""

from __future__ import annotations

from itertools import product
from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.states import State, States
from tests.helpers.driver import Bench, test

component = States
ARCH = Arch(pes=4)
VARIANTS = {"one-pe": Arch(pes=1)}
CORNERS = tuple(state.name.lower() for state in State)


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
    cover = bench.cover
    pes = bench.arch.pes
    states = [expected(drive, pe) for pe in range(pes)]
    busy = sum(bit << pe for pe, bit in enumerate(drive["busy"]))
    out = await bench.cycle(**drive | {"busy": busy})
    bench.check(out, {"state": [int(state) for state in states]})
    away = [drive["rounds"][pe] != drive["drained"] for pe in range(pes)]
    for state in State:
        cover(state.name.lower(), state in states)
    cover("draining goes before all", drive["drains"] and drive["tail"] and drive["host"] and busy)
    cover("waiting in a layer's tail", drive["tail"] and not drive["drains"] and not any(away))
    cover("waiting for other PEs", any(away) and not drive["tail"] and not drive["drains"])
    cover(
        "waiting goes before busy",
        any(
            state == State.WAITING and bit for state, bit in zip(states, drive["busy"], strict=True)
        ),
    )
    cover("all PEs in the same state", len(set(states)) == 1)
    cover("busy, starved, loading and waiting at once", len(set(states)) >= 4 or pes == 1)


@test
async def every_combination(bench: Bench) -> None:
    """All inputs of a PE, and of the next PE something else: no latency."""
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


@test
async def random_combinations(bench: Bench) -> None:
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
