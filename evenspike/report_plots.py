"""The pictures of a report: SVG written by hand, so that a page needs nothing but itself.

Every picture is a function of the report's JSON. Colours are CSS classes (`report_style`): the
page, not the picture, decides between light and dark. Numbers stand beside their bars and in
`<title>`, so a picture can be read exactly.
"""
# ruff: noqa: RUF001  (a report is typeset: it has multiplication signs and dashes)

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from evenspike import report_format as fmt
from evenspike.report_schema import STATES, Report

WIDTH = 960
ROW = 26
BAR = 15
GUTTER = 104
"""Width of the row names on the left."""

SQUARE_ROOT_FROM = 12.0
"""From this ratio of the largest to the median value on, bars are drawn on a square-root scale: it
keeps the zero, which a logarithm does not, and small layers stay visible."""

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


@dataclass
class Svg:
    """A drawing of fixed width in user units; the page scales it."""

    label: str
    height: float
    parts: list[str] = field(default_factory=list)

    def rect(
        self, x: float, y: float, width: float, height: float, style: str, title: str = "", **more: str
    ) -> None:
        extra = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in more.items())
        tip = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(
            f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" '
            f'height="{height:.1f}"{extra}>{tip}</rect>'
        )

    def text(self, x: float, y: float, text: str, style: str = "", anchor: str = "start") -> None:
        self.parts.append(
            f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str = "grid") -> None:
        self.parts.append(
            f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
        )

    def __str__(self) -> str:
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height:.0f}" role="img" '
            f'aria-label="{escape(self.label)}">{"".join(self.parts)}</svg>'
        )


@dataclass(frozen=True)
class Scale:
    """From values to lengths: linear, or a square root where a few values dwarf the others."""

    largest: float
    length: float
    root: bool = False

    @staticmethod
    def over(values: Sequence[float], length: float) -> Scale:
        positive = sorted(value for value in values if value > 0)
        if not positive:
            return Scale(1.0, length)
        median = positive[len(positive) // 2]
        return Scale(positive[-1], length, positive[-1] > SQUARE_ROOT_FROM * median)

    def __call__(self, value: float) -> float:
        share = max(value, 0.0) / self.largest
        return self.length * (math.sqrt(share) if self.root else share)

    @property
    def name(self) -> str:
        return "square-root scale" if self.root else "linear scale"

    def ticks(self) -> list[float]:
        """Round values in about equal distances, without 0."""
        shares = (0.0625, 0.25, 0.5625, 1.0) if self.root else (0.25, 0.5, 0.75, 1.0)
        rounded = {_round_down(self.largest * share) for share in shares}
        return sorted(rounded)


def _round_down(value: float) -> float:
    """To 1, 1.5, 2, 2.5, 3, 4, 5, 6 or 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
    return max(step for step in steps if step * power <= value * (1 + 1e-9)) * power


def _names(svg: Svg, names: Sequence[str], top: float, gutter: float = GUTTER) -> None:
    for row, name in enumerate(names):
        svg.text(gutter - 10, top + row * ROW + ROW / 2 + 4, name, "name", "end")


def _axis(svg: Svg, x: float, top: float, rows: int, scale: Scale, title: str, label: _Label) -> None:
    """Title, grid lines and tick labels of a panel of bars."""
    bottom = top + rows * ROW
    svg.text(x, top - 12, title, "panel")
    svg.line(x, top - 2, x, bottom + 2, "axis")
    for value in scale.ticks():
        at = x + scale(value)
        svg.line(at, top - 2, at, bottom + 2)
        svg.text(at, bottom + 17, label(value), "tick", "middle")
    svg.text(x, bottom + 17, "0", "tick", "middle")


_Label = Callable[[float], str]


def _bar(svg: Svg, x: float, y: float, length: float, style: str, title: str, label: str) -> None:
    svg.rect(x, y + (ROW - BAR) / 2, length, BAR, style, title, rx="2")
    svg.text(x + length + 7, y + ROW / 2 + 4, label, "value")


def cycles(report: Report) -> str:
    """Cycles of each layer (left) and its utilisation (right)."""
    layers, top = report["layers"], 36
    scale = Scale.over([layer["cycles"] for layer in layers], 400)
    share = Scale(1.0, 190)
    svg = Svg("Cycles and utilisation by layer", top + len(layers) * ROW + 26)
    _names(svg, [layer["name"] for layer in layers], top)
    _axis(svg, GUTTER, top, len(layers), scale, f"Cycles, {scale.name}", fmt.short)
    right = 680
    _axis(svg, right, top, len(layers), share, "Utilisation", lambda v: f"{100 * v:.0f} %")
    for row, layer in enumerate(layers):
        y = top + row * ROW
        number, used = fmt.count(layer["cycles"]), layer["utilization"]
        _bar(svg, GUTTER, y, scale(layer["cycles"]), "ink", f"{layer['name']}: {number} cycles", number)
        title = f"{layer['name']}: {fmt.percent(used)} of the PE-cycles are busy"
        _bar(svg, right, y, share(used), "busy", title, fmt.percent(used))
    return str(svg)


def states(report: Report) -> str:
    """Where every PE-cycle went: 100 % bars by layer and for the whole run."""
    rows = [*report["layers"], {"name": "all layers", **report["totals"]}]
    top, length = 8, WIDTH - GUTTER - 8
    svg = Svg("Where every PE-cycle went, by layer", top + len(rows) * ROW + 12)
    names = [row["name"] for row in rows]
    _names(svg, names[:-1], top)
    _names(svg, names[-1:], top + (len(rows) - 1) * ROW + 8)
    for index, row in enumerate(rows):
        y = top + index * ROW + (8 if index == len(rows) - 1 else 0)
        x = float(GUTTER)
        for state, share in fmt.shares(row).items():
            width = share * length
            title = f"{row['name']}: {state} {fmt.percent(share)}, {fmt.count(row[state])} PE-cycles"
            svg.rect(x, y + 3, width, ROW - 6, f"{state} seam", title)
            if width >= 40:
                svg.text(x + width / 2, y + ROW / 2 + 4, fmt.percent(share), f"on-{state}", "middle")
            x += width
    svg.line(0, top + (len(rows) - 1) * ROW + 4, WIDTH, top + (len(rows) - 1) * ROW + 4)
    return str(svg)


def heat(report: Report) -> str:
    """Busy share of each PE (columns) in each layer (rows)."""
    layers, pes, top = report["layers"], report["arch"]["pes"], 26
    cell = (WIDTH - GUTTER - 8) / pes
    svg = Svg("Busy share by PE and layer", top + len(layers) * ROW + 8)
    _names(svg, [layer["name"] for layer in layers], top)
    every = max(1, math.ceil(pes / 16))
    for pe in range(0, pes, every):
        label = f"PE {pe}" if cell * every >= 46 else str(pe)
        svg.text(GUTTER + (pe + 0.5) * cell, top - 9, label, "tick", "middle")
    for row, layer in enumerate(layers):
        for pe, busy in enumerate(layer["per_pe"]["busy"]):
            share = busy / layer["cycles"] if layer["cycles"] else 0.0
            x, y = GUTTER + pe * cell, top + row * ROW
            title = f"{layer['name']}, PE {pe}: busy {fmt.percent(share)}, {fmt.count(busy)} cycles"
            svg.rect(x, y, cell, ROW, "seam cell", title)
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
    top, gutter = 96, 150
    svg = Svg("Energy by group and by action", top + len(actions) * ROW + 26)
    x, length = 0.0, float(WIDTH)
    for index, (group, pj) in enumerate(energy_groups(report).items()):
        width = length * pj / total
        title = f"{group}: {fmt.energy(pj)}, {fmt.percent(pj / total)}"
        svg.rect(x, 4, width, 26, f"ink seam shade{index}", title)
        if width >= 110:
            svg.text(x + 2, 45, group, "name")
            svg.text(x + 2, 60, fmt.percent(pj / total), "value")
        x += width
    scale = Scale(max(max((a["pj"] for _, a in actions), default=0.0), 1e-12), 560)
    _names(svg, [name.replace("_", " ") for name, _ in actions], top, gutter)
    _axis(svg, gutter, top, len(actions), scale, "Energy by action, linear scale", fmt.energy)
    for row, (name, action) in enumerate(actions):
        label = f"{fmt.energy(action['pj'])} · {fmt.percent(action['pj'] / total)}"
        title = f"{name}: {fmt.count(action['count'])} × {action['pj_each']:.4g} {action['unit']}"
        _bar(svg, gutter, top + row * ROW, scale(action["pj"]), "ink", title, label)
    return str(svg)


def spikes(report: Report) -> str:
    """Spikes into and out of each layer (left) and its firing rate (right)."""
    layers, top, timesteps = report["layers"], 36, report["arch"]["timesteps"]
    counts = [layer[key] for layer in layers for key in ("spikes_in", "spikes_out")]
    scale = Scale.over(counts, 400)
    rates = [fmt.firing_rate(layer, timesteps) for layer in layers]
    rate_scale = Scale(max([0.01, *(rate for rate in rates if rate is not None)]), 190)
    svg = Svg("Spikes in and out, and firing rate, by layer", top + len(layers) * ROW + 26)
    _names(svg, [layer["name"] for layer in layers], top)
    _axis(svg, GUTTER, top, len(layers), scale, f"Spikes in and out, {scale.name}", fmt.short)
    right = 680
    _axis(svg, right, top, len(layers), rate_scale, "Firing rate", lambda v: f"{100 * v:.3g} %")
    for row, (layer, rate) in enumerate(zip(layers, rates, strict=True)):
        y = top + row * ROW
        inside, outside = scale(layer["spikes_in"]), scale(layer["spikes_out"])
        text = f"{fmt.count(layer['spikes_in'])} → {fmt.count(layer['spikes_out'])}"
        title = f"{layer['name']}: {text} spikes"
        svg.rect(GUTTER, y + 4, inside, 8, "hollow", title)
        svg.rect(GUTTER, y + 14, outside, 8, "ink", title)
        svg.text(GUTTER + max(inside, outside) + 7, y + ROW / 2 + 4, text, "value")
        if rate is not None:
            title = f"{layer['name']}: firing rate {fmt.percent(rate, 2)}"
            _bar(svg, right, y, rate_scale(rate), "ink", title, fmt.percent(rate))
    return str(svg)
