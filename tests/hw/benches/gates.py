"""Bench of Gates: every mask with extreme weights, and random ones."""

from __future__ import annotations

from evenspike_core.arch import Arch
from evenspike_hw.rtl.pe.gates import Gates
from tests.helpers.driver import Bench, test

component = Gates
ARCH = Arch(pes=4)
VARIANTS = {"one-timestep": Arch(pes=4, timesteps=1)}
LOW, HIGH = -(1 << 15), (1 << 15) - 1


async def _compare(bench: Bench, random: bool) -> None:
    times = bench.arch.timesteps
    if random:
        cases = [(bench.bits(16), bench.bits(times)) for _ in range(bench.transactions)]
    else:
        single = [1 << n for n in range(16)]
        weights = (0, -1, 1, LOW, HIGH, 0x5555, ~0x5555, *single, *(~bit for bit in single))
        cases = [(weight & 0xFFFF, mask) for weight in weights for mask in range(1 << times)]
    for weight, mask in cases:
        out = await bench.cycle(weight=weight, mask=mask)
        value = weight - (weight >> 15 << 16)
        bench.check(out, {"addends": [value if mask >> t & 1 else 0 for t in range(times)]})
        bench.cover("a spike alone", mask.bit_count() == 1)
        bench.cover("all spikes", mask == (1 << times) - 1)
        bench.cover("no spike", not mask)
        bench.cover("most negative weight", value == LOW)
        bench.cover("largest weight", value == HIGH)


@test
async def every_mask(bench: Bench) -> None:
    """Every mask with every single bit of a weight, in the cycle of the inputs: no latency."""
    await _compare(bench, random=False)


@test
async def random_weights(bench: Bench) -> None:
    await _compare(bench, random=True)
