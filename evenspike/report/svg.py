"""SVG written by hand: a drawing, a scale, and a chart of bars with one row an item.

Colours are CSS classes (`report.style`): the page decides between light and dark. A picture on a
page is as wide as half a screen, so that two stand side by side and one fits a narrow window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from evenspike.report.ticks import COUNTS, Units, labels, ticks

WIDTH = 520
ROW = 26
BAR = 15
TOP, BOTTOM = 36, 26
"""Room above the rows of a chart for its title, and below them for the numbers of its axis."""
LETTER = 7.6
"""Width of a letter of a name, at most."""
NAME_LENGTH = 22
"""Characters of a row's name that are shown."""

SQUARE_ROOT_FROM = 12.0
"""From this ratio of the largest to the median value on, bars are drawn on a square-root scale: it
keeps the zero, which a logarithm does not, and small layers stay visible."""


@dataclass
class Svg:
    """A drawing in user units; the page scales it."""

    label: str
    height: float
    width: float = WIDTH
    parts: list[str] = field(default_factory=list)

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        style: str,
        title: str = "",
        **more: str,
    ) -> None:
        self.parts.append(
            f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" '
            f'height="{height:.1f}"{_attributes(more)}>{_tip(title)}</rect>'
        )

    def text(
        self, x: float, y: float, text: str, style: str = "", anchor: str = "start", **more: str
    ) -> None:
        self.parts.append(
            f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
            f"{_attributes(more)}>{escape(text)}</text>"
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str = "grid") -> None:
        self.parts.append(
            f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
        )

    def path(self, path: str, style: str, title: str = "", **more: str) -> None:
        """A shape in the language of SVG's `d`."""
        self.parts.append(
            f'<path class="{style}" d="{path}"{_attributes(more)}>{_tip(title)}</path>'
        )

    def __str__(self) -> str:
        return (
            f'<svg viewBox="0 0 {self.width:.0f} {self.height:.0f}" role="img" '
            f'aria-label="{escape(self.label)}">{"".join(self.parts)}</svg>'
        )

    def document(self, style: str) -> str:
        """The drawing as a file of its own, with its style sheet and a background (`paper`)."""
        size = f'width="{self.width:.0f}" height="{self.height:.0f}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:.0f} '
            f'{self.height:.0f}" {size} role="img" aria-label="{escape(self.label)}">\n'
            f'<style>{style}</style>\n<rect class="paper" {size}/>\n'
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )


def _attributes(given: dict[str, str]) -> str:
    return "".join(f' {key.replace("_", "-")}="{value}"' for key, value in given.items())


def _tip(title: str) -> str:
    return f"<title>{escape(title)}</title>" if title else ""


@dataclass(frozen=True)
class Scale:
    """A mapping from values to lengths: linear, or a square root where a few dwarf the others."""

    largest: float
    length: float
    root: bool = False

    @staticmethod
    def over(values: Sequence[float], length: float) -> Scale:
        """The scale of which the largest value has the whole length."""
        positive = sorted(value for value in values if value > 0)
        if not positive:
            return Scale(1.0, length)
        median = positive[len(positive) // 2]
        return Scale(positive[-1], length, positive[-1] > SQUARE_ROOT_FROM * median)

    def __call__(self, value: float) -> float:
        share = max(value, 0.0) / self.largest
        return self.length * (math.sqrt(share) if self.root else share)


@dataclass(frozen=True)
class Bar:
    """A row of a chart.

    text: what stands beside the bar. tip: what is shown when it is pointed at. style: its class.
    second: another value with its class, which is drawn below the first.
    """

    name: str
    value: float
    text: str
    tip: str
    style: str = "ink"
    second: tuple[float, str] | None = None


def gutter(names: Sequence[str]) -> float:
    """Room for the row names on the left, by the longest of them."""
    return 24.0 + LETTER * min(NAME_LENGTH, max(map(len, names), default=0))


def write_names(svg: Svg, names: Sequence[str], x: float, top: float) -> None:
    """The rows' names, right-aligned against the panel at x."""
    for row, name in enumerate(names):
        shown = name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"
        svg.text(x - 10, top + row * ROW + ROW / 2 + 4, shown, "name", "end")


def _marks(scale: Scale, units: Units) -> tuple[list[float], list[str], str]:
    """Ticks, their texts and the unit: as many as there is room for."""
    for least in (3, 2, 1):
        places = ticks(0.0, scale.largest, least)
        texts, unit = labels(places, units)
        wide = LETTER * max(map(len, texts))
        if all(scale(b) - scale(a) > wide for a, b in pairwise(places)):
            break
    return places, texts, unit


def bar_chart(title: str, bars: Sequence[Bar], units: Units = COUNTS, full: float = 0.0) -> str:
    """Bars from zero, one a row, with their names on the left and their texts behind them.

    Parameters
    ----------
    units: in which the axis is written; its title names the one that it uses.
    full: a value that the axis reaches at least, and the scale is linear.
    """
    names = [bar.name for bar in bars]
    left, bottom = gutter(names), TOP + len(bars) * ROW
    length = WIDTH - left - 14 - LETTER * max([4, *(len(bar.text) for bar in bars)])
    values = [value for bar in bars for value in (bar.value, *(bar.second or ())[:1])]
    scale = Scale(max([full, *values]), length) if full else Scale.over(values, length)
    places, texts, unit = _marks(scale, units)
    svg = Svg(title, bottom + BOTTOM)
    write_names(svg, names, left, TOP)
    notes = filter(None, (unit, "square-root scale" if scale.root else ""))
    svg.text(left, TOP - 12, f"{title} ({', '.join(notes)})".replace(" ()", ""), "panel")
    svg.line(left, TOP - 2, left, bottom + 2, "axis")
    for value, text in zip(places, texts, strict=True):
        x = left + scale(value)
        if value:
            svg.line(x, TOP - 2, x, bottom + 2)
        svg.text(x, bottom + 17, text, "tick", "middle")
    for row, bar in enumerate(bars):
        y, end = TOP + row * ROW, left + scale(bar.value)
        if bar.second is None:
            svg.rect(left, y + (ROW - BAR) / 2, scale(bar.value), BAR, bar.style, bar.tip, rx="2")
        else:
            svg.rect(left, y + 4, scale(bar.value), 8, bar.style, bar.tip)
            svg.rect(left, y + 14, scale(bar.second[0]), 8, bar.second[1], bar.tip)
            end = max(end, left + scale(bar.second[0]))
        svg.text(end + 7, y + ROW / 2 + 4, bar.text, "value")
    return str(svg)
