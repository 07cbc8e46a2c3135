"""Bench of Gates: every mask with extreme weights, and random ones."""

from __future__ import annotations

from typing import Any

import cocotb
from amaranth.lib import wiring

from evenspike_core.arch import Arch
from evenspike_hw.rtl.pe.gates import Gates
from tests.hw.benches.common import start

ARCH = Arch(pes=4)
VARIANTS = {"one-timestep": Arch(pes=4, timesteps=1)}
CORNERS = ("no spike", "all spikes", "a spike alone", "most negative weight", "largest weight")
LOW, HIGH = -(1 << 15), (1 << 15) - 1


def component(arch: Arch) -> wiring.Component:
    return Gates(arch)


async def _compare(dut: Any, random: bool) -> None:
    bench = await start(dut)
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
        if mask.bit_count() == 1:
            bench.cover("a spike alone")
        if mask == (1 << times) - 1:
            bench.cover("all spikes")
        if not mask:
            bench.cover("no spike")
        if value == LOW:
            bench.cover("most negative weight")
        if value == HIGH:
            bench.cover("largest weight")


@cocotb.test()
async def every_mask(dut: Any) -> None:
    """Every mask with every single bit of a weight, in the cycle of the inputs: no latency."""
    await _compare(dut, random=False)


@cocotb.test()
async def random_weights(dut: Any) -> None:
    await _compare(dut, random=True)
