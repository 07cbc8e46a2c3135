"""Estimate: the area of a whole machine from its Arch, without synthesising it.

RAM is exact, from the memories that the RTL declares. Logic is a fit to syntheses in generic gates
(`make synth ARCH=...`, PART=pe and PART=top; Yosys 0.70): the PE's at 1, 2, 4 and 8 timesteps and,
with each `kernel_max`, at 4; what is around the PEs at 2 to 32 of them (`make area`). Transistors
are counted as docs/area.md counts them, and no more of area than there is in them.
"""

from __future__ import annotations

from dataclasses import dataclass

from evenspike_core.arch import Arch
from evenspike_core.memories import memories

RAM_BIT = 6
PORT = 2
"""Transistors of a bit with one port, and of each port more."""

PE_LOGIC = (19_030, 815)
"""Of a PE: by timesteps, and by their square (a LIF stage hands over all later sums)."""

ADDER_LOGIC = {1: 3_320, 2: 7_510}
"""Of each adder of a PE, by the weights that it selects a cycle: with two an adder has a bank with its
own address, and a lane."""

PE_CONSTANT = {
    1: {3: 40_120, 5: 46_840, 7: 57_050},
    2: {3: 53_060, 5: 65_880, 7: 74_620},
}
"""Of a PE, whatever its timesteps, by the weights that it selects a cycle and the largest kernel that
it is built for: matcher, selector and the queue between them have patterns of all headers of a
fetch."""

APU_LOGIC = (17_400, 47)
"""Of the APU: constant, and by the square of the PEs, whose lanes it searches."""

REST_LOGIC = (96_300, 1_790, 790, 62)
"""Of what else is around the PEs: constant, by timesteps, for each PE, and by their square."""


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
    linear, square = PE_LOGIC
    one = PE_CONSTANT[arch.issue][arch.kernel_max] + linear * t + square * t**2
    pes = in_pe + n * (one + ADDER_LOGIC[arch.issue] * arch.adders)
    around = sum(ram.values()) - in_pe
    around += APU_LOGIC[0] + APU_LOGIC[1] * n**2
    around += sum(a * b for a, b in zip(REST_LOGIC, (1, t, n, n**2), strict=True))
    return Area(pes // n, pes + around, sum(memory.bits for memory in ram))
