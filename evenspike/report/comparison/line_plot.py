"""A line plot as an SVG file of its own: one axis each way, a mark and a bar of deviation a point.

The file carries its own colours, for a light page and for a dark one. Series differ in mark and
dash as well as in colour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from evenspike.report.svg import round_down

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 74, 24, 16, 52
LEGEND_ROW = 20

COLOURS = ("#2463c4", "#c4561f", "#1f8262", "#a5508d", "#b08a00", "#4b8fa8", "#7a5c3a", "#5c6573")
DARK = ("#6aa3f2", "#ef9465", "#52bf9a", "#d58fc2", "#e5c34a", "#86c5da", "#c9a882", "#9ba5b5")
DASHES = ("", "7 4", "2 3", "10 3 2 3")

Plot = Mapping[str, Any]
Point = tuple[float, float]


def render(plot: Plot) -> str:
    """The plot as a whole SVG file.

    plot: `x` and `y` with a `label` each, x perhaps with `ticks` (names of 0, 1, 2, ...) or `log`
    (to base 2), and `series` of points `{"x", "mean", "std"}`, at least one point in all. A
    series that is a `level` is drawn from side to side, wherever its point is.
    """
    shown = [series for series in plot["series"] if series["points"]]
    points = [point for series in shown for point in series["points"]]
    placed = [p["x"] for series in shown if not series.get("level") for p in series["points"]]
    across = _Axis(placed or [p["x"] for p in points], plot["x"], LEFT, WIDTH - RIGHT)
    ends = [p["mean"] + sign * (p["std"] or 0.0) for p in points for sign in (-1, 1)]
    up = _Axis(ends, plot["y"], HEIGHT - BOTTOM, TOP)
    parts = [*_grid(across, up, plot)]
    for number, series in enumerate(shown):
        parts += _line(number, series, across, up)
    parts += [_legend(number, series) for number, series in enumerate(shown)]
    height = HEIGHT + LEGEND_ROW * len(shown) + 8
    label = f"{plot['y']['label']} against {plot['x']['label']}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-label="{escape(label)}">\n'
        f"<style>{_style()}</style>\n"
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


class _Axis:
    """From values to places, with round ticks; the values' range is widened a little."""

    def __init__(self, values: Sequence[float], given: Plot, start: float, end: float) -> None:
        self.start, self.end = start, end
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

    def ticks(self) -> list[tuple[float, str]]:
        """(value, text), in order."""
        if self.log:
            return [(value, f"{value:g}") for value in self.values]
        if self.names is not None:
            return [(float(number), name) for number, name in enumerate(self.names)]
        step = round_down((self.high - self.low) / 4, (1.0, 2.0, 5.0))
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [(step * (first + n), _number(step * (first + n), step)) for n in range(count)]


def _number(value: float, step: float) -> str:
    if abs(value) >= 1e5:
        return f"{value:.3g}"
    return f"{value:,.{max(0, -math.floor(math.log10(step)))}f}"


def _grid(across: _Axis, up: _Axis, plot: Plot) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value, text in up.ticks():
        y = up(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for value, text in across.ticks():
        x = across(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {bottom}v5"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{escape(text)}</text>'
        )
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>')
    middle = (LEFT + right) / 2
    parts.append(
        f'<text class="label" x="{middle}" y="{bottom + 40}" text-anchor="middle">'
        f"{escape(plot['x']['label'])}</text>"
    )
    y = (TOP + bottom) / 2
    parts.append(
        f'<text class="label" x="16" y="{y}" text-anchor="middle" transform="rotate(-90 16 {y})">'
        f"{escape(plot['y']['label'])}</text>"
    )
    return parts


def _line(number: int, series: Plot, across: _Axis, up: _Axis) -> list[str]:
    """The points joined, with their marks and deviations."""
    style = f"s{number % len(COLOURS)}"
    places = [(across(p["x"]), up(p["mean"])) for p in series["points"]]
    dash = DASHES[(number // 2) % len(DASHES)]
    drawn = f' stroke-dasharray="{dash}"' if dash else ""
    if series.get("level"):
        y = places[0][1]
        return [f'<path class="line {style}"{drawn} d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>']
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    parts = [f'<path class="line {style}"{drawn} d="{path}"/>']
    for point, (x, y) in zip(series["points"], places, strict=True):
        said = f"{series['name']}: {point['mean']:.6g}"
        if point["std"]:
            top, bottom = up(point["mean"] + point["std"]), up(point["mean"] - point["std"])
            parts.append(f'<path class="line {style}" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
            said += f" ± {point['std']:.2g}"
        parts.append(_mark(number, (x, y), said))
    return parts


def _mark(number: int, place: Point, title: str = "") -> str:
    x, y = place
    shape = (
        f'<circle class="mark s{number % len(COLOURS)}" cx="{x:.1f}" cy="{y:.1f}" r="4">',
        (
            f'<rect class="mark s{number % len(COLOURS)}" x="{x - 4:.1f}" y="{y - 4:.1f}" '
            'width="8" height="8">'
        ),
        f'<path class="mark s{number % len(COLOURS)}" d="M{x:.1f} {y - 5:.1f}l5 9h-10z">',
        f'<path class="mark s{number % len(COLOURS)}" d="M{x:.1f} {y - 6:.1f}l5 6l-5 6l-5-6z">',
    )[number % 4]
    tag = shape[1:].split(" ", 1)[0]
    tip = f"<title>{escape(title)}</title>" if title else ""
    return f"{shape}{tip}</{tag}>"


def _legend(number: int, series: Plot) -> str:
    y = HEIGHT + LEGEND_ROW * number + 4
    dash = DASHES[(number // 2) % len(DASHES)]
    drawn = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<path class="line s{number % len(COLOURS)}"{drawn} d="M{LEFT} {y}h34"/>'
        f"{'' if series.get('level') else _mark(number, (LEFT + 17, y))}"
        f'<text class="label" x="{LEFT + 44}" y="{y + 4}">{escape(series["name"])}</text>'
    )


def _style() -> str:
    def fills(colours: Sequence[str]) -> str:
        return "".join(
            f".line.s{n}{{stroke:{colour}}}.mark.s{n}{{fill:{colour}}}"
            for n, colour in enumerate(colours)
        )

    return (
        "text{font:12px system-ui,sans-serif;fill:#5c6573}.label{font-size:13px;fill:#1c2230}"
        ".paper{fill:#fff}.grid{stroke:#e1e3e8}.axis{stroke:#5c6573;fill:none}"
        f".line{{fill:none;stroke-width:2}}{fills(COLOURS)}"
        "@media(prefers-color-scheme:dark){text{fill:#9ba5b5}.label{fill:#e5e8ee}"
        f".paper{{fill:#181c24}}.grid{{stroke:#2c323d}}.axis{{stroke:#9ba5b5}}{fills(DARK)}}}"
    )
