"""Treemap: blocks as rectangles in a rectangle, each as large as its share of the whole.

A block that is there several times is one rectangle of that many times its size. What a block holds
beside its inner blocks is a rectangle of its own among theirs, so that all together fill it.
"""
# ruff: noqa: RUF001, RUF002  (a report is typeset: it has multiplication signs)

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from evenspike.report import format as fmt
from evenspike.report.svg import LETTER, Svg

Block = Mapping[str, Any]
"""As in the JSON of a synthesis: name, count, resources of one, own of one, blocks."""

WIDTH, HEIGHT = 720, 480
DEPTH = 3
"""Levels of blocks: a PE of the whole accelerator is on the second, its parts are on the third."""

OWN = "own"
"""How the views call what a block holds beside its inner blocks."""

SHADES = ("shade2", "shade3", "shade4")
"""Of the largest block, of the second and of all others: light enough for text on them."""

OWN_SHADE = "shade5"

RULES = """
svg .frame { fill: none; stroke: var(--card); stroke-width: 4; pointer-events: none; }
"""
"""What a page's style sheet needs beside `report.style`."""

FRAMED = 60
"""Shorter side from which on a group has a frame: it would hide the cells of a smaller one."""

LINE = 16
"""Height of a line of a label."""

MARGIN = 7


class Box(NamedTuple):
    """Edges of a rectangle. Neighbours have the same number for the edge between them."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


@dataclass(frozen=True)
class Cell:
    """A rectangle of the picture.

    path: names of the block and of those around it, without the part's.
    value: of all instances together, in the measure of the picture.
    kind: "block", which is not divided; "own", what `path` holds itself; "group", which the cells
        in it fill.
    shade: class of its colour.
    """

    path: tuple[str, ...]
    value: float
    kind: str
    box: Box
    shade: str


def label(block: Block) -> str:
    """The name of a block: `pe × 16`, or a bare name where it is there once."""
    return str(block["name"]) if block["count"] == 1 else f"{block['name']} × {block['count']}"


def squarify(values: Sequence[float], box: Box) -> list[Box]:
    """Divide a rectangle in proportion to positive values, largest first, near to squares.

    Rows are cut off along the shorter side. A row takes values for as long as the most oblong of
    its rectangles becomes no more oblong (Bruls, Huizing and van Wijk, "Squarified Treemaps").
    """
    found: list[Box] = []
    start = 0
    while start < len(values):
        left = math.fsum(values[start:])
        side, scale = min(box.width, box.height), box.width * box.height / left
        end = start + 1
        worst = _oblong(values[start:end], side, scale)
        while end < len(values):
            wider = _oblong(values[start : end + 1], side, scale)
            if wider > worst:
                break
            end, worst = end + 1, wider
        row = values[start:end]
        # The last row takes what is left, whatever rounding made of it.
        part = 1.0 if end == len(values) else math.fsum(row) / left
        upright = box.width >= box.height
        if upright:
            edge = box.right if part == 1.0 else box.left + box.width * part
            strip, box = box._replace(right=edge), box._replace(left=edge)
        else:
            edge = box.bottom if part == 1.0 else box.top + box.height * part
            strip, box = box._replace(bottom=edge), box._replace(top=edge)
        found += _along(row, strip, upright)
        start = end
    return found


def _oblong(row: Sequence[float], side: float, scale: float) -> float:
    """The largest ratio of sides of the rectangles of a row along `side`."""
    thick = math.fsum(row) * scale / side
    lengths = [value * scale / thick for value in (row[0], row[-1])]
    return max(max(thick / length, length / thick) for length in lengths)


def _along(row: Sequence[float], strip: Box, upright: bool) -> list[Box]:
    """The rectangles of one row, from the top downwards or from the left to the right."""
    first, last = (strip.top, strip.bottom) if upright else (strip.left, strip.right)
    total = math.fsum(row)
    shares = [math.fsum(row[:number]) / total for number in range(1, len(row))]
    pairs = pairwise([first, *(first + (last - first) * share for share in shares), last])
    if upright:
        return [strip._replace(top=start, bottom=end) for start, end in pairs]
    return [strip._replace(left=start, right=end) for start, end in pairs]


def layout(part: Block, measure: str, box: Box, depth: int = DEPTH) -> list[Cell]:
    """All rectangles, groups before what is in them; a block with none of the measure has none.

    Parameters
    ----------
    part: the tree of blocks.
    measure: the resource that is drawn.
    depth: levels of blocks below the part; deeper ones are not told apart.
    """
    cells: list[Cell] = []

    def place(block: Block, path: tuple[str, ...], times: int, box: Box, shade: str) -> None:
        value = times * block["resources"][measure]
        divided = block["blocks"] and len(path) < depth
        cells.append(Cell(path, value, "group" if divided else "block", box, shade))
        if not divided:
            return
        inner: list[tuple[float, Block | None]] = [
            (times * each["count"] * each["resources"][measure], each) for each in block["blocks"]
        ]
        inner.append((times * block["own"][measure], None))
        inner = sorted((item for item in inner if item[0] > 0), key=lambda item: -item[0])
        boxes = squarify([value for value, _ in inner], box)
        for rank, ((value, each), place_in) in enumerate(zip(inner, boxes, strict=True)):
            if each is None:
                cells.append(Cell(path, value, OWN, place_in, OWN_SHADE))
            else:
                colour = shade if path else SHADES[min(rank, len(SHADES) - 1)]
                place(each, (*path, label(each)), times * each["count"], place_in, colour)

    if part["resources"][measure] > 0:
        place(part, (), 1, box, SHADES[0])
    return cells


def render(part: Block, measure: str, unit: str, depth: int = DEPTH) -> str:
    """The picture, as SVG; "" for a part that has nothing of the measure.

    Parameters
    ----------
    unit: how the measure is called beside a number.
    """
    cells = layout(part, measure, Box(0, 0, WIDTH, HEIGHT), depth)
    if not cells:
        return ""
    svg = Svg(f"{part['name']} by block: {unit}", HEIGHT, WIDTH)
    groups = [cell for cell in cells if cell.kind == "group"]
    leaves = [cell for cell in cells if cell.kind != "group"]
    total = cells[0].value
    for cell in leaves:
        where = " / ".join(cell.path) or part["name"]
        title = f"{where}{', own' if cell.kind == OWN else ''}: {cell.value:,} {unit}, "
        _rect(svg, cell.box, f"{cell.shade} seam", title + fmt.percent(cell.value / total))
    for group in groups[1:]:
        if min(group.box.width, group.box.height) >= FRAMED:
            _rect(svg, group.box, "frame")
    for cell in leaves:
        corner = [g.path[-1] for g in groups[1:] if g.box[:2] == cell.box[:2]]
        name = OWN if cell.kind == OWN else (cell.path or (part["name"],))[-1]
        lines = [(text, "panel") for text in corner]
        lines += [(name, "name"), (fmt.percent(cell.value / total), "value")]
        _label(svg, cell.box, lines)
    return str(svg)


def _rect(svg: Svg, box: Box, style: str, title: str = "") -> None:
    """Draw a box with rounded edges, not widths: what touches in the layout touches here, too."""
    left, top, right, bottom = (round(edge, 1) for edge in box)
    svg.rect(left, top, right - left, bottom - top, style, title)


def _label(svg: Svg, box: Box, lines: Sequence[tuple[str, str]]) -> None:
    """Write as many lines, from the top, as there is room for."""
    for number, (text, style) in enumerate(lines, 1):
        room = box.width >= 2 * MARGIN + LETTER * len(text)
        if not room or box.height < MARGIN + LINE * number:
            return
        svg.text(box.left + MARGIN, box.top + LINE * number + 1, text, style)
