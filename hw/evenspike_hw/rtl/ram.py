"""Ram: the memories of the accelerator, with what every technology's block RAM can do."""

from __future__ import annotations

from typing import Any

from amaranth.lib.memory import Memory

COLLISIONS = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i"
"""Command of Yosys, before it touches memories: what a Ram promises. Amaranth has no word for it,
and the attribute counts only where Yosys has read Verilog."""

SHALLOW = 4
"""Words up to which a memory may just as well become registers: where there is no RAM but large
blocks, each of its words would waste most of one."""


class Ram(Memory):
    """`depth` words of `shape`, with one write port; but for a `LutRam` read with a clock.

    What a port reads of a word that is written in the same cycle is not defined, and who uses a Ram
    says why that does not matter. Block RAMs differ in it, and where the old word was asked for,
    synthesis would add registers, a comparison and a multiplexer to each read port.
    """

    def __init__(self, shape: Any, depth: int) -> None:
        super().__init__(shape=shape, depth=depth, init=[], attrs={"no_rw_check": 1})


class LutRam(Ram):
    """A few words that are read without a clock, and a word from the cycle after its write on.

    Made of lookup tables where a technology can, else of registers.
    """
