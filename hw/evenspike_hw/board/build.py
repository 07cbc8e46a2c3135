"""Build: a bitstream, from the RTL to the file, by amaranth-boards, Yosys and nextpnr."""

from __future__ import annotations

import hashlib
import math
import shlex
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from evenspike_core.arch import Arch, preset
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import write
from evenspike_hw.board.boards import Board, Top, board
from evenspike_hw.rtl.layouts import WORD_BITS
from evenspike_hw.rtl.ram import COLLISIONS
from evenspike_hw.synthesis import yosys
from evenspike_hw.synthesis.routing import Device, Routed, read, route
from evenspike_hw.synthesis.synthesize import longest_path
from evenspike_hw.synthesis.targets import SPLIT, finish, target

TOP = "top"


@dataclass(frozen=True)
class Packer:
    """How a target's routed design becomes a file. routed, packed: endings of their names.
    option: of nextpnr, for the routed one. arguments: of the tool, in their order. ram_bits: of a
    block RAM of the family.
    """

    nextpnr: str
    option: str
    routed: str
    tool: str
    packed: str
    arguments: tuple[str, ...]
    ram_bits: int


PACKERS = {
    "ecp5": Packer(
        "nextpnr-ecp5",
        "--textcfg",
        "config",
        "ecppack",
        "bit",
        ("--compress", "--input", "{routed}", "--bit", "{packed}"),
        18 * 1024,
    ),
    "ice40": Packer(
        "nextpnr-ice40", "--asc", "asc", "icepack", "bin", ("{routed}", "{packed}"), 4 * 1024
    ),
}


ELABORATED_BY = ("amaranth", "amaranth-boards")
"""Their versions are told with the tools'; the digest has what they wrote."""


@dataclass(frozen=True)
class Bitstream:
    """file: the bitstream. report: what it is, what it takes and how fast it is."""

    file: Path
    report: dict[str, Any]


def build(
    name: str,
    arch: Arch,
    words: int,
    seeds: int,
    work: Path,
    progress: yosys.Progress | None = None,
) -> Bitstream:
    """Builds a board's bitstream; what an earlier call has routed is not routed again.

    seeds: placements 1 to `seeds` are tried, the fastest stays. work: folder for all that arises.
    Raises EvenspikeError if it does not fit, if no placement is as fast as the clock of the Arch,
    and with a tool's own reason if one fails.
    """
    design = board(name)
    packer = PACKERS[design.target]
    if seeds < 1:
        raise EvenspikeError(f"{seeds} placements, possible are 1 and more")
    tools = _tools(packer)
    if progress is not None:
        progress("elaborating")
    check_memory(design, words)
    check_port(arch)
    files = _plan(design, arch, words)
    digest = _digest(files, tools)
    place = work / digest
    _prepare(files, place)
    began = time.perf_counter()
    if not (place / "synthesised").exists():
        yosys.run((place / f"{TOP}.ys").read_text(), place, TOP, progress)
        write(place / "synthesised", f"{time.perf_counter() - began:.1f}")
    routes = _routes(design, packer, files, place, seeds, progress)
    best = max(routes, key=lambda seed: (routes[seed].fmax_mhz or 0.0, -seed))
    routed = routes[best]
    fmax = routed.fmax_mhz or 0.0
    if fmax < arch.clock_mhz:
        raise EvenspikeError(
            f"{name}: the fastest of {seeds} placements reaches {fmax} MHz, the clock "
            f"has {arch.clock_mhz:g}; {_slowest(routed)}"
        )
    packed = place / f"{name}.{packer.packed}"
    given = {"routed": f"seed{best}.{packer.routed}", "packed": packed.name}
    command = [yosys.tool(packer.tool), *(a.format(**given) for a in packer.arguments)]
    code, text = yosys.execute(command, place, place / f"{packer.tool}.log")
    if code:
        raise EvenspikeError(f"{packer.tool}: {yosys.reason(text)}")
    length, _ = longest_path((place / "ltp.txt").read_text())
    seconds = float((place / "synthesised").read_text())
    seconds += sum(float((place / f"seed{n}.seconds").read_text()) for n in routes)
    return Bitstream(
        packed,
        {
            "board": name,
            "device": design.device,
            "arch": {"preset": arch.preset, "digest": arch.digest},
            "words": words,
            "clock_mhz": arch.clock_mhz,
            "fmax_mhz": routed.fmax_mhz,
            "resources": routed.utilization,
            "ltp": length,
            "seconds": round(seconds, 1),
            "seed": best,
            "fmax_by_seed": {str(seed): routes[seed].fmax_mhz for seed in sorted(routes)},
            "critical_path": routed.critical_path,
            "digest": digest,
            "tools": tools | {name: metadata.version(name) for name in ELABORATED_BY},
            "file": packed.name,
            "sha256": hashlib.sha256(packed.read_bytes()).hexdigest(),
        },
    )


def check_memory(design: Board, words: int) -> None:
    """Raises EvenspikeError for a memory that alone is too large: elaboration would take hours."""
    needed = math.ceil(words * WORD_BITS / PACKERS[design.target].ram_bits)
    if needed > design.block_rams:
        raise EvenspikeError(
            f"{design.device}: it does not fit: a memory of {words:,} words takes {needed:,} block "
            f"RAMs of {design.block_rams} ({needed - design.block_rams:,} too many)"
        )


def check_port(arch: Arch) -> None:
    """Raises EvenspikeError for a port that is wider than a board's memory, and for several
    clusters, whose images a UART could not bring and fetch.
    """
    if arch.clusters > 1:
        raise EvenspikeError(
            f"Arch clusters is {arch.clusters}; a board has 1, with the UART in front of it"
        )
    if arch.port_bits != WORD_BITS:
        raise EvenspikeError(
            f"Arch port_bits is {arch.port_bits}; the memory of a board has {WORD_BITS} bits"
        )


def source_digest(name: str) -> str:
    """Returns the digest that `index.json` has to have for a board's own design now."""
    design = board(name)
    files = _plan(design, preset(design.arch), design.words)
    return _digest(files, _tools(PACKERS[design.target]))


def _tools(packer: Packer) -> dict[str, str]:
    return {
        "yosys": yosys.find().version,
        packer.nextpnr: yosys.tool_version(yosys.tool(packer.nextpnr)),
    }


def _plan(design: Board, arch: Arch, words: int) -> dict[str, str]:
    """Returns what amaranth-boards would run, as files by name."""
    chosen = target(design.target)
    finished = f"{SPLIT}\n{finish(f'synth_{chosen.name}', TOP)}"
    plan = design.make_platform().prepare(
        Top(arch, words),
        TOP,
        script_after_read=COLLISIONS,
        synth_opts="-run :map_luts",
        script_after_synth=f"{finished}\ntee -q -o ltp.txt ltp w:* {chosen.path}",
        nextpnr_opts=design.options,
        emit_src=False,
    )
    return {
        name: text if isinstance(text, str) else text.decode()
        for name, text in plan.files.items()
        if not name.startswith("build_top.b") and not name.endswith(".debug.v")
    }


def _digest(files: dict[str, str], tools: dict[str, str]) -> str:
    text = hashlib.sha256(repr(sorted(tools.items())).encode())
    for name in sorted(files):
        text.update(f"{name}\0{files[name]}\0".encode())
    return text.hexdigest()[:16]


def _prepare(files: dict[str, str], place: Path) -> None:
    if place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        new = Path(folder) / "made"
        new.mkdir()
        for name, text in files.items():
            (new / name).write_text(text)
        new.rename(place)


def _routes(
    design: Board,
    packer: Packer,
    files: dict[str, str],
    place: Path,
    seeds: int,
    progress: yosys.Progress | None,
) -> dict[int, Routed]:
    """Routes the placements, two at a time: each takes a core and minutes."""
    options = _options(files[f"build_{TOP}.sh"], packer)
    device = Device(design.device, packer.nextpnr, options)
    done: list[int] = []

    def one(seed: int) -> Routed:
        report = place / f"{TOP}-seed{seed}-report.json"
        if not (place / f"seed{seed}.seconds").exists():
            began = time.perf_counter()
            more = (packer.option, f"seed{seed}.{packer.routed}")
            route(device, place, TOP, seed, None, more)
            write(place / f"seed{seed}.seconds", f"{time.perf_counter() - began:.1f}")
        done.append(seed)
        if progress is not None:
            progress(f"placed and routed {len(done)} of {seeds}")
        return read(report)

    if progress is not None:
        progress(f"placing and routing {seeds} times, minutes each")
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(range(1, seeds + 1), pool.map(one, range(1, seeds + 1)), strict=True))


def _options(script: str, packer: Packer) -> tuple[str, ...]:
    """Returns amaranth-boards' options for nextpnr, without the names of what goes in and out."""
    [line] = [line for line in script.splitlines() if line.startswith('"$NEXTPNR')]
    words = [word for word in shlex.split(line)[1:] if word != "--quiet"]
    for option in ("--log", "--json", packer.option):
        at = words.index(option)
        del words[at : at + 2]
    return tuple(words)


def _slowest(routed: Routed) -> str:
    path = [step["to"] for step in routed.critical_path if step["to"]]
    return f"its slowest path goes from {path[0]} to {path[-1]}" if path else "no path is named"
