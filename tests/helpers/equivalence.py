"""Prove that the netlist of gates of a component does in every cycle what its RTL does.

    python -m tests.helpers.gate_level --prove [COMPONENT ...]

Both designs, flattened, run beside each other from their initial state with the same inputs, and
ABC's `scorr` looks for signals that are equal in every reachable state, by induction, until nothing
is left that could tell the outputs apart. It knows nothing of names: registers that synthesis has
merged, split or dropped do no harm. Where it gives up, Yosys' own induction (`netlists.py`) tries,
which begins with the registers that have the same name.

Memories are cut open (`cut_memory.v`): what goes into a port is an output, what a read gives an
input, the same for both; that the memories between are the same, word by word at the start and in
all that is said of collisions, is compared besides.

What is proved is the mapping from the RTLIL that Amaranth writes to flip-flops and gates. It is no
proof of Amaranth, nor that a colliding read does not matter: gate_level.py tests that.

Where sums are added in another order no two inner signals are equal, and no solver here ends:
counts of 49 bits, of which Yosys makes one `$macc`. Such a component is proved from behind
`alumacc` and `share` on, with the same adders on both sides ("below arithmetic"): that those two
steps keep the sums is left to the bench.

Products are worse: of a component that multiplies, the RTL is first cut open at its multipliers
(`cut_multiplier.v`), whose factors become outputs and whose products inputs, and what is proved is
the netlist that the same script makes of that. It is "below arithmetic" as well: the multipliers
themselves, and the netlist with them, are left to the bench on the gates.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from evenspike_hw.synthesis import synthesize
from evenspike_hw.synthesis.targets import target
from tests.helpers.netlists import CUT, OPEN, YosysError, induction, miter, yosys

SECONDS = 300
"""For each step of a proof but the induction, which is quick where it is of use."""

INDUCTION_SECONDS = 90
"""The longest that is of use, the selector's, takes 15 on a machine that does nothing else."""

SHOWING_SECONDS = 20

PROVED, BELOW, REFUTED, UNKNOWN = "proved", "below arithmetic", "refuted", "not proved"

TOO_LARGE = ("accelerator", "array", "neurons")
"""Minutes each: blocks that are proved by themselves, more than once, and the wires between."""

MULTIPLY = ("lif", "neuron_bank", "pe", "shared_lif")
"""Components with products of two signals. (A product with a number is a sum, and is proved.)"""

NARROWED = ("pe:kernel3",)
"""Of a header of K = 3 one bit is never read, which synthesis takes out of the memory: two memories
of different widths cannot be cut open alike. Its blocks are proved by themselves."""

STEPS = 4
"""Cycles from the reset in which a counterexample is looked for, where there is no proof."""

MULTIPLIER = Path(__file__).with_name("cut_multiplier.v")

SWEEP = "strash\nifraig\nscorr\n"

ARITHMETIC = synthesize.GENERIC_SCRIPT.partition("\ntechmap")[0]
"""The script of the synthesis up to where cells of words become gates; and then the adders."""

ADDERS = "techmap t:$macc t:$macc_v2 t:$alu %u %u"


@dataclass(frozen=True)
class Proof:
    """state: one of the four above. reason: what was not proved, or why not; or where the
    counterexample shows.
    """

    component: str
    state: str
    reason: str
    seconds: float


def synthesis(name: str, technology: str = "generic") -> str:
    """The script that makes gates of NAME.il, whether `evenspike synth` has such a part or not."""
    request = cast("Any", SimpleNamespace(part=name, liberty=None))
    return synthesize._script(request, target(technology))


def prove(component: str, place: Path, seconds: float = SECONDS) -> Proof:
    """Of the RTL and the netlist that `gate_level.synthesise` has left in a folder."""
    started = time.perf_counter()
    name = component.partition(":")[0]
    try:
        cut = without_multipliers(name, place) if name in MULTIPLY else None
        state, reason = proved(name, cut or place, seconds)
        if cut and state == PROVED:
            state, reason = BELOW, "multipliers cut off"
    except YosysError as error:
        state, reason = UNKNOWN, str(error).splitlines()[-1]
    except subprocess.TimeoutExpired:
        state, reason = UNKNOWN, f"no end within {seconds:.0f} s"
    return Proof(component, state, reason, time.perf_counter() - started)


def without_multipliers(name: str, place: Path) -> Path:
    """A folder with RTL and netlist of the component without them."""
    cut = place / "cut"
    cut.mkdir(exist_ok=True)
    for file in (MULTIPLIER, place / f"{name}.il"):
        shutil.copy(file, cut)
    yosys(
        f"""{synthesize.head(name)}; flatten; opt_clean
        rename -enumerate -pattern multiplier% t:$mul
        techmap -autoproc -map {MULTIPLIER.name} t:$mul; opt_clean
        expose -input w:*.product_in
        expose w:*.factor_out_*
        write_rtlil {name}.il""",
        cut,
        SECONDS,
    )
    yosys(f"{synthesis(name)}\nwrite_rtlil gates.il", cut, SECONDS)
    return cut


def proved(name: str, place: Path, seconds: float = SECONDS) -> tuple[str, str]:
    """The state of the two in the folder, as they are there, and the reason."""
    left = _sweep(name, place, "", seconds)
    other = _memories(place)
    if other:
        return UNKNOWN, f"memories differ: {', '.join(other)}"
    if not left:
        return PROVED, ""
    reason = f"open: {', '.join(left)}"
    found = _induction(name, place)
    if found == "none":
        return PROVED, ""
    if found == "some" or _shows(place, seconds):
        return REFUTED, reason
    left = _sweep(name, place, f"{ARITHMETIC}\n{ADDERS}", seconds)
    return UNKNOWN if left else BELOW, reason


def _gold(name: str, passes: str) -> str:
    return f"""{synthesize.head(name)}{passes}
        flatten; opt_expr; opt_clean; memory -nomap; opt_clean; write_rtlil gold.il
        {OPEN}; opt_clean; rename {name} gold"""


def _gate(name: str) -> str:
    return f"read_rtlil gates.il; {OPEN}; opt_clean; rename {name} gate"


def _sweep(name: str, place: Path, passes: str, seconds: float) -> list[str]:
    """Outputs of which it is not proved that they agree. passes: of the RTL, before."""
    shutil.copy(CUT, place)
    (place / "sweep.abc").write_text(SWEEP)
    yosys(
        f"""{_gold(name, passes)}; design -stash gold
        {_gate(name)}; design -stash gate
        design -copy-from gold -as gold gold
        design -copy-from gate -as gate gate
        expose -input */w:*.cut_in_*
        expose */w:*.cut_out_*
        miter -equiv -flatten -make_outcmp gold gate miter
        hierarchy -top miter; opt -full; techmap; opt; dfflegalize -cell $_DFF_P_ 0; opt_clean
        write_rtlil bits.il
        abc -dff -g AND -script sweep.abc; opt -full; write_rtlil swept.il""",
        place,
        seconds,
    )
    text = (place / "swept.il").read_text()
    if re.search(r"^  connect \\trigger 1'0$", text, re.MULTILINE):
        return []
    compared = re.findall(r"^  wire .*output \d+ \\cmp_(\S+)$", text, re.MULTILINE)
    agree = set(re.findall(r"^  connect \\cmp_(\S+) 1'1$", text, re.MULTILINE))
    return [output for output in compared if output not in agree] or ["trigger"]


def _induction(name: str, place: Path) -> str:
    end = time.monotonic() + INDUCTION_SECONDS
    try:
        registers, outputs = miter(_gold(name, ""), _gate(name), place, INDUCTION_SECONDS)
        return induction(place, registers, outputs, end)
    except subprocess.TimeoutExpired:
        return "unknown"


def _memories(place: Path) -> list[str]:
    """Memories that only one of the designs has, or that are not the same in both."""
    found = []
    for file in ("gold.il", "gates.il"):
        cells = re.findall(
            r"^  cell \$mem_v2 (\S+)\n(.*?)^  end$",
            (place / file).read_text(),
            re.MULTILINE | re.DOTALL,
        )
        found.append(
            {
                cell: {
                    name: value
                    for name, value in re.findall(r"parameter (?:signed )?\\(\S+) (.*)", body)
                    if name != "MEMID"
                }
                for cell, body in cells
            }
        )
    gold, gate = found
    return sorted(
        cell.removeprefix("\\")
        for cell in gold.keys() | gate.keys()
        if gold.get(cell) != gate.get(cell)
    )


def _shows(place: Path, seconds: float) -> bool:
    """Whether a sequence of inputs from the initial state makes an output differ soon."""
    asked = f"sat -tempinduct -tempinduct-baseonly -maxsteps {STEPS} -prove trigger 0 miter"
    try:
        text = yosys(f"read_rtlil bits.il; {asked}", place, min(seconds, SHOWING_SECONDS))
    except subprocess.TimeoutExpired:
        return False
    return "model found for base case" in text
