"""The pictures of a report: SVG written by hand, so that a page needs nothing but itself.

Every picture is a function of the report's JSON, and a figure is one or two of them side by side.
Numbers stand beside their bars and in `<title>`, so a picture can be read exactly.
"""
# ruff: noqa: RUF001  (a report is typeset: it has multiplication signs and dashes)

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from evenspike.report import format as fmt
from evenspike.report.schema import Content
from evenspike.report.style import SHADES
from evenspike.report.svg import (
    BOTTOM,
    ROW,
    TOP,
    WIDTH,
    Bar,
    Svg,
    bar_chart,
    gutter,
    write_names,
)
from evenspike.report.ticks import ENERGIES, SHARES, labels, ticks
from evenspike_core.counters import STATES

ENERGY_GROUPS = {
    "logic": ("and_gate", "accumulate", "lif_step", "match", "select", "unpack"),
    "PE memories": (
        *("lane_push", "lane_pop"),
        "accumulator_read",
        "accumulator_write",
        "scratchpad_read",
        "scratchpad_write",
        "header_read",
        "table_read",
        "table_write",
    ),
    "activations": (
        *("filter", "fifo_push", "fifo_pop", "queue_push", "queue_pop"),
        *("spike_read", "spike_write"),
    ),
    "off-chip memory": ("memory_word",),
    "leakage and clock": (
        *("leakage_cycle", "shared_leakage_cycle", "clock_cycle", "shared_clock_cycle"),
    ),
}
OTHER_GROUP = "other"
PALEST = len(SHADES) - 1

SPREAD_SHOWN = 0.95
"""Share of the busy cycles whose layers the spread is drawn to fit; of the small layers with a
wider spread, what is farther off is drawn at the edge."""


def cycles(report: Content) -> list[str]:
    """Cycles of each layer, and its utilization."""
    counts, shares = [], []
    for layer in report["layers"]:
        number, used = fmt.count(layer["cycles"]), fmt.percent(layer["utilization"])
        counts.append(Bar(layer["name"], layer["cycles"], number, f"{layer['name']}: {number}"))
        tip = f"{layer['name']}: {used} of the PE-cycles are busy"
        shares.append(Bar(layer["name"], layer["utilization"], used, tip, "busy"))
    return [bar_chart("Cycles", counts), bar_chart("Utilization", shares, SHARES, 1.0)]


def states(report: Content) -> str:
    """Where every PE-cycle went: 100 % bars by layer and for the whole run."""
    rows = [*report["layers"], {"name": "all layers", **report["totals"]}]
    names = [row["name"] for row in rows]
    top, left = 8, gutter(names)
    length = WIDTH - left - 8
    svg = Svg("Where every PE-cycle went, by layer", top + len(rows) * ROW + 12)
    last = top + (len(rows) - 1) * ROW + 8
    write_names(svg, names[:-1], left, top)
    write_names(svg, names[-1:], left, last)
    for index, row in enumerate(rows):
        y = last if index == len(rows) - 1 else top + index * ROW
        x = left
        for state, share in fmt.shares(row).items():
            width, text = share * length, fmt.percent(share)
            title = f"{row['name']}: {state} {text}, {fmt.count(row[state])} PE-cycles"
            svg.rect(x, y + 3, width, ROW - 6, f"{state} seam", title)
            if width >= 48:
                svg.text(x + width / 2, y + ROW / 2 + 4, text, f"on-{state}", "middle")
            x += width
    svg.line(0, last - 4, WIDTH, last - 4)
    return str(svg)


def deviations(layer: Mapping[str, Any]) -> list[float]:
    """How far the busy cycles of each PE are from the mean over the PEs, as a share of it.

    Nothing for a layer without a busy cycle.
    """
    busy = layer["per_pe"]["busy"]
    mean = statistics.fmean(busy)
    return [cycles / mean - 1 for cycles in busy] if mean else []


def spread(report: Content) -> str:
    """The PEs of each layer beside each other: a mark a PE, by its busy cycles over the mean."""
    layers = report["layers"]
    names, found = [layer["name"] for layer in layers], [deviations(layer) for layer in layers]
    reach = _reach(layers)
    left, bottom, text_at = gutter(names), TOP + len(layers) * ROW, WIDTH - 132
    length = text_at - 14 - left

    def place(deviation: float) -> float:
        return left + length * (0.5 + max(-reach, min(reach, deviation)) / (2 * reach))

    svg = Svg("Spread of the PEs by layer", bottom + BOTTOM)
    write_names(svg, names, left, TOP)
    svg.text(left, TOP - 12, "Busy cycles of each PE, % from the mean", "panel")
    places = ticks(-reach, reach)
    for value, text in zip(places, labels(places, SHARES)[0], strict=True):
        svg.line(place(value), TOP - 2, place(value), bottom + 2, "grid" if value else "axis")
        svg.text(place(value), bottom + 17, text.replace("-", "−"), "tick", "middle")
    for row, (name, each) in enumerate(zip(names, found, strict=True)):
        middle = TOP + row * ROW + ROW / 2
        if not each:
            svg.text(text_at, middle + 4, "no work", "value")
            continue
        svg.line(place(min(each)), middle, place(max(each)), middle, "mean")
        for pe, one in enumerate(each):
            tip = f"{name}, PE {pe}: {fmt.signed(one)} of the mean busy cycles"
            svg.rect(place(one) - 1.5, middle - 7, 3, 14, "pe", tip)
        text = f"{fmt.signed(min(each)).removesuffix(' %')} … {fmt.signed(max(each))}"
        svg.text(text_at, middle + 4, text, "value")
    return str(svg)


def _reach(layers: Sequence[Mapping[str, Any]]) -> float:
    """The deviation at the edges of the spread: the least that shows `SPREAD_SHOWN` as it is."""
    widest = sorted((max(map(abs, deviations(n)), default=0.0), n["busy"]) for n in layers)
    shown, wanted = 0.0, SPREAD_SHOWN * sum(busy for _, busy in widest)
    for deviation, busy in widest:
        shown += busy
        if shown >= wanted:
            return max(0.01, 1.05 * deviation)
    return 0.01


def heat(report: Content) -> str:
    """Busy share of each PE (columns) in each layer (rows)."""
    layers, top = report["layers"], TOP
    pes = len(layers[0]["per_pe"]["busy"])
    names = [layer["name"] for layer in layers]
    left = gutter(names)
    cell = (WIDTH - left - 8) / pes
    svg = Svg("Busy share by PE and layer", top + len(layers) * ROW + BOTTOM)
    write_names(svg, names, left, top)
    svg.text(left, top - 12, "Busy cycles of each PE, % of the layer's", "panel")
    every = max(1, math.ceil(pes / 16))
    for pe in range(0, pes, every):
        x = left + (pe + 0.5) * cell
        svg.text(x, top + len(layers) * ROW + 17, str(pe), "tick", "middle")
    for row, layer in enumerate(layers):
        for pe, busy in enumerate(layer["per_pe"]["busy"]):
            share = busy / layer["cycles"] if layer["cycles"] else 0.0
            x, y = left + pe * cell, top + row * ROW
            cycles_of = [f"{state} {fmt.count(layer['per_pe'][state][pe])}" for state in STATES]
            title = f"{layer['name']}, PE {pe}, cycles: {', '.join(cycles_of)}"
            svg.rect(x, y, cell, ROW, "seam cell")
            svg.rect(x, y, cell, ROW, "busy seam", title, fill_opacity=f"{share:.3f}")
            if cell >= 22:
                style = "on-busy" if share > 0.55 else "value"
                svg.text(x + cell / 2, y + ROW / 2 + 4, f"{100 * share:.0f}", style, "middle")
    return str(svg)


def energy_groups(report: Content) -> dict[str, float]:
    """Energy of each group of actions in pJ, largest first; every action is in exactly one."""
    groups = dict.fromkeys([*ENERGY_GROUPS, OTHER_GROUP], 0.0)
    for name, action in report["energy"]["by_action"].items():
        group = next((g for g, names in ENERGY_GROUPS.items() if name in names), OTHER_GROUP)
        groups[group] += action["pj"]
    largest_first = sorted(groups.items(), key=lambda item: -item[1])
    return {name: pj for name, pj in largest_first if pj > 0}


def energy(report: Content) -> list[str]:
    """Energy by group, and by action; the largest is on top and, of the groups, the darkest."""
    total = report["energy"]["total_pj"] or 1.0
    by_action: dict[str, dict[str, Any]] = report["energy"]["by_action"]
    actions = sorted(by_action.items(), key=lambda item: (-item[1]["pj"], item[0]))

    def text(pj: float) -> str:
        return f"{fmt.energy(pj, total)} · {fmt.percent(pj / total)}"

    groups = [
        Bar(group, pj, text(pj), f"{group}: {fmt.energy(pj)}", f"shade{min(shade, PALEST)}")
        for shade, (group, pj) in enumerate(energy_groups(report).items())
    ]
    each = [
        Bar(
            fmt.action(name),
            action["pj"],
            text(action["pj"]),
            f"{name}: {fmt.count(action['count'])} × {action['pj_each']:.4g} {action['unit']}",
        )
        for name, action in actions
    ]
    return [
        bar_chart("Energy by group", groups, ENERGIES, 1e-12),
        bar_chart("Energy by action", each, ENERGIES, 1e-12),
    ]


def spikes(report: Content) -> list[str]:
    """Spikes into and out of each layer, and its firing rate."""
    timesteps = report["compared"]["timesteps"]
    counts, rates = [], []
    for layer in report["layers"]:
        name, inside, outside = layer["name"], layer["spikes_in"], layer["spikes_out"]
        text = f"{fmt.count(inside)} → {fmt.count(outside)}"
        tip = f"{name}: {text} spikes"
        counts.append(Bar(name, inside, text, tip, "hollow", (outside, "ink")))
        rate = fmt.firing_rate(layer, timesteps)
        tip = f"{name}: firing rate {fmt.percent(rate, 2)}"
        rates.append(Bar(name, rate or 0.0, fmt.percent(rate), tip))
    return [bar_chart("Spikes in and out", counts), bar_chart("Firing rate", rates, SHARES, 0.01)]
