"""A line plot as an SVG file of its own: one axis each way, a mark and a bar of deviation a point.

The file carries its own style sheet, for a light page and for a dark one. Series differ in mark and
dash as well as in colour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evenspike.report.style import DARK, LIGHT, SERIES
from evenspike.report.svg import Svg
from evenspike.report.ticks import labels, ticks

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 74, 24, 16, 52
LEGEND_ROW = 20

DASHES = ("", "7 4", "2 3", "10 3 2 3")
MARKS = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",  # a circle
    "m-4-4h8v8h-8z",
    "m0-5l5 9h-10z",
    "m0-6l5 6l-5 6l-5-6z",
)
"""Shapes around a point."""

Plot = Mapping[str, Any]


def render(plot: Plot) -> str:
    """The plot as a whole SVG file.

    plot: `x` and `y` with a `label` each, x perhaps with `ticks` (names of 0, 1, 2, ...) or `log`
    (to base 2), and `series` of points `{"x", "mean", "std"}`, at least one point in all. A
    series that is a `level` is drawn from side to side, wherever its point is; the points of one
    that is a `scatter` are not joined.
    """
    shown = [series for series in plot["series"] if series["points"]]
    points = [point for series in shown for point in series["points"]]
    placed = [p["x"] for series in shown if not series.get("level") for p in series["points"]]
    across = _Axis(placed or [p["x"] for p in points], plot["x"], LEFT, WIDTH - RIGHT)
    ends = [p["mean"] + sign * (p["std"] or 0.0) for p in points for sign in (-1, 1)]
    up = _Axis(ends, plot["y"], HEIGHT - BOTTOM, TOP)
    label = f"{plot['y']['label']} against {plot['x']['label']}"
    svg = Svg(label, HEIGHT + LEGEND_ROW * len(shown) + 8, WIDTH)
    _grid(svg, across, up)
    for number, series in enumerate(shown):
        _line(svg, number, series, across, up)
    for number, series in enumerate(shown):
        _legend(svg, number, series)
    return svg.document(_style())


class _Axis:
    """A mapping from values to places, with round ticks, over a little more than their range."""

    def __init__(self, values: Sequence[float], given: Plot, start: float, end: float) -> None:
        self.start, self.end, self.label = start, end, given["label"]
        self.log, self.names = bool(given.get("log")), given.get("ticks")
        placed = [self._value(value) for value in values]
        low, high = min(placed), max(placed)
        margin = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
        self.low, self.high = low - margin, high + margin
        self.values = sorted(set(values))

    def _value(self, value: float) -> float:
        return math.log2(value) if self.log else value

    def __call__(self, value: float) -> float:
        share = (self._value(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> tuple[list[tuple[float, str]], str]:
        """(value, text) of each tick, in order, and the axis's label with its unit."""
        if self.log:
            return [(value, f"{value:g}") for value in self.values], self.label
        if self.names is not None:
            return [(float(number), name) for number, name in enumerate(self.names)], self.label
        values = ticks(self.low, self.high)
        texts, unit = labels(values)
        return list(zip(values, texts, strict=True)), f"{self.label} ({unit})".replace(" ()", "")


def _grid(svg: Svg, across: _Axis, up: _Axis) -> None:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    marks, label = up.ticks()
    for value, text in marks:
        y = up(value)
        svg.path(f"M{LEFT} {y:.1f}H{right}", "grid")
        svg.text(LEFT - 8, y + 4, text, "tick", "end")
    middle = (TOP + bottom) / 2
    svg.text(16, middle, label, "label", "middle", transform=f"rotate(-90 16 {middle})")
    marks, label = across.ticks()
    for value, text in marks:
        x = across(value)
        svg.path(f"M{x:.1f} {bottom}v5", "grid")
        svg.text(x, bottom + 19, text, "tick", "middle")
    svg.path(f"M{LEFT} {TOP}V{bottom}H{right}", "axis")
    svg.text((LEFT + right) / 2, bottom + 40, label, "label", "middle")


def _line(svg: Svg, number: int, series: Plot, across: _Axis, up: _Axis) -> None:
    """The points joined, with their marks and deviations."""
    style = f"line s{number % len(SERIES)}"
    places = [(across(p["x"]), up(p["mean"])) for p in series["points"]]
    if series.get("level"):
        svg.path(f"M{LEFT} {places[0][1]:.1f}H{WIDTH - RIGHT}", style, **_dash(number))
        return
    if not series.get("scatter"):
        svg.path("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places), style, **_dash(number))
    for point, (x, y) in zip(series["points"], places, strict=True):
        said = f"{series['name']}: {point['mean']:.6g}"
        if point["std"]:
            top, bottom = up(point["mean"] + point["std"]), up(point["mean"] - point["std"])
            svg.path(f"M{x:.1f} {top:.1f}V{bottom:.1f}", style)
            said += f" ± {point['std']:.2g}"
        _mark(svg, number, x, y, said)


def _mark(svg: Svg, number: int, x: float, y: float, title: str = "") -> None:
    shape = MARKS[number % len(MARKS)]
    svg.path(f"M{x:.1f} {y:.1f}{shape}", f"mark s{number % len(SERIES)}", title)


def _dash(number: int) -> dict[str, str]:
    dash = DASHES[(number // 2) % len(DASHES)]
    return {"stroke_dasharray": dash} if dash else {}


def _legend(svg: Svg, number: int, series: Plot) -> None:
    y = HEIGHT + LEGEND_ROW * number + 4
    svg.path(f"M{LEFT} {y}h34", f"line s{number % len(SERIES)}", **_dash(number))
    if not series.get("level"):
        _mark(svg, number, LEFT + 17, y)
    svg.text(LEFT + 44, y + 4, series["name"], "label")


def _style() -> str:
    def colours(palette: Mapping[str, str]) -> str:
        of = palette.__getitem__
        series = "".join(
            f".line.s{n}{{stroke:{of(name)}}}.mark.s{n}{{fill:{of(name)}}}"
            for n, name in enumerate(SERIES)
        )
        return (
            f"text{{fill:{of('muted')}}}.label{{fill:{of('text')}}}.paper{{fill:{of('card')}}}"
            f".grid{{stroke:{of('rule')}}}.axis{{stroke:{of('muted')}}}{series}"
        )

    return (
        "text{font:12px system-ui,sans-serif}.label{font-size:13px}.axis,.line{fill:none}"
        f".line{{stroke-width:2}}{colours(LIGHT)}"
        f"@media(prefers-color-scheme:dark){{{colours(DARK)}}}"
    )
