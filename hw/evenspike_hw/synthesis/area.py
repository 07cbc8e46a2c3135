"""Area: what each block of a synthesised part takes, out of Yosys' counts of cells."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from evenspike_hw.synthesis.netlist import DeclaredMemory, Netlist, path
from evenspike_hw.synthesis.targets import GATE, MEMORY, PORT, RAM_CELL, TRANSISTORS, Target

Block = dict[str, Any]
"""A node of the tree of blocks.

name: of the instance, or of several that are the same. count: how many of them there are in the
block above. resources: of one, with all that is in it. own: of one, without the blocks in it.
blocks: those.
"""

Count = Callable[[str, Counter[str]], dict[str, float]]
"""Resources of a module out of its path and the cells that it holds itself."""


def fpga(target: Target) -> Count:
    """Counts the cells of each kind of the target."""

    def count(_: str, cells: Counter[str]) -> dict[str, float]:
        found = dict.fromkeys(("cells", *target.kinds), 0.0)
        for cell, number in cells.items():
            kind = target.kind(cell)
            if kind is not None:
                found["cells"] += number
                found[kind] += number
        return found

    return count


def gates(netlist: Netlist, target: Target) -> Count:
    """Counts gates, flip-flops and RAM bits, and the transistors that they are made of.

    A RAM is counted as it was declared: Yosys would count registers behind its ports, too.
    """
    memories = _by_block(netlist)

    def count(module: str, cells: Counter[str]) -> dict[str, float]:
        kinds = fpga(target)(module, cells)
        kinds["cells"] += cells[MEMORY]
        logic = sum(TRANSISTORS.get(cell, 0) * number for cell, number in cells.items())
        held = memories.get(module, ())
        ram = sum(m.bits * (RAM_CELL + PORT * (m.reads + m.writes - 1)) for m in held)
        return kinds | {
            "ram_bits": sum(m.bits for m in held),
            "logic_transistors": logic,
            "ram_transistors": ram,
            "transistors": logic + ram,
            "gate_equivalents": (logic + ram) / GATE,
        }

    return count


def standard_cells(netlist: Netlist, areas: Mapping[str, float]) -> Count:
    """Counts the cells of a Liberty file and their area, and RAM bits, which have none there."""
    memories = _by_block(netlist)

    def count(module: str, cells: Counter[str]) -> dict[str, float]:
        mapped = {cell: number for cell, number in cells.items() if cell in areas}
        return {
            "cells": sum(mapped.values()),
            "area_um2": sum(areas[cell] * number for cell, number in mapped.items()),
            "ram_bits": sum(m.bits for m in memories.get(module, ())),
        }

    return count


def _by_block(netlist: Netlist) -> dict[str, list[DeclaredMemory]]:
    found: dict[str, list[DeclaredMemory]] = {}
    for memory in netlist.memories:
        found.setdefault(memory.block, []).append(memory)
    return found


def tree(statistics: Mapping[str, Any], netlist: Netlist, count: Count) -> Block:
    """Builds the tree of blocks out of what `stat -hierarchy -json` wrote."""
    modules = {name.removeprefix("\\"): module for name, module in statistics["modules"].items()}
    instances = netlist.instances
    done: dict[str, Block] = {}

    def block(module: str) -> Block:
        if module in done:
            return done[module]
        cells = _local(modules[module]["num_cells_by_type"])
        own = count(path(module), cells)
        blocks = []
        for kind, names in instances.get(module, {}).items():
            if kind in modules:
                blocks.append(block(kind) | {"name": _common(names), "count": len(names)})
        blocks.sort(key=lambda inner: inner["name"])
        total = {
            key: value + sum(inner["count"] * inner["resources"][key] for inner in blocks)
            for key, value in own.items()
        }
        done[module] = {
            "name": path(module).rpartition(".")[2],
            "count": 1,
            "resources": {key: _plain(value) for key, value in total.items()},
            "own": {key: _plain(value) for key, value in own.items()},
            "blocks": blocks,
        }
        return done[module]

    return block(netlist.top)


def _local(cells: Mapping[str, Mapping[str, str]]) -> Counter[str]:
    return Counter(
        {name.removeprefix("\\"): int(counts["local_count"]) for name, counts in cells.items()}
    )


def cell_areas(statistics: Mapping[str, Any]) -> dict[str, float]:
    """Returns the area of each type of cell in use, in the file's unit; 0 where it says none."""
    found = {}
    for name, counts in statistics["design"]["num_cells_by_type"].items():
        number, area = int(counts["count"]), float(counts["area"])
        if number and not name.startswith("$mem"):
            found[name.removeprefix("\\")] = area / number
    return found


def _common(names: list[str]) -> str:
    """Returns a name for modules that were merged: pe for pe0 and pe1, else both names."""
    stems = {re.sub(r"\d+$", "", name) for name in names}
    return names[0] if len(names) == 1 else " and ".join(sorted(stems))


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else round(value, 3)
