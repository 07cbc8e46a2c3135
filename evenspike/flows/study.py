"""Study: what the design's choices cost in area, from many syntheses.

Each synthesis is kept in the cache: a study that was interrupted goes on, and what has not changed
is not synthesised again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenspike.report.area import study as pages
from evenspike_core.arch import PRESETS, preset
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import check_folder, dump, write_files
from evenspike_core.progress import Progress, silent
from evenspike_hw.synthesis.synthesize import Request, synthesize

Data = dict[str, Any]
Synthesis = Callable[[str, str, str], Data]
"""(part, target, arch) -> result of `synthesize`."""

DEPTHS = (4, 16, 64, 256)
"""Of the FIFO, which has at least one entry: depth 0 is computed."""

PES = (2, 4, 8, 16, 32, 64)
"""As in the u-Ticket paper's Fig. 10 (a)."""

PACKED = PRESETS["packed"]
COUNT = 1 + 1 + (len(DEPTHS) - 1) + 2 + 2 * len(PES)
"""Syntheses of a study; the PE of the preset's own depth is made once."""

BEGIN = "<!-- study: written by `make area DOCS=...` from here -->\n"
END = "<!-- study: to here -->\n"


@dataclass(frozen=True)
class Study:
    """figures: what the tables hold. syntheses, cached: how many, and how many were there already.
    seconds: it took. files: what was written.
    """

    figures: Data
    syntheses: int
    cached: int
    seconds: float
    files: tuple[Path, ...]


def study(
    out: Path | str = "build/synth", docs: Path | str | None = None, progress: Progress = silent
) -> Study:
    """Synthesise what the study compares; write study.json and study.md.

    docs: a Markdown file whose part between the two marker lines is replaced by the tables.

    Raises EvenspikeError for a folder that cannot be written to, and for a page without markers.
    """
    place = Path(out)
    check_folder(place)
    if docs is not None:
        insert(Path(docs), "")  # an error now, not after minutes
    started = time.perf_counter()
    runs: dict[tuple[str, str, str], Data] = {}

    def run(part: str, target: str, arch: str) -> Data:
        key = (part, target, arch)
        if key not in runs:
            name = f"{part} on {target}, {arch}"
            progress(name, len(runs), COUNT)
            request = Request(part, target, preset(arch), route=False)
            runs[key] = synthesize(request, place / "cache")
        return runs[key]

    found = measure(run)
    cached = sum(result["cached"] for result in runs.values())
    seconds = round(time.perf_counter() - started, 1)
    text = pages.render_markdown(found)
    contents = {"study.json": dump(found | {"seconds": seconds}), "study.md": text}
    files = write_files(contents, place)
    if docs is not None:
        page = Path(docs)
        files += write_files({page.name: insert(page, text)}, page.parent)
    return Study(found, len(runs), cached, seconds, tuple(files))


def insert(path: Path, text: str) -> str:
    """What the file holds, with `text` between its two marker lines.

    Raises EvenspikeError for a file that cannot be read, or has not each marker once, in order.
    """
    try:
        page = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvenspikeError(f"{path}: cannot be read: {error}") from error
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise EvenspikeError(
            f"{path}: it must have the lines {BEGIN.strip()!r} and {END.strip()!r}, each once"
        )
    return f"{before}{begin}\n{text}\n{end}{after}"


def measure(run: Synthesis) -> Data:
    """All figures of the study."""
    pe, top = run("pe", "generic", "packed"), run("top", "generic", "packed")
    ecp5 = run("pe", "ecp5", "packed")
    fifos = {n: run("pe", "generic", _arch("fifo_depth", n)) for n in DEPTHS}
    presets = {
        ("pe", "packed"): pe,
        ("pe", pages.PAPER): run("pe", "generic", pages.PAPER),
        ("top", "packed"): top,
        ("top", pages.PAPER): run("top", "generic", pages.PAPER),
    }
    keys = ("transistors", "logic_transistors", "ram_transistors")
    on_ecp5 = ("luts", "flip_flops", "distributed_ram", "block_ram")
    sizes = ("transistors", "flip_flops", "ram_bits")
    return {
        "arch": pe["arch"],
        "tools": pe["tools"],
        "fifo_depth": PACKED.fifo_depth,
        "slots": PACKED.slots,
        "chunk_blocks": PACKED.chunk_blocks,
        "pe": list(_blocks(pe, keys)),
        "pe_ecp5": list(_blocks(ecp5, on_ecp5)),
        "fifo": fifo_costs(fifos, top),
        "presets": [
            {"part": part, "preset": name, "ltp": result["ltp"]}
            | {key: result["resources"][key] for key in sizes}
            for (part, name), result in presets.items()
        ],
        "pes": list(_scaling(run)),
    }


def _arch(field: str, value: int) -> str:
    """`packed` with another value; the preset's own value is no change."""
    return "packed" if getattr(PACKED, field) == value else f"packed,{field}={value}"


def _blocks(result: Data, keys: tuple[str, ...]) -> Iterator[Data]:
    """The blocks directly in a part, what it holds itself, and the whole."""
    whole = result["blocks"]
    own, everything = {"name": "own", "resources": whole["own"]}, {**whole, "name": "all"}
    for block in (*whole["blocks"], own, everything):
        yield {"block": block["name"]} | {key: block["resources"][key] for key in keys}


def find(block: Data, *names: str) -> Data:
    """The block inside `block` at a path of names; of one instance, whose number is `count`."""
    for name in names:
        inner = [candidate for candidate in block["blocks"] if candidate["name"] == name]
        if len(inner) != 1:
            raise EvenspikeError(f"area study: {block['name']} has no block {name!r}")
        block = inner[0]
    return block


def _transistors(block: Data, *names: str) -> int:
    return int(find(block, *names)["resources"]["transistors"])


def fifo_costs(fifos: Mapping[int, Data], top: Data) -> list[Data]:
    """The PE and its FIFO by depth; depth 0 is the PE of the least depth without the FIFO's block.

    share: FIFO / PE. extra: FIFO / PE without it. chip: all FIFOs / accelerator without them.
    """
    rows: list[tuple[int, int, int]] = []
    for depth, result in sorted(fifos.items()):
        pe, fifo = _transistors(result["blocks"]), _transistors(result["blocks"], "fifo")
        if not rows:
            rows.append((0, pe - fifo, 0))
        rows.append((depth, pe, fifo))
    blocks = top["blocks"]
    pes = find(blocks, "array", "pe")["count"]
    without = _transistors(blocks) - pes * _transistors(blocks, "array", "pe", "fifo")
    return [
        {"depth": depth, "pe": pe, "fifo": fifo}
        | {"share": fifo / pe, "extra": fifo / (pe - fifo), "chip": pes * fifo / without}
        for depth, pe, fifo in rows
    ]


def _scaling(run: Synthesis) -> Iterator[Data]:
    """The accelerator with each number of PEs.

    same_neurons: a spike memory with as many entries x PEs as the preset's.
    """
    for n in PES:
        result = run("top", "generic", _arch("pes", n))
        entries = PACKED.spike_entries * PACKED.pes // n
        same = run("spikes", "generic", f"packed,pes={n},spike_entries={entries}")
        blocks, names = result["blocks"], ("apu", "spikes")
        top, pe = _transistors(blocks), _transistors(blocks, "array", "pe")
        others = {name: _transistors(blocks, name) for name in names}
        yield {
            "pes": n,
            "top": top,
            "per_pe": top / n,
            "one_pe": pe,
            "in_pe": {
                block["block"]: block["transistors"]
                for block in _blocks({"blocks": find(blocks, "array", "pe")}, ("transistors",))
                if block["block"] != "all"
            },
            **others,
            "rest": top - n * pe - sum(others.values()),
            "same_neurons": _transistors(same["blocks"]),
            "ltp": result["ltp"],
        }
