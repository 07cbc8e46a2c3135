"""The pictures of a report: SVG written by hand, so that a page needs nothing but itself.

Every picture is a function of the report's JSON. Numbers stand beside their bars and in `<title>`,
so a picture can be read exactly.
"""
# ruff: noqa: RUF001  (a report is typeset: it has multiplication signs and dashes)

from __future__ import annotations

import math
from typing import Any

from evenspike.report import format as fmt
from evenspike.report.schema import Report
from evenspike.report.svg import ROW, WIDTH, Scale, Svg, axis, bar, gutter, names
from evenspike_core.counters import STATES

ENERGY_GROUPS = {
    "arithmetic": ("and_gate", "accumulate", "lif_step"),
    "PE memories": (
        "accumulator_read",
        "accumulator_write",
        "scratchpad_read",
        "scratchpad_write",
        "header_read",
        "table_read",
        "table_write",
    ),
    "activations": ("fifo_push", "fifo_pop", "spike_read", "spike_write"),
    "off-chip memory": ("memory_word",),
    "leakage": ("leakage_cycle",),
}
OTHER_GROUP = "other"


def cycles(report: Report) -> str:
    """Cycles of each layer (left) and its utilization (right)."""
    layers, top = report["layers"], 36
    labels = [layer["name"] for layer in layers]
    left = gutter(labels)
    scale = Scale.over([layer["cycles"] for layer in layers], 560 - left)
    share = Scale(1.0, 190)
    svg = Svg("Cycles and utilization by layer", top + len(layers) * ROW + 26)
    names(svg, labels, left, top)
    axis(svg, left, top, len(layers), scale, f"Cycles, {scale.name}", fmt.short)
    right = 680
    axis(svg, right, top, len(layers), share, "Utilization", lambda v: f"{100 * v:.0f} %")
    for row, layer in enumerate(layers):
        y = top + row * ROW
        number, used = fmt.count(layer["cycles"]), layer["utilization"]
        title = f"{layer['name']}: {number} cycles"
        bar(svg, left, y, scale(layer["cycles"]), "ink", title, number)
        title = f"{layer['name']}: {fmt.percent(used)} of the PE-cycles are busy"
        bar(svg, right, y, share(used), "busy", title, fmt.percent(used))
    return str(svg)


def states(report: Report) -> str:
    """Where every PE-cycle went: 100 % bars by layer and for the whole run."""
    rows = [*report["layers"], {"name": "all layers", **report["totals"]}]
    labels = [row["name"] for row in rows]
    top, left = 8, gutter(labels)
    length = WIDTH - left - 8
    svg = Svg("Where every PE-cycle went, by layer", top + len(rows) * ROW + 12)
    last = top + (len(rows) - 1) * ROW + 8
    names(svg, labels[:-1], left, top)
    names(svg, labels[-1:], left, last)
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


def heat(report: Report) -> str:
    """Busy share of each PE (columns) in each layer (rows)."""
    layers, pes, top = report["layers"], report["arch"]["pes"], 26
    labels = [layer["name"] for layer in layers]
    left = gutter(labels)
    cell = (WIDTH - left - 8) / pes
    svg = Svg("Busy share by PE and layer", top + len(layers) * ROW + 8)
    names(svg, labels, left, top)
    every = max(1, math.ceil(pes / 16))
    for pe in range(0, pes, every):
        label = f"PE {pe}" if cell * every >= 46 else str(pe)
        svg.text(left + (pe + 0.5) * cell, top - 9, label, "tick", "middle")
    for row, layer in enumerate(layers):
        for pe, busy in enumerate(layer["per_pe"]["busy"]):
            share = busy / layer["cycles"] if layer["cycles"] else 0.0
            x, y = left + pe * cell, top + row * ROW
            cycles_of = [f"{state} {fmt.count(layer['per_pe'][state][pe])}" for state in STATES]
            title = f"{layer['name']}, PE {pe}, cycles: {', '.join(cycles_of)}"
            svg.rect(x, y, cell, ROW, "seam cell")
            svg.rect(x, y, cell, ROW, "busy seam", title, fill_opacity=f"{share:.3f}")
            if cell >= 30:
                style = "on-busy" if share > 0.55 else "value"
                svg.text(x + cell / 2, y + ROW / 2 + 4, f"{100 * share:.0f}", style, "middle")
    return str(svg)


def energy_groups(report: Report) -> dict[str, float]:
    """Energy of each group of actions in pJ; every action is in exactly one group."""
    groups = dict.fromkeys([*ENERGY_GROUPS, OTHER_GROUP], 0.0)
    for name, action in report["energy"]["by_action"].items():
        group = next((g for g, names in ENERGY_GROUPS.items() if name in names), OTHER_GROUP)
        groups[group] += action["pj"]
    return {name: pj for name, pj in groups.items() if pj > 0}


def energy(report: Report) -> str:
    """Energy by group (one 100 % bar) and by action (bars, largest first)."""
    total = report["energy"]["total_pj"] or 1.0
    by_action: dict[str, dict[str, Any]] = report["energy"]["by_action"]
    actions = sorted(by_action.items(), key=lambda item: (-item[1]["pj"], item[0]))
    labels = [fmt.action(name) for name, _ in actions]
    top, left = 82, gutter(labels)
    svg = Svg("Energy by group and by action", top + len(actions) * ROW + 26)
    x = 0.0
    for index, (group, pj) in enumerate(energy_groups(report).items()):
        width, text = WIDTH * pj / total, fmt.percent(pj / total)
        svg.rect(x, 4, width, 26, f"seam shade{index}", f"{group}: {fmt.energy(pj)}, {text}")
        x += width
    scale = Scale(max([1e-12, *(action["pj"] for _, action in actions)]), 560)
    names(svg, labels, left, top)
    axis(svg, left, top, len(actions), scale, "Energy by action, linear scale", fmt.energy)
    for row, (name, action) in enumerate(actions):
        label = f"{fmt.energy(action['pj'])} · {fmt.percent(action['pj'] / total)}"
        title = f"{name}: {fmt.count(action['count'])} × {action['pj_each']:.4g} {action['unit']}"
        bar(svg, left, top + row * ROW, scale(action["pj"]), "ink", title, label)
    return str(svg)


def spikes(report: Report) -> str:
    """Spikes into and out of each layer (left) and its firing rate (right)."""
    layers, top, timesteps = report["layers"], 36, report["arch"]["timesteps"]
    counts = [layer[key] for layer in layers for key in ("spikes_in", "spikes_out")]
    labels = [layer["name"] for layer in layers]
    left = gutter(labels)
    scale = Scale.over(counts, 520 - left)
    rates = [fmt.firing_rate(layer, timesteps) for layer in layers]
    rate_scale = Scale(max([0.01, *(rate for rate in rates if rate is not None)]), 190)
    svg = Svg("Spikes in and out, and firing rate, by layer", top + len(layers) * ROW + 26)
    names(svg, labels, left, top)
    axis(svg, left, top, len(layers), scale, f"Spikes in and out, {scale.name}", fmt.short)
    right = 680
    axis(svg, right, top, len(layers), rate_scale, "Firing rate", lambda v: f"{100 * v:.3g} %")
    for row, (layer, rate) in enumerate(zip(layers, rates, strict=True)):
        y = top + row * ROW
        inside, outside = scale(layer["spikes_in"]), scale(layer["spikes_out"])
        text = f"{fmt.count(layer['spikes_in'])} → {fmt.count(layer['spikes_out'])}"
        title = f"{layer['name']}: {text} spikes"
        svg.rect(left, y + 4, inside, 8, "hollow", title)
        svg.rect(left, y + 14, outside, 8, "ink", title)
        svg.text(left + max(inside, outside) + 7, y + ROW / 2 + 4, text, "value")
        if rate is not None:
            title = f"{layer['name']}: firing rate {fmt.percent(rate, 2)}"
            bar(svg, right, y, rate_scale(rate), "ink", title, fmt.percent(rate))
    return str(svg)
