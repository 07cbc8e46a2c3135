"""Synthesize: one part, for one target, to the JSON that all tables and pictures are views of."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenspike_core import files
from evenspike_core.arch import PRESETS, Arch
from evenspike_core.documents import read_json
from evenspike_core.errors import EvenspikeError
from evenspike_hw.rtl.ram import COLLISIONS, SHALLOW
from evenspike_hw.synthesis import area, liberty, yosys
from evenspike_hw.synthesis.netlist import DeclaredMemory, Netlist, netlist, path
from evenspike_hw.synthesis.parts import WITHOUT_ROUTING, check_part, part
from evenspike_hw.synthesis.routing import OUT_OF_CONTEXT, route
from evenspike_hw.synthesis.targets import GENERIC, Target, target

GENERIC_SCRIPT = """
opt; wreduce; peepopt; opt_clean; alumacc; share; opt
memory -nomap; opt_clean; opt -full
techmap; opt
"""
"""Down to gates and flip-flops with enable and reset; memories stay memories."""

GATES_SCRIPT = """
dfflegalize -cell $_DFF_P_ 01
opt_expr; opt_merge; opt_clean
abc -g cmos
opt_clean
"""
"""`opt` would find enables and resets again, which a plain flip-flop does not have."""

SEEDS = 1 << 31
"""Seeds of nextpnr, a C int, that are not negative."""

UNMAPPED_FILE = "unmapped.txt"
"""Memories that no RAM of the target has taken, one a line."""


@dataclass(frozen=True)
class Request:
    """What to synthesise. route: place and route too, for the clock; None: where that is quick.
    seed: of the placement.
    """

    part: str
    target: str = "generic"
    arch: Arch = PRESETS["packed"]
    liberty: Path | None = None
    route: bool | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        chosen = target(self.target)
        check_part(self.part, self.arch)
        if self.liberty is not None and chosen is not GENERIC:
            raise EvenspikeError(f"a Liberty file is for target generic, not for {self.target}")
        if not 0 <= self.seed < SEEDS:
            raise EvenspikeError(f"seed {self.seed}, possible are 0 to {SEEDS - 1}")
        if self.route and not chosen.flat:
            raise EvenspikeError(
                f"target {self.target} cannot be routed without a board; ecp5 can be"
            )

    @property
    def routes(self) -> bool:
        if self.route is None:
            return bool(target(self.target).flat) and self.part not in WITHOUT_ROUTING
        return self.route


def synthesize(
    request: Request, cache: Path, progress: yosys.Progress | None = None
) -> dict[str, Any]:
    """Returns area by block, longest path, memories and, where it is routed, the clock.

    cache: folder that keeps each result, with the scripts and logs that made it, by the digest of
    what it is made from.
    Raises EvenspikeError for a part or target that there is not, a Liberty file that cannot be
    read or misses a cell, and with the tool's own reason where one fails.
    """
    tools = {"yosys": yosys.find().version}
    if request.routes:
        tools["nextpnr"] = yosys.tool_version(yosys.tool(OUT_OF_CONTEXT.nextpnr))
    if progress is not None:
        progress("elaborating")
    source = netlist(part(request.part, request.arch), request.part)
    cells = liberty.read(request.liberty)
    here = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        here.update(file.read_bytes())
    here.update(f"{COLLISIONS} {SHALLOW}".encode())
    seed = request.seed if request.routes else None
    key = (request.part, request.target, seed, tools, here.hexdigest())
    digest = hashlib.sha256(repr(key).encode() + source.text.encode() + cells).hexdigest()[:16]
    kept = cache / digest
    found = _kept(kept / "result.json")
    if found is not None:
        return found | _named(request) | {"cached": True}
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="run-") as folder:
        place = Path(folder)
        started = time.perf_counter()
        try:
            result = _synthesize(request, source, place, progress)
        except EvenspikeError:
            failed = cache / "failed"  # the logs that the error names
            shutil.rmtree(failed, ignore_errors=True)
            shutil.copytree(place, failed)
            raise
        result |= {
            "seconds": round(time.perf_counter() - started, 2),
            "digest": digest,
            "tools": tools,
        }
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(place, kept)
        files.write_json(result, kept / "result.json")  # last, and whole: this makes it kept
    return result | {"cached": False}


def _kept(file: Path) -> dict[str, Any] | None:
    """Returns what an earlier run has left; None if it is damaged: then it runs again."""
    try:
        return read_json(file, "result", dict)
    except EvenspikeError:
        return None


def _synthesize(
    request: Request, source: Netlist, place: Path, progress: yosys.Progress | None
) -> dict[str, Any]:
    chosen = target(request.target)
    (place / f"{request.part}.il").write_text(source.text)
    if request.liberty is not None:
        shutil.copyfile(request.liberty, place / liberty.copied(request.liberty))
    try:
        log = yosys.run(_script(request, chosen), place, "synthesis", progress)
    except EvenspikeError as error:
        if request.liberty is None:
            raise
        # What abc says is printed, but not logged.
        failed = "".join((place / f"synthesis.{end}").read_text() for end in ("log", "txt"))
        raise liberty.explained(request.liberty, error, failed) from error
    statistics = read_json(place / "stat.json", "output of Yosys", dict)
    if request.liberty is not None:
        areas = area.cell_areas(statistics)
        liberty.check_mapped(request.liberty, areas)
        count = area.standard_cells(source, areas)
    elif chosen is GENERIC:
        count = area.gates(source, chosen)
    else:
        count = area.fpga(chosen)
    blocks = area.tree(statistics, source, count)
    length, signals = longest_path((place / "ltp.txt").read_text())
    result = {
        "part": request.part,
        "target": request.target,
        **_named(request),
        "resources": blocks["resources"],
        "fmax_mhz": None,
        "fmax_by": None,
        "ltp": length,
        "path": signals,
        "memories": _memories(source, log, place, chosen),
        "blocks": blocks,
    }
    if chosen.name == "xilinx" and blocks["resources"]["flip_flops"]:
        result |= _timed(log)
    if request.routes:
        flat = head(request.part) + chosen.mapping(chosen.flat, request.part)
        flat += "write_json routed.json\n"
        yosys.run(flat, place, "flat", progress)
        routed = route(OUT_OF_CONTEXT, place, "routed", request.seed, progress)
        result |= {
            "fmax_mhz": routed.fmax_mhz,
            "routed": {"utilization": routed.utilization, "critical_path": routed.critical_path},
        }
        if routed.fmax_mhz is not None:
            by = f"nextpnr-ecp5, {OUT_OF_CONTEXT.name}, out of context, seed {request.seed}"
            result["fmax_by"] = by
    return result


def _named(request: Request) -> dict[str, Any]:
    """Returns the names that a request gives: presets and files with others are the same part."""
    named: dict[str, Any] = {"arch": {"preset": request.arch.preset, "digest": request.arch.digest}}
    return named if request.liberty is None else named | {"liberty": request.liberty.name}


def head(top: str) -> str:
    """Returns the script's head. Lookup tables stay logic: else they would count as memories."""
    return f"read_rtlil {top}.il\nhierarchy -top {top} -check\n{COLLISIONS}\nproc -norom\n"


def _script(request: Request, chosen: Target) -> str:
    top, selection = request.part, chosen.path
    script = head(top)
    statistics = "tee -q -o stat.json stat -hierarchy -json"
    if request.liberty is not None:
        file = liberty.copied(request.liberty)
        # A flip-flop of a library does not say how it wakes up: its reset does.
        script += f"""{GENERIC_SCRIPT}
attrmap -remove init
read_liberty -lib {file}
dfflibmap -liberty {file}
setattr -set register 1 t:* t:$_* %d
abc -liberty {file}
opt_clean
{statistics} -liberty {file}
"""
        selection = "t:* a:register %d t:$mem_v2 %d"
    elif chosen is GENERIC:
        script += f"{GENERIC_SCRIPT}{GATES_SCRIPT}{statistics}\n"
    else:
        script += f"""{chosen.command} -top {top} -run :map_ffram
tee -q -o {UNMAPPED_FILE} select -list t:$mem_v2
{chosen.mapping(chosen.command, top, "map_ffram")}{statistics}
"""
    return f"{script}flatten; opt_clean\ntee -q -o ltp.txt ltp w:* {selection}\n{chosen.timing}\n"


def longest_path(text: str) -> tuple[int, list[str]]:
    """Returns the cells on the longest path of `ltp`, and its signals with a name in the RTL."""
    found = re.search(r"Longest topological path in \S+ \(length=(-?\d+)\)", text)
    if found is None:
        raise EvenspikeError(f"Yosys' ltp says no length: {text.strip()[:200]}")
    names = re.findall(r"^ +(?:\d+|ff): \\(\S+(?: \[\d+\])?)", text, re.MULTILINE)
    return max(0, int(found[1])), list(dict.fromkeys(names))


def _memories(source: Netlist, log: str, place: Path, chosen: Target) -> list[dict[str, Any]]:
    """Returns every memory of the RTL and what it has become."""
    unmapped = place / UNMAPPED_FILE
    flops = set(unmapped.read_text().split()) if unmapped.exists() else set[str]()
    cells = dict(re.findall(r"mapping memory (\S+) via \$_*(\S+?)_*$", log, re.MULTILINE))
    cells = {path(name): cell for name, cell in cells.items()}
    found = []
    for memory in source.memories:
        name = f"{memory.block}.{memory.name}"
        left = f"{memory.block}/{memory.name}" in {path(item) for item in flops}
        mapped = "memory" if chosen is GENERIC else cells.get(name, "?")
        found.append(
            {
                "name": name,
                "depth": memory.depth,
                "width": memory.width,
                "ports": f"{memory.reads}R{memory.writes}W",
                "mapped": _registers(memory) if left else mapped,
            }
        )
    return found


def _registers(memory: DeclaredMemory) -> str:
    """Returns what a memory is that no RAM has taken: meant to be registers (`ram.py`) or not."""
    return "registers" if memory.depth <= SHALLOW or not memory.clocked else "flip-flops"


def _timed(log: str) -> dict[str, Any]:
    """Returns the clock by `sta`, which knows the delays of cells and not of wires."""
    found = re.search(r"Latest arrival time in '[^']*' is (\d+)", log)
    if found is None or not int(found[1]):
        return {}
    return {
        "fmax_mhz": round(1e6 / int(found[1]), 2),
        "fmax_by": "Yosys sta: delays of the cells, none of the wires",
    }
