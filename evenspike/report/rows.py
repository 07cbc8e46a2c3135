"""The rows of a report's table: one a layer and a total, as text, the same in every view.

A row has four groups of cells, each with its total: the mapping (`PLACE`), the time (`TIME`), the
traffic (`TRAFFIC`) and, where there is room, the work and what it costs (`COST`). A table of
its own says how evenly the PEs work, and what the cycles are to be measured by (`BALANCE`).
"""
# ruff: noqa: RUF001  (a report is typeset: it has multiplication signs and dashes)

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from evenspike.report import format as fmt
from evenspike.report.schema import Content
from evenspike_core.counters import STATES

PLACE = ("shape", "tile", "F", "passes", "chunks")
TIME = ("cycles", "util.", *STATES[1:])
TRAFFIC = ("words", "spikes in", "spikes out")
COST = ("accumulations", "density", "energy")
BALANCE = (
    "least busy PE",
    "busiest PE",
    "over the mean",
    "matched",
    "bound",
    "dense",
    "over dense",
)
HEAD = ("layer", *PLACE, *TIME, *TRAFFIC, *COST)

NOTE = "util. = busy share of the PE-cycles; with the four shares beside it, it makes 100 %."


def place(values: Mapping[str, Any]) -> list[str]:
    """Cells of `PLACE`; the shape is `channels→filters kernel/stride @map before pooling`, and
    behind a plus the further inputs of a layer that has some. An input without a convolution has
    its coding instead, and no input a mapping.
    """
    s, tile = values["shape"], values["tile"]
    what = s.get("coding")
    if s["kernel"] is not None:
        stride = f"/{s['stride']}" if s["stride"] != 1 else ""
        what = f"{s['kernel']}×{s['kernel']}{stride}"
    shape = f"{s['channels']}→{s['filters']} {what} @{s['height']}×{s['width']}"
    if "shortcut" in s:
        shape += f" + {s['shortcut']}"
    if "coding" in s:
        return [shape, *[fmt.DASH] * (len(PLACE) - 1)]
    counts = [fmt.count(values[key]) for key in ("filters_per_pass", "passes", "chunks")]
    return [shape, f"{tile[0]}×{tile[1]}", *counts]


def time(row: Mapping[str, Any]) -> list[str]:
    """Cells of `TIME`, of a layer or of the totals."""
    return [fmt.count(row["cycles"]), *map(fmt.percent, fmt.shares(row).values())]


def traffic(values: Mapping[str, Any]) -> list[str]:
    """Cells of `TRAFFIC`."""
    return [fmt.count(values[key]) for key in ("words_loaded", "spikes_in", "spikes_out")]


def total_place() -> list[str]:
    """Empty cells, since a mapping has no total."""
    return [""] * len(PLACE)


def total_traffic(report: Content) -> list[str]:
    """The words; a layer's spikes out are another's spikes in, so they have no total."""
    return [fmt.count(report["totals"]["words_loaded"]), "", ""]


def cost(report: Content, values: Mapping[str, Any]) -> list[str]:
    """Cells of `COST`; all energies have the unit of their sum."""
    density = fmt.percent(values["density"])
    energy = fmt.energy(values["energy_pj"], report["totals"]["energy_pj"])
    return [fmt.count(values["accumulations"]), density, energy]


def total_cost(report: Content) -> list[str]:
    """The sums over the layers, and the density of the whole network."""
    return cost(report, {**report["totals"], "density": 1 - report["program"]["sparsity"]})


def balance(values: Mapping[str, Any]) -> list[str]:
    """Cells of `BALANCE`, of a layer."""
    busy = values["per_pe"]["busy"]
    mean = statistics.fmean(busy)
    over = max(busy) / mean - 1 if mean else None
    return _balance(values, fmt.count(min(busy)), fmt.count(max(busy)), over)


def total_balance(report: Content) -> list[str]:
    """The sums over the layers; the least busy and the busiest PE are another in each of them."""
    return _balance(report["totals"], "", "", fmt.balance(report))


def _balance(values: Mapping[str, Any], least: str, most: str, over: float | None) -> list[str]:
    cycles = values["cycles"]
    return [
        least,
        most,
        fmt.DASH if over is None else fmt.signed(over),
        fmt.count(values["matched"]),
        fmt.count(values["bound_cycles"]),
        fmt.count(values["dense_cycles"]),
        fmt.factor(values["dense_cycles"] / cycles) if cycles else fmt.DASH,
    ]


def layer(report: Content, values: Mapping[str, Any]) -> list[str]:
    """All cells of a layer, as in `HEAD`."""
    middle = [*place(values), *time(values), *traffic(values)]
    return [values["name"], *middle, *cost(report, values)]


def total(report: Content) -> list[str]:
    """All cells of the total, as in `HEAD`."""
    middle = [*total_place(), *time(report["totals"])]
    return ["total", *middle, *total_traffic(report), *total_cost(report)]
