"""Estimate: the area of a whole machine from its Arch, without synthesising it.

RAM is exact, from the memories that the RTL declares. Logic is a fit to syntheses in generic gates
(`make synth ARCH=...`, PART=pe and PART=top; Yosys 0.70): the PE's at 1, 2, 4 and 8 timesteps and,
with each `kernel_max`, at 4, for one and two weights a cycle; what is around the PEs at 2 to 16 of
them (`make area`), and block by block at 8 timesteps and ports of 128 and 256 bits. Transistors are
counted as docs/area.md counts them, and no more of area than there is in them.
"""

from __future__ import annotations

from dataclasses import dataclass

from evenspike_core.arch import WEIGHTS, Arch
from evenspike_core.memories import memories

RAM_BIT = 6
PORT = 2
"""Transistors of a bit with one port, and of each port more."""

PE_LOGIC = (19_030, 815, 146)
"""Of a PE: by timesteps, by their square (a LIF stage hands over all later sums), and by the PEs,
since it notes which channels of a block it has weights of."""

ADDER_LOGIC = {1: 3_320, 2: 7_510, 4: 4_647}
"""Of each adder of a PE, by the weights that the PE selects a cycle: with two an adder has a bank
with an address of its own, and a lane. With four, whose gates are weights, each bank of a window
has an adder, and chooses between the weights."""

PE_CONSTANT = {
    1: {3: 38_920, 5: 45_640, 7: 55_850},
    2: {3: 52_220, 5: 65_040, 7: 73_780},
    4: {3: 49_780, 5: 60_590, 7: 79_690},
}
"""Of a PE, whatever its timesteps, by the weights that it selects a cycle and the largest kernel
that it is built for: matcher, queue and selector have the patterns of all headers of a fetch."""

NEURON_LOGIC = 19_700
"""Of a neuron with parallel LIF: psum, membrane and unit, with its share of a bank's adder (`make
synth PART=neuron_bank ARCH=paper,accumulators=64` has four)."""

LIF_LOGIC = 21_130
"""Of the LIF of one timestep that parallel LIF has no need of."""

SHARED_LIF = (20_570, 160)
"""Of a PE with shared LIF, in the place of what it has by timesteps and their square: constant, and
by timesteps. Fitted to the block alone, at 1 to 4 timesteps."""

SHARED_DRAIN = (1_900, -1_030)
"""And of the drain, which has a stage a timestep less to delay its positions by: the same, beside
what it has anyway."""

APU_LOGIC = (21_860, 52, 146)
"""Of the APU: constant, by timesteps and PEs, whose masks it holds, and by the square of the PEs,
for each of which it looks at each lane."""

REST_LOGIC = (107_290, 2_200, 3_040, 58, 88)
"""Of what else is around the PEs: constant, by timesteps, for each PE, by both, and for each bit of
the port, for which stream and results have registers."""


@dataclass(frozen=True)
class Area:
    """pe: transistors of one PE. transistors: of the accelerator. ram_bits: of all its memories."""

    pe: int
    transistors: int
    ram_bits: int


def estimate(arch: Arch) -> Area:
    """The area of the accelerator that an Arch describes."""
    t, n = arch.timesteps, arch.pes
    ram = {
        memory: memory.bits * (RAM_BIT + PORT * memory.reads)
        for memory in memories(arch)
        if not memory.register
    }
    in_pe = sum(transistors for memory, transistors in ram.items() if memory.in_pe)
    adders = arch.window_banks if arch.gates == WEIGHTS else arch.adders
    one = PE_CONSTANT[arch.ways][arch.kernel_max] + ADDER_LOGIC[arch.ways] * adders
    if arch.lif_parallel:
        one -= LIF_LOGIC + ADDER_LOGIC[arch.ways] * adders
        one += NEURON_LOGIC * arch.lif_units
    if arch.lif_shared:
        one += _logic(SHARED_LIF, 1, t) + _logic(PE_LOGIC, 0, 0, n)
    else:
        one += _logic(PE_LOGIC, t, t**2, n)
    pes = in_pe + n * one
    around = sum(ram.values()) - in_pe
    around += _logic(APU_LOGIC, 1, t * n, n**2)
    around += _logic(REST_LOGIC, 1, t, n, t * n, arch.port_bits)
    around += _logic(SHARED_DRAIN, 1, t) if arch.lif_shared else 0
    return Area(pes // n, pes + around, sum(memory.bits for memory in ram))


def _logic(parts: tuple[int, ...], *sizes: int) -> int:
    return sum(part * size for part, size in zip(parts, sizes, strict=True))
