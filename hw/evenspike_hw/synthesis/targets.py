"""Targets: how Yosys maps to each technology, and what its cells are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from evenspike_core.errors import EvenspikeError

MEMORY = "$mem_v2"
"""Yosys' cell of a memory that nothing has mapped."""

SPLIT = "splitnets; clean"


def finish(command: str, top: str) -> str:
    """Returns the part of a mapping behind `SPLIT`."""
    return f"{command} -top {top} -run map_luts:"


@dataclass(frozen=True)
class Target:
    """A technology.

    command: of Yosys, with which each module is mapped by itself. flat: the same for the design as
        a whole, which is what is placed and routed; "" where nothing can be.
    kinds: resource -> pattern of the names of its cells. Cells of no kind are wires (buffers,
        constants).
    path: selection of Yosys, of the cells that a path runs through from register to register.
    timing: commands of Yosys, after all others, that estimate the clock.
    """

    name: str
    description: str
    command: str
    kinds: dict[str, str]
    path: str
    flat: str = ""
    timing: str = ""

    def mapping(self, command: str, top: str, rest: str = "") -> str:
        """Returns Yosys' commands from the label `rest` on, or from the beginning.

        Without `splitnets` abc9 of Yosys 0.70 stops at assertions about wires of several bits.
        """
        return f"{command} -top {top} -run {rest}:map_luts\n{SPLIT}\n{finish(command, top)}\n"

    def kind(self, cell: str) -> str | None:
        """Returns the resource that a cell is."""
        for name, pattern in self.kinds.items():
            if re.fullmatch(pattern, cell):
                return name
        return None


GENERIC = Target(
    "generic",
    "static CMOS gates and RAM bits",
    "",
    {"gates": r"\$_(NOT|N?AND|N?OR|XN?OR|N?MUX|AOI[34]|OAI[34]|ANDNOT|ORNOT|BUF)_"}
    | {"flip_flops": r"\$_DFF_P_"},
    "t:$_* t:$_DFF_P_ %d",
)

TARGETS = {
    target.name: target
    for target in (
        GENERIC,
        Target(
            "ecp5",
            "Lattice ECP5",
            "synth_ecp5 -noflatten",
            {
                "luts": "LUT4",
                "muxes": "PFUMX|L6MUX21",
                "carry": "CCU2C",
                "flip_flops": "TRELLIS_FF",
                "block_ram": "DP16KD|PDPW16KD",
                "distributed_ram": "TRELLIS_DPR16X4",
                "dsp": "MULT18X18D|ALU54B",
            },
            "t:LUT4 t:PFUMX t:L6MUX21 t:CCU2C",
            flat="synth_ecp5",
        ),
        Target(
            "ice40",
            "Lattice iCE40",
            "synth_ice40 -noflatten -dsp -device u",
            {
                "luts": "SB_LUT4",
                "carry": "SB_CARRY",
                "flip_flops": "SB_DFF.*",
                "block_ram": "SB_RAM40_4K.*",
                "dsp": "SB_MAC16",
            },
            "t:SB_LUT4 t:SB_CARRY",
        ),
        Target(
            "xilinx",
            "Xilinx 7 series",
            "synth_xilinx -family xc7 -noiopad -noclkbuf",
            {
                "luts": "LUT[1-6]",
                "muxes": "MUXF[789]",
                "inverters": "INV",
                "carry": "CARRY4",
                "flip_flops": "FD[RSCP]E(_1)?",
                "block_ram": "RAMB(18|36)E1",
                "distributed_ram": "RAM(32|64|128|256)[MX].*|SRL.*",
                "dsp": "DSP48E1",
            },
            "t:LUT? t:MUXF? t:INV t:CARRY4",
            timing="read_verilog -lib -specify +/xilinx/cells_sim.v; sta",
        ),
        Target(
            "gowin",
            "Gowin GW1N",
            "synth_gowin -noflatten -noiopads",
            {
                "luts": "LUT[1-4]",
                "muxes": "MUX2_.*",
                "carry": "ALU",
                "flip_flops": "DFF.*",
                "block_ram": "SDPX?9?B|DPX?9?B|SPX?9?",
                "distributed_ram": "RAM16SDP[124]|RAM16S[124]",
                "dsp": "MULT.*|PADD.*",
            },
            "t:LUT? t:MUX2_* t:ALU",
        ),
    )
}

TRANSISTORS = {
    "$_BUF_": 1,
    "$_NOT_": 2,
    "$_NAND_": 4,
    "$_NOR_": 4,
    "$_AND_": 6,
    "$_OR_": 6,
    "$_ANDNOT_": 6,
    "$_ORNOT_": 6,
    "$_AOI3_": 6,
    "$_OAI3_": 6,
    "$_AOI4_": 8,
    "$_OAI4_": 8,
    "$_NMUX_": 10,
    "$_MUX_": 12,
    "$_XOR_": 12,
    "$_XNOR_": 12,
    "$_DFF_P_": 16,
}
"""Transistors of a static CMOS gate, as Yosys' `stat -tech cmos` counts them."""

RAM_CELL = 6
PORT = 2
"""Transistors of a RAM bit with one port, and what each further port adds to it: a RAM that is read
and written in the same cycle has 8 (a cell with a read stack of its own). What surrounds the cells,
decoders and sense amplifiers, is not counted."""

GATE = TRANSISTORS["$_NAND_"]
"""Transistors of a gate equivalent, which is a NAND of two inputs."""


def target(name: str) -> Target:
    """Returns the named target; raises EvenspikeError, which lists them, for another name."""
    if name not in TARGETS:
        raise EvenspikeError(f"unknown target {name!r}; there are: {', '.join(TARGETS)}")
    return TARGETS[name]
