"""SVG written by hand: a drawing, a scale, and the parts of a bar chart with one row an item.

Colours are CSS classes (`report_style`): the page, not the picture, decides between light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH = 960
ROW = 26
BAR = 15
NAME_LENGTH = 28
"""Characters of a row's name that are shown."""

SQUARE_ROOT_FROM = 12.0
"""From this ratio of the largest to the median value on, bars are drawn on a square-root scale: it
keeps the zero, which a logarithm does not, and small layers stay visible."""


@dataclass
class Svg:
    """A drawing of fixed width in user units; the page scales it."""

    label: str
    height: float
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
        """Three to five round values, without 0: evenly spaced, or rounded squares of such."""
        if self.root:
            return sorted({round_down(self.largest * share**2) for share in (0.3, 0.55, 0.8, 1.0)})
        step = round_down(self.largest / 3, STEPS)
        return [step * n for n in range(1, int(self.largest / step * (1 + 1e-9)) + 1)]


STEPS = (1.0, 2.0, 2.5, 5.0)


def round_down(value: float, steps: Sequence[float] = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)) -> float:
    """To one of the steps times a power of ten; `value` is positive."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(step for step in steps if step * power <= value * (1 + 1e-9)) * power


def gutter(rows: Sequence[str]) -> float:
    """Room for the row names on the left, by the longest of them."""
    return 24.0 + 7.6 * min(NAME_LENGTH, max(map(len, rows), default=0))


def names(svg: Svg, rows: Sequence[str], x: float, top: float) -> None:
    """The rows' names, right-aligned against the panel at x."""
    for row, name in enumerate(rows):
        shown = name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"
        svg.text(x - 10, top + row * ROW + ROW / 2 + 4, shown, "name", "end")


def axis(
    svg: Svg,
    x: float,
    top: float,
    rows: int,
    scale: Scale,
    title: str,
    label: Callable[[float], str],
) -> None:
    """Title, grid lines and tick labels of a panel of bars."""
    bottom = top + rows * ROW
    svg.text(x, top - 12, title, "panel")
    svg.line(x, top - 2, x, bottom + 2, "axis")
    for value in scale.ticks():
        at = x + scale(value)
        svg.line(at, top - 2, at, bottom + 2)
        svg.text(at, bottom + 17, label(value), "tick", "middle")
    svg.text(x, bottom + 17, "0", "tick", "middle")


def bar(svg: Svg, x: float, y: float, length: float, style: str, title: str, label: str) -> None:
    svg.rect(x, y + (ROW - BAR) / 2, length, BAR, style, title, rx="2")
    svg.text(x + length + 7, y + ROW / 2 + 4, label, "value")
