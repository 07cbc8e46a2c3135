"""Bench of WeightGates: extreme weights at every gate, with and without a spike; random ones."""

from __future__ import annotations

from evenspike_core.arch import IMPLIED, WEIGHTS, Arch
from evenspike_hw.rtl.pe.weight_gates import WeightGates
from tests.helpers.driver import Bench, test

component = WeightGates
ARCH = Arch(pes=4, gates=WEIGHTS, **IMPLIED)
LOW, HIGH = -(1 << 15), (1 << 15) - 1
WAYS = 4


async def _compare(bench: Bench, weights: list[int], spike: int) -> None:
    """In the cycle of the inputs: no latency."""
    out = await bench.cycle(weights=weights, spike=spike)
    bench.check(out, {"addends": weights if spike else [0] * WAYS})
    bench.cover("a spike", spike)
    bench.cover("no spike", not spike and any(weights))
    bench.cover("most negative weight", spike and LOW in weights)
    bench.cover("largest weight", spike and HIGH in weights)
    bench.cover("four different weights", spike and len(set(weights)) == WAYS)


@test
async def every_gate(bench: Bench) -> None:
    """Every single bit of a weight at every gate, beside another at the others."""
    single = [1 << n for n in range(15)]
    for value in (0, -1, 1, LOW, HIGH, 0x5555, ~0x5555, *single, *(~bit for bit in single)):
        for way in range(WAYS):
            for other in (0, -1):
                weights = [other] * WAYS
                weights[way] = value
                for spike in (0, 1):
                    await _compare(bench, weights, spike)


@test
async def random_weights(bench: Bench) -> None:
    for _ in range(bench.transactions):
        weights = [bench.bits(16) - (1 << 15) for _ in range(WAYS)]
        await _compare(bench, weights, bench.random.getrandbits(1))
