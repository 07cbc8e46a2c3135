"""The rows of a report's table: one a layer and a total, as text, the same in every view.

A row has four groups of cells, each with its total: the mapping (`PLACE`), the time (`TIME`), the
traffic (`TRAFFIC`) and, where there is room, the work and what it costs (`COST`).
"""
# ruff: noqa: RUF001  (a report is typeset: it has multiplication signs and dashes)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evenspike.report import format as fmt
from evenspike.report.schema import Report
from evenspike_core.counters import STATES

PLACE = ("shape", "tile", "F", "passes", "chunks")
TIME = ("cycles", "util.", *STATES[1:])
TRAFFIC = ("words", "spikes in", "spikes out")
COST = ("accumulations", "density", "energy")
HEAD = ("layer", *PLACE, *TIME, *TRAFFIC, *COST)

NOTE = "util. = busy share of the PE-cycles; with the four shares beside it, it makes 100 %."


def place(values: Mapping[str, Any]) -> list[str]:
    """Cells of `PLACE`; the shape is `channels→filters kernel/stride @map before pooling`, and
    behind a plus the shortcut of a residual layer.
    """
    s, tile = values["shape"], values["tile"]
    stride = f"/{s['stride']}" if s["stride"] != 1 else ""
    shape = (
        f"{s['channels']}→{s['filters']} {s['kernel']}×{s['kernel']}{stride} "
        f"@{s['height']}×{s['width']}"
    )
    if "shortcut" in s:
        shape += f" + {s['shortcut']}"
    counts = [fmt.count(values[key]) for key in ("filters_per_pass", "passes", "chunks")]
    return [shape, f"{tile[0]}×{tile[1]}", *counts]


def time(row: Mapping[str, Any]) -> list[str]:
    """Cells of `TIME`, of a layer or of the totals."""
    return [fmt.count(row["cycles"]), *map(fmt.percent, fmt.shares(row).values())]


def traffic(values: Mapping[str, Any]) -> list[str]:
    """Cells of `TRAFFIC`."""
    return [fmt.count(values[key]) for key in ("words_loaded", "spikes_in", "spikes_out")]


def total_place() -> list[str]:
    """Nothing: a mapping has no total."""
    return [""] * len(PLACE)


def total_traffic(report: Report) -> list[str]:
    """The words; a layer's spikes out are another's spikes in, so they have no total."""
    return [fmt.count(report["totals"]["words_loaded"]), "", ""]


def cost(values: Mapping[str, Any]) -> list[str]:
    """Cells of `COST`."""
    density, energy = fmt.percent(values["density"]), fmt.energy(values["energy_pj"])
    return [fmt.count(values["accumulations"]), density, energy]


def total_cost(report: Report) -> list[str]:
    """The sums over the layers, and the density of the whole network."""
    totals, density = report["totals"], 1 - report["program"]["sparsity"]
    added, energy = fmt.count(totals["accumulations"]), fmt.energy(totals["energy_pj"])
    return [added, fmt.percent(density), energy]


def layer(values: Mapping[str, Any]) -> list[str]:
    """All cells of a layer, as in `HEAD`."""
    return [values["name"], *place(values), *time(values), *traffic(values), *cost(values)]


def total(report: Report) -> list[str]:
    """All cells of the total, as in `HEAD`."""
    middle = [*total_place(), *time(report["totals"])]
    return ["total", *middle, *total_traffic(report), *total_cost(report)]
