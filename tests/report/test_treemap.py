"""The treemap: its cells fill it, and each is as large as what it stands for."""
# ruff: noqa: RUF001  (a report is typeset: it has multiplication signs)

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenspike.report.area.treemap import HEIGHT, WIDTH, Box, Cell, layout, render, squarify

WHOLE = Box(0, 0, 960, 480)


def block(name: str, own: float, *inner: dict[str, Any], count: int = 1) -> dict[str, Any]:
    total = own + sum(each["count"] * each["resources"]["luts"] for each in inner)
    return {
        "name": name,
        "count": count,
        "resources": {"luts": total},
        "own": {"luts": own},
        "blocks": list(inner),
    }


def accelerator() -> dict[str, Any]:
    lif = block("lif", 70, block("adder", 5, count=2))
    pe = block("pe", 4, lif, block("matcher", 55), block("idle", 0), count=16)
    return block("top", 30, block("array", 10, pe), block("port", 200, block("fifo", 100)))


def many() -> dict[str, Any]:
    """Blocks of many sizes, all of them groups."""
    inner = (block(f"b{n}", n, block(f"i{n}", 3 * n, count=2)) for n in range(1, 24))
    return block("many", 11, *inner)


def overlap(a: Box, b: Box) -> float:
    width = min(a.right, b.right) - max(a.left, b.left)
    return max(0.0, width) * max(0.0, min(a.bottom, b.bottom) - max(a.top, b.top))


def check_tiling(boxes: list[Box], whole: Box) -> None:
    """Inside, without a gap and without an overlap."""
    for box in boxes:
        assert whole.left <= box.left < box.right <= whole.right
        assert whole.top <= box.top < box.bottom <= whole.bottom
    assert sum(box.width * box.height for box in boxes) == pytest.approx(whole.width * whole.height)
    assert all(overlap(a, b) == 0 for a, b in combinations(boxes, 2))


values = st.lists(st.floats(1, 1e4), min_size=1, max_size=40).map(
    lambda found: sorted(found, reverse=True)
)


@given(values, st.floats(50, 1000), st.floats(50, 1000))
def test_rectangles_fill_the_whole_in_proportion(
    found: list[float], width: float, height: float
) -> None:
    whole = Box(3, 7, 3 + width, 7 + height)
    boxes = squarify(found, whole)
    check_tiling(boxes, whole)
    for value, box in zip(found, boxes, strict=True):
        share = value / sum(found)
        assert box.width * box.height == pytest.approx(share * width * height, rel=1e-6)


def test_rectangles_are_near_to_squares() -> None:
    boxes = squarify([1.0] * 50, WHOLE)
    assert all(0.5 < box.width / box.height < 2 for box in boxes)
    boxes = squarify([6, 6, 4, 3, 2, 2, 1], Box(0, 0, 6, 4))  # the example of the publication
    assert [box[:2] for box in boxes[:2]] == [(0, 0), (0, 2)]
    assert boxes[0][2:] == (3, 2)
    assert boxes[2] == pytest.approx((3, 0, 3 + 12 / 7, 7 / 3))


def by_path(cells: list[Cell]) -> dict[tuple[tuple[str, ...], str], Cell]:
    found = {(cell.path, cell.kind): cell for cell in cells}
    assert len(found) == len(cells)
    return found


def test_cells_of_blocks() -> None:
    part = accelerator()
    cells = layout(part, "luts", WHOLE)
    leaves = [cell for cell in cells if cell.kind != "group"]
    assert sum(cell.value for cell in leaves) == part["resources"]["luts"]
    check_tiling([cell.box for cell in leaves], WHOLE)
    pe = ("array", "pe × 16")
    assert {key: cell.value for key, cell in by_path(cells).items()} == {
        ((), "group"): 2564,
        ((), "own"): 30,
        (("array",), "group"): 2234,
        (("array",), "own"): 10,
        (pe, "group"): 16 * 139,
        (pe, "own"): 16 * 4,
        ((*pe, "lif"), "block"): 16 * 80,
        ((*pe, "matcher"), "block"): 16 * 55,
        (("port",), "group"): 300,
        (("port",), "own"): 200,
        (("port", "fifo"), "block"): 100,
    }
    scale = WHOLE.width * WHOLE.height / part["resources"]["luts"]
    for cell in cells:
        assert cell.box.width * cell.box.height == pytest.approx(cell.value * scale)


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4, 9])
def test_groups_are_filled_by_what_is_in_them(depth: int) -> None:
    cells = layout(accelerator(), "luts", WHOLE, depth)
    assert max(len(cell.path) for cell in cells) == min(depth, 4)
    for group in (cell for cell in cells if cell.kind == "group"):
        inner = [
            cell.box
            for cell in cells
            if cell.kind != "group" and cell.path[: len(group.path)] == group.path
        ]
        check_tiling(inner, group.box)


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314  (ours, not a stranger's)


def rects(svg: str) -> list[tuple[Box, str, str]]:
    """(edges in tenths, class, title) of each rectangle."""
    found = []
    for rect in parsed(svg).iter("rect"):
        x, y, w, h = (round(10 * float(rect.attrib[k])) for k in ("x", "y", "width", "height"))
        found.append((Box(x, y, x + w, y + h), rect.attrib["class"], rect.findtext("title") or ""))
    return found


@pytest.mark.parametrize("part", [accelerator(), many()], ids=["accelerator", "many"])
def test_the_picture_has_no_gaps(part: dict[str, Any]) -> None:
    drawn = [rect[0] for rect in rects(render(part, "luts", "LUTs")) if rect[1] != "frame"]
    # In tenths of a unit the rectangles are integers: the sum is exact.
    assert sum(box.width * box.height for box in drawn) == 10 * WIDTH * 10 * HEIGHT
    assert all(overlap(a, b) == 0 for a, b in combinations(drawn, 2))
    cells = layout(part, "luts", Box(0, 0, WIDTH, HEIGHT))
    for cell, box in zip((c for c in cells if c.kind != "group"), drawn, strict=True):
        assert box == pytest.approx([10 * edge for edge in cell.box], abs=0.51)


def test_tooltips() -> None:
    drawn = [rect for rect in rects(render(accelerator(), "luts", "LUTs")) if rect[1] != "frame"]
    titles = {title for _, _, title in drawn}
    assert "array / pe × 16 / lif: 1,280 LUTs, 49.9 %" in titles
    assert "port, own: 200 LUTs, 7.8 %" in titles
    assert "top, own: 30 LUTs, 1.2 %" in titles
    assert len(titles) == len(drawn)


def test_shades_say_which_block_is_large_and_what_is_own() -> None:
    part = block("p", 5, block("b", 30), block("a", 60), block("c", 20), block("d", 10))
    shades = {
        title.split(":")[0]: style.split()[0]
        for _, style, title in rects(render(part, "luts", "LUTs"))
    }
    wanted = {"a": "shade2", "b": "shade3", "c": "shade4", "d": "shade4", "p, own": "shade5"}
    assert shades == wanted


@pytest.mark.parametrize("part", [accelerator(), many()], ids=["accelerator", "many"])
def test_labels_stay_in_their_cells(part: dict[str, Any]) -> None:
    svg = render(part, "luts", "LUTs")
    cells = [box for box, style, _ in rects(svg) if style != "frame"]
    texts = [
        (float(text.attrib["x"]) * 10, float(text.attrib["y"]) * 10, text.text or "")
        for text in parsed(svg).iter("text")
    ]
    for x, y, text in texts:
        (around,) = [box for box in cells if box.left < x < box.right and box.top < y < box.bottom]
        assert x + 70 * len(text) <= around.right
        assert y - 110 >= around.top
    lines = sorted((x, y) for x, y, _ in texts)
    assert all(b[0] > a[0] or b[1] - a[1] >= 150 for a, b in pairwise(lines))


def test_what_is_labelled() -> None:
    svg = render(accelerator(), "luts", "LUTs")
    texts = [text.text or "" for text in parsed(svg).iter("text")]
    assert {"lif", "49.9 %", "matcher", "34.3 %", "own", "fifo"} <= set(texts)
    assert texts.index("array") + 1 == texts.index("pe × 16") == texts.index("lif") - 1
    groups = [text for text in texts if text in {"array", "pe × 16", "port"}]
    assert groups == ["array", "pe × 16", "port"]
    names = [text.text or "" for text in parsed(render(many(), "luts", "LUTs")).iter("text")]
    named = [name for name in names if name.startswith("b")]
    assert len(named) == len(set(named)) > 10


def test_a_label_without_room_is_left_out() -> None:
    part = block("p", 0, block("a", 1e6), block("tiny", 1))
    long = render(block("p", 0, block("long" * 17, 1), block("a", 1)), "luts", "LUTs")
    assert [text.text for text in parsed(long).iter("text")] == ["a", "50.0 %"]
    svg = render(part, "luts", "LUTs")
    assert [text.text for text in parsed(svg).iter("text")] == ["a", "100.0 %"]
    assert len(rects(svg)) == 2


def test_a_part_without_blocks_and_one_without_anything() -> None:
    ((box, style, title),) = rects(render(block("gates", 64), "luts", "LUTs"))
    assert box == (0, 0, 10 * WIDTH, 10 * HEIGHT)
    assert (style, title) == ("shade2 seam", "gates: 64 LUTs, 100.0 %")
    assert not render(block("table", 0, block("x", 0)), "luts", "LUTs")


def test_names_are_escaped() -> None:
    bad = "<script>&\"'"
    svg = render(block(bad, 10, block(bad, 20, count=2)), "luts", bad)
    assert "<script" not in svg
    assert bad in "".join(parsed(svg).itertext())
