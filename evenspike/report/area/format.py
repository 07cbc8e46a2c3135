"""How the views of a synthesis write its numbers and names: one way everywhere.

All are functions of the JSON that `evenspike_hw.synthesis.synthesize` returns, and of nothing else.
Its resources are those of one instance; a share counts all of them.
"""
# ruff: noqa: RUF001  (a report is typeset: it has multiplication signs)

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evenspike.report import format as fmt
from evenspike.report.area import treemap
from evenspike_core.arch import Arch

Synthesis = Mapping[str, Any]
"""What a synthesis found, as JSON."""

COLUMNS = {
    "cells": ("cells", "all cells, except for buffers and constants, which are wires"),
    "gates": ("gates", "static CMOS gates of one to four inputs"),
    "luts": ("LUTs", "lookup tables, of up to six inputs on xilinx and up to four elsewhere"),
    "muxes": ("muxes", "multiplexers that join lookup tables into wider functions"),
    "inverters": ("inverters", "inverters that no lookup table has taken in"),
    "carry": ("carry", "cells of the carry chains"),
    "flip_flops": ("flip-flops", "registers of one bit"),
    "block_ram": ("block RAM", "blocks of RAM, halves too where the target has them"),
    "distributed_ram": ("distributed RAM", "cells of RAM and of shift registers, made of LUTs"),
    "dsp": ("DSP", "multiplier blocks"),
    "area_um2": ("area in µm²", "of the cells, as the Liberty file says; RAM has none there"),
    "ram_bits": ("RAM bits", "depth × width of the memories, as the RTL declares them"),
    "logic_transistors": (
        "logic transistors",
        "of the gates and flip-flops in static CMOS, by Yosys: NOT 2, NAND 4, XOR 12, flip-flop 16",
    ),
    "ram_transistors": (
        "RAM transistors",
        "6 for each RAM bit, and 2 more for each port beyond the first",
    ),
    "transistors": ("transistors", "logic transistors + RAM transistors"),
    "gate_equivalents": (
        "gate equivalents",
        "transistors / 4, as many as a NAND of two inputs has",
    ),
}
"""Resource -> its title and what it is."""

AREA = ("area_um2", "transistors", "luts")
"""The resource that stands for area is the first of these that a result has."""

OWN_TEXT = "what a block holds beside its inner blocks"
LONGEST_PATH = "cells one after the other between two registers, by number and not by delay"
NOT_COUNTED = {
    "transistors": "decoders and sense amplifiers of RAM, wires, the clock tree, pads",
    "area_um2": "RAM, wires, the clock tree, pads",
    "luts": "wires and pads; in no share: RAM, carry chains, multiplexers, DSP, flip-flops",
}
"""Area -> what it leaves out."""

SAME_BLOCKS = "Of blocks that are the same, one stands for all."
BECAME = {
    "memory": "a memory, not mapped",
    "registers": "registers, since it is shallow",
    "flip-flops": "⚠ flip-flops",
    "?": "⚠ not known",
}
MEMORY_HEAD = ("memory", "depth", "width", "bits", "ports", "has become")
KIND_HEAD = ("kind", "steps", "ns", "share")
STEP_HEAD = ("step", "kind", "ns", "ns so far", "to")
USED_HEAD = ("cells of the device", "used", "of", "share")


@dataclass(frozen=True)
class BlockRow:
    """A line of the table of blocks.

    resources: of one. share: of all in the area of the part, None where that is 0.
    kind: "whole" for the part, "block", or "own" for what the block around it holds itself.
    """

    depth: int
    name: str
    resources: Mapping[str, float]
    share: float | None
    kind: str


def name(result: Synthesis) -> str:
    """The name of the report's files, without their endings."""
    return f"{result['part']}-{result['target']}"


def title(resource: str) -> str:
    return COLUMNS[resource][0]


def measure(result: Synthesis) -> str:
    """The resource that stands for area."""
    return next(resource for resource in AREA if resource in result["resources"])


def unit(result: Synthesis) -> str:
    """The unit in which the area is counted."""
    return "µm²" if measure(result) == "area_um2" else title(measure(result))


def rows(result: Synthesis) -> list[BlockRow]:
    """The blocks, each before its inner ones, and after these what it holds itself."""
    area = measure(result)
    total = result["resources"][area]

    def walk(block: treemap.Block, times: int, depth: int) -> Iterator[BlockRow]:
        def row(deeper: int, name: str, resources: Mapping[str, float], kind: str) -> BlockRow:
            of_all = times * resources[area] / total if total else None
            return BlockRow(depth + deeper, name, resources, of_all, kind)

        yield row(0, treemap.label(block), block["resources"], "block" if depth else "whole")
        for inner in block["blocks"]:
            yield from walk(inner, times * inner["count"], depth + 1)
        if block["blocks"]:
            yield row(1, treemap.OWN, block["own"], "own")

    return list(walk(result["blocks"], 1, 0))


def head(result: Synthesis) -> list[str]:
    """Titles of the table of blocks."""
    return ["block", *map(title, result["resources"]), "share"]


def numbers(row: BlockRow, resources: Iterable[str]) -> list[str]:
    """The cells of a block: these resources, exactly, and the share, which is mostly below 1 %."""
    return [*(f"{row.resources[key]:,}" for key in resources), fmt.percent(row.share, 2)]


def note(result: Synthesis) -> str:
    """The sentences that say how to read the table of blocks."""
    return (
        "Columns: of one instance, with all that is in it. Share: of all instances together, in "
        f"the part's {unit(result)}. Own: {OWN_TEXT}."
    )


def headline(result: Synthesis) -> list[tuple[str, str, str]]:
    """(name, value, explanation) of the figures that a reader looks for first."""
    area, found = measure(result), result["resources"]
    if area == "transistors":
        beside = f"{found['gate_equivalents']:,} gate equivalents"
        part = found["ram_transistors"] / (found["transistors"] or 1)
        ram, of_ram = "ram_bits", f"{fmt.percent(part)} of the transistors"
    elif area == "luts":
        beside, ram = f"of {found['cells']:,} cells", "block_ram"
        small = found.get("distributed_ram")
        of_ram = "" if small is None else f"and {small:,} cells of distributed RAM"
    else:
        beside = f"{found['cells']:,} cells of {result['liberty']}"
        ram, of_ram = "ram_bits", "not in the area"
    entries = [(title(area), f"{found[area]:,}", beside)]
    if "flip_flops" in found:
        entries.append(("Registers", f"{found['flip_flops']:,}", "flip-flops, one bit each"))
    entries.append((title(ram), f"{found[ram]:,}", of_ram))
    entries.append(("Longest path", f"{result['ltp']:,}", "cells between two registers"))
    if result["fmax_mhz"] is not None:
        entries.append(("Clock", f"{result['fmax_mhz']:,} MHz", result["fmax_by"]))
    return [(name[0].upper() + name[1:], value, note) for name, value, note in entries]


def verdict(result: Synthesis) -> tuple[str, str, str] | None:
    """A judgement of the memories, ("good" or "bad", what, which); None where none is mapped."""
    for mapped, text in (
        ("flip-flops", "became flip-flops"),
        ("?", "became nothing that is known"),
    ):
        found = [memory for memory in result["memories"] if memory["mapped"] == mapped]
        if found:
            which = "; ".join(f"{m['name']}, {m['depth']} × {m['width']} bits" for m in found)
            number = "1 memory" if len(found) == 1 else f"{len(found)} memories"
            return "bad", f"{number} {text}:", which
    if not result["memories"] or any(m["mapped"] == "memory" for m in result["memories"]):
        return None
    shallow = [m["name"] for m in result["memories"] if m["mapped"] == "registers"]
    if shallow:
        return (
            "good",
            "Every memory is in RAM but those shallow enough for registers:",
            "; ".join(shallow),
        )
    return "good", "Every memory is in RAM.", ""


def timed(result: Synthesis) -> bool:
    """Whether placement has found a path from register to register, and so a clock."""
    return "routed" in result and result["fmax_mhz"] is not None


def memories(result: Synthesis) -> list[list[str]]:
    """Lines of the table of memories."""
    return [
        [
            memory["name"],
            f"{memory['depth']:,}",
            f"{memory['width']:,}",
            f"{memory['depth'] * memory['width']:,}",
            memory["ports"],
            BECAME.get(memory["mapped"], memory["mapped"]),
        ]
        for memory in result["memories"]
    ]


def by_kind(steps: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, float]]:
    """The number of steps of each kind in a path, and their nanoseconds; the longest kind first."""
    found: dict[str, tuple[int, float]] = {}
    for step in steps:
        number, ns = found.get(step["kind"], (0, 0.0))
        found[step["kind"]] = number + 1, ns + step["ns"]
    return dict(sorted(found.items(), key=lambda item: -item[1][1]))


def kinds(result: Synthesis) -> list[list[str]]:
    """The lines that say where the nanoseconds of the critical path go, and their sum."""
    found = by_kind(result["routed"]["critical_path"])
    total = sum(ns for _, ns in found.values())
    found["total"] = sum(number for number, _ in found.values()), total
    return [
        [kind, str(number), f"{ns:.3f}", fmt.percent(ns / (total or 1.0))]
        for kind, (number, ns) in found.items()
    ]


def steps(result: Synthesis) -> list[list[str]]:
    """The steps of the critical path, with the time at the end of each; the last text is a name."""
    lines, so_far = [], 0.0
    for number, step in enumerate(result["routed"]["critical_path"], 1):
        so_far += step["ns"]
        to = ", net ".join(filter(None, (step["to"], step["net"])))
        lines.append([str(number), step["kind"], f"{step['ns']:.3f}", f"{so_far:.3f}", to])
    return lines


def used(result: Synthesis) -> list[list[str]]:
    """The lines that say what the placement takes of the device."""
    return [
        [cell, f"{n['used']:,}", f"{n['available']:,}", fmt.percent(n["used"] / n["available"])]
        for cell, n in result["routed"]["utilization"].items()
    ]


def command(result: Synthesis) -> str:
    """The command that makes the same result."""
    settings = {"PART": result["part"], "TARGET": result["target"]}
    if result["arch"]["preset"] != Arch().preset:
        settings["ARCH"] = result["arch"]["preset"]
    if "liberty" in result:
        settings["LIBERTY"] = result["liberty"]
    return " ".join(["make synth", *(f"{k}={shlex.quote(v)}" for k, v in settings.items())])


def made(result: Synthesis) -> dict[str, Any]:
    """The entries of the JSON that say from what, and with what, the result was made."""
    keys = ("part", "target", "liberty", "arch", "tools", "digest", "seconds")
    return {key: result[key] for key in keys if key in result}


def definitions(result: Synthesis) -> dict[str, str]:
    """What every column of this target means, and what none of them counts."""
    columns = {title(key): COLUMNS[key][1] for key in result["resources"]}
    left_out = NOT_COUNTED[measure(result)]
    return columns | {"longest path": LONGEST_PATH, "not counted": left_out}
