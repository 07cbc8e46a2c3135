"""The views of a synthesis: they say what its JSON says, for every target."""
# ruff: noqa: RUF001  (a report is typeset: it has multiplication signs)

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from evenspike.report.area import format as area
from evenspike.report.area import pages as area_report
from evenspike.report.svg import WIDTH
from evenspike_core.errors import EvenspikeError

Data = dict[str, Any]

FPGA = ("cells", "luts", "muxes", "carry", "flip_flops", "block_ram", "distributed_ram", "dsp")
CMOS = ("logic_transistors", "ram_transistors", "transistors", "gate_equivalents")
RESOURCES = {
    "generic": ("cells", "gates", "flip_flops", "ram_bits", *CMOS),
    "liberty": ("cells", "area_um2", "ram_bits"),
    "ecp5": FPGA,
    "ice40": ("cells", "luts", "carry", "flip_flops", "block_ram", "dsp"),
    "xilinx": (*FPGA[:3], "inverters", *FPGA[3:]),
    "gowin": FPGA,
}
AREA = {"generic": "transistors", "liberty": "area_um2"}
MAPPED = {"generic": "memory", "liberty": "memory"}


def block(names: tuple[str, ...], seed: int, name: str, *inner: Data, count: int = 1) -> Data:
    """A block whose own resources are all different, and whose sums are right."""
    own: Data = {key: 100 * seed + 17 * n for n, key in enumerate(names, 1)}
    for key in own.keys() & {"area_um2", "gate_equivalents"}:
        own[key] += 0.5
    resources = {
        key: value + sum(each["count"] * each["resources"][key] for each in inner)
        for key, value in own.items()
    }
    return {
        "name": name,
        "count": count,
        "resources": resources,
        "own": own,
        "blocks": list(inner),
    }


def synthesis(target: str = "generic") -> Data:
    """A synthesis of three PEs and a port, as no tool has made it."""
    names = RESOURCES[target]
    lif = block(names, 7, "lif", block(names, 5, "adder"))
    pe = block(names, 3, "pe", lif, block(names, 11, "queue"), count=3)
    top = block(names, 1, "top", block(names, 2, "array", pe), block(names, 13, "port"))
    mapped = MAPPED.get(target, "SOME_RAM")
    result: Data = {
        "part": "top",
        "target": "generic" if target == "liberty" else target,
        "arch": {"preset": "paper", "digest": "0a1b2c"},
        "resources": top["resources"],
        "fmax_mhz": None,
        "fmax_by": None,
        "ltp": 38,
        "path": ["array.pe0.lif.held [6]", "array.pe0.lif.drive"],
        "memories": [
            memory("top.array.pe0.queue.rows", 4096, 73, "1R1W", mapped),
            memory("top.port.fifo", 32, 65, "2R1W", mapped),
        ],
        "blocks": top,
        "seconds": 12.25,
        "digest": "feed5eed",
        "tools": {"yosys": "Yosys 0.70"},
    }
    if target == "liberty":
        result["liberty"] = "cells 45.lib"
    if target == "ecp5":
        result |= {
            "fmax_mhz": 48.07,
            "fmax_by": "nextpnr-ecp5, some device, seed 3",
            "routed": {
                "utilization": {"DP16KD": {"used": 52, "available": 208}},
                "critical_path": [
                    step("clk-to-q", 5.609, "table.0", ""),
                    step("routing", 2.135, "lut.1", "table.DOA"),
                    step("logic", 0.236, "lut.1", ""),
                    step("routing", 1.25, "held", "drive[2]"),
                    step("setup", 0, "held", ""),
                ],
            },
        }
    return result


def memory(name: str, depth: int, width: int, ports: str, mapped: str) -> Data:
    return {"name": name, "depth": depth, "width": width, "ports": ports, "mapped": mapped}


def step(kind: str, ns: float, to: str, net: str) -> Data:
    return {"kind": kind, "ns": ns, "to": to, "net": net}


def page(result: Data) -> ET.Element:
    """The page as a tree; it raises where tags do not nest."""
    text = area_report.render_html(result).removeprefix("<!DOCTYPE html>\n")
    return ET.fromstring(re.sub(r"<(meta [^>]*)>", r"<\1/>", text))  # noqa: S314  (ours)


def html_tables(result: Data) -> list[list[list[str]]]:
    return [
        [["".join(cell.itertext()).strip() for cell in row] for row in table.iter("tr")]
        for table in page(result).iter("table")
    ]


def markdown_tables(result: Data) -> list[list[list[str]]]:
    found = []
    for part in area_report.render_markdown(result).split("\n\n"):
        if part.startswith("|"):
            rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in part.splitlines()]
            names = [[c.strip().replace("&emsp;", "").strip("`") for c in row] for row in rows]
            found.append([names[0], *names[2:]])
    return found


def terminal(result: Data, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(area_report.table(result))
    return console.export_text()


VIEWS: dict[str, Callable[[Data], str]] = {
    "html": area_report.render_html,
    "markdown": area_report.render_markdown,
    "terminal": terminal,
}
TABLES = {"html": html_tables, "markdown": markdown_tables}


def expected(found: Data, area_key: str, total: float, times: int = 1) -> Iterator[list[str]]:
    """The lines of the table of blocks, out of the tree."""
    times *= found["count"]
    name = found["name"] + (f" × {found['count']}" if found["count"] > 1 else "")
    for label, numbers in ((name, found["resources"]), ("own", found["own"])):
        if label == "own":
            for inner in found["blocks"]:
                yield from expected(inner, area_key, total, times)
        if label != "own" or found["blocks"]:
            share = f"{100 * times * numbers[area_key] / total:.2f} %"
            yield [label, *(f"{value:,}" for value in numbers.values()), share]


@pytest.mark.parametrize("view", TABLES)
@pytest.mark.parametrize("target", RESOURCES)
def test_the_table_of_blocks_is_the_tree(target: str, view: str) -> None:
    result, key = synthesis(target), AREA.get(target, "luts")
    (found,) = [table for table in TABLES[view](result) if table[0][0] == "block"]
    assert found[1:] == list(expected(result["blocks"], key, result["resources"][key]))
    assert len(found[0]) == len(set(found[0])) == len(RESOURCES[target]) + 2
    assert found[0][1:-1] == [area.COLUMNS[name][0] for name in RESOURCES[target]]


@pytest.mark.parametrize("target", RESOURCES)
def test_shares_of_what_is_not_divided_add_up(target: str) -> None:
    rows = area.rows(synthesis(target))
    deeper = [*(row.depth for row in rows[1:]), 0]
    leaves = [row for row, after in zip(rows, deeper, strict=True) if after <= row.depth]
    assert sum(row.share or 0 for row in leaves) == pytest.approx(1)
    assert len(leaves) == 7


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("target", RESOURCES)
def test_the_headline(target: str, view: str) -> None:
    result = synthesis(target)
    found, text = result["resources"], VIEWS[view](result)
    ram = "ram_bits" if "ram_bits" in found else "block_ram"
    for key in (AREA.get(target, "luts"), ram, "flip_flops", "distributed_ram"):
        assert key not in found or f"{found[key]:,}" in text
    assert ("Registers" in text) == ("flip_flops" in found)
    assert re.search(r"Longest path\W.*?\b38\b", text, re.DOTALL)
    assert ("48.07 MHz" in text) == ("some device, seed 3" in text) == (target == "ecp5")
    assert ("Clock" in text) == (target == "ecp5")


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict | list) and value:
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from leaves(value[key], (*path, key))
    else:
        yield path


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize("view", TABLES)
@pytest.mark.parametrize("target", RESOURCES)
def test_every_leaf_reaches_the_views(target: str, view: str) -> None:
    result = synthesis(target)
    before, unseen = VIEWS[view](result), []
    for path in leaves(result):
        if path[0] == "resources" or at(result, path) in (None, []):
            continue  # as blocks.resources; no clock, no blocks
        if path[-2:-1] == ("own",) and not at(result, path[:-2])["blocks"]:
            continue  # as its resources
        copy = json.loads(json.dumps(result))
        value = at(result, path)
        at(copy, path[:-1])[path[-1]] = f"x{value}" if isinstance(value, str) else value + 97
        if VIEWS[view](copy) == before:
            unseen.append(path)
    assert unseen == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_memory_of_flip_flops_is_a_warning(view: str) -> None:
    result = synthesis("ice40")
    assert "Every memory is in RAM." in VIEWS[view](result)
    assert "became flip-flops" not in VIEWS[view](result)
    result["memories"][1]["mapped"] = "flip-flops"
    text = VIEWS[view](result)
    assert "Every memory is in RAM." not in text
    assert "1 memory became flip-flops:" in text
    top = text if view == "terminal" else text[: text.index("Area by block")]
    assert re.search(r"top\.port\.fifo, 32 × 65\s+bits", top)
    assert "top.array.pe0.queue.rows" not in top
    result["memories"][0]["mapped"] = "flip-flops"
    assert "2 memories became flip-flops:" in VIEWS[view](result)


@pytest.mark.parametrize(("mapped", "said"), [("flip-flops", "⚠ flip-flops"), ("?", "⚠ not known")])
def test_the_warning_marks_its_memory(mapped: str, said: str) -> None:
    result = synthesis("ecp5")
    assert "warn" not in [row.get("class") for row in page(result).iter("tr")]
    result["memories"][1]["mapped"] = mapped
    (row,) = [row for row in page(result).iter("tr") if row.get("class") == "warn"]
    cells = ["".join(cell.itertext()) for cell in row]
    assert cells == ["top.port.fifo", "32", "65", "2,080", "2R1W", said]
    assert 'class="verdict bad"' in area_report.render_html(result)
    (table,) = [table for table in markdown_tables(result) if table[0][0] == "memory"]
    assert table[2] == cells
    assert "\n**⚠ 1 memory became" in area_report.render_markdown(result)


def test_a_shallow_memory_is_named() -> None:
    result = synthesis("ecp5")
    assert "Every memory is in RAM." in area_report.render_markdown(result)
    result["memories"][1]["mapped"] = "registers"
    text = " ".join(area_report.render_markdown(result).split())
    assert "Every memory is in RAM." not in text
    assert "in RAM but those shallow enough for registers:** `top.port.fifo`" in text


@pytest.mark.parametrize("target", ["generic", "liberty"])
def test_memories_that_nothing_maps_are_not_judged(target: str) -> None:
    for view in VIEWS.values():
        assert "in RAM." not in view(synthesis(target))
    assert 'class="verdict' not in area_report.render_html(synthesis(target))
    assert "| a memory, not mapped |" in area_report.render_markdown(synthesis(target))


@pytest.mark.parametrize("view", TABLES)
def test_where_the_nanoseconds_go(view: str) -> None:
    tables = {table[0][0]: table for table in TABLES[view](synthesis("ecp5"))}
    assert tables["kind"][1:] == [
        ["clk-to-q", "1", "5.609", "60.8 %"],
        ["routing", "2", "3.385", "36.7 %"],
        ["logic", "1", "0.236", "2.6 %"],
        ["setup", "1", "0.000", "0.0 %"],
        ["total", "5", "9.230", "100.0 %"],
    ]
    assert tables["step"][2] == ["2", "routing", "2.135", "7.744", "lut.1, net table.DOA"]
    assert tables["step"][5] == ["5", "setup", "0.000", "9.230", "held"]
    assert tables["cells of the device"][1] == ["DP16KD", "52", "208", "25.0 %"]
    assert "step" not in {table[0][0] for table in TABLES[view](synthesis("gowin"))}
    late = [step("logic", 0.1, "a", "b"), step("setup", 0.9, "b", "c")]
    assert list(area.by_kind(late)) == ["setup", "logic"]


def test_the_bar_of_the_critical_path_is_as_long_as_its_steps() -> None:
    result = synthesis("ecp5")
    bar = ET.fromstring(area_report.path_bar(result))  # noqa: S314  (ours)
    x = 0.0
    for rect, wanted in zip(bar.iter("rect"), result["routed"]["critical_path"], strict=True):
        assert float(rect.attrib["x"]) == pytest.approx(x, abs=0.1)
        x += WIDTH * wanted["ns"] / 9.23
        end = float(rect.attrib["x"]) + float(rect.attrib["width"])
        assert end == pytest.approx(x, abs=0.2)
    assert x == pytest.approx(WIDTH)
    shades = [rect.attrib["class"].split()[-1] for rect in bar.iter("rect")]
    assert shades == ["shade0", "shade1", "shade2", "shade1", "shade3"]


@pytest.mark.parametrize("target", RESOURCES)
def test_every_column_is_defined(target: str) -> None:
    result = synthesis(target)
    terms = {
        term.text: text.text
        for term, text in zip(page(result).iter("dt"), page(result).iter("dd"), strict=True)
    }
    markdown = area_report.render_markdown(result)
    for key in RESOURCES[target]:
        title, text = area.COLUMNS[key]
        assert terms[title] == text
        assert f"- **{title}**: {text}" in markdown
    left_out = terms["not counted"] or ""
    assert "wires" in left_out
    assert f"- **not counted**: {left_out}" in markdown


def test_the_definitions_are_those_of_the_counts() -> None:
    text = area_report.render_markdown(synthesis())
    assert "6 for each RAM bit, and 2 more for each port beyond the first" in text
    assert "transistors / 4, as many as a NAND of two inputs has" in text
    assert "sense amplifiers" in text


@pytest.mark.parametrize("target", RESOURCES)
def test_the_page_needs_nothing_from_outside(target: str) -> None:
    text = area_report.render_html(synthesis(target))
    tree = page(synthesis(target))
    assert not re.search(r"https?:|//[a-z]|@import|url\(|src=|href=", text)
    assert not {"script", "link", "iframe", "object", "img"} & {each.tag for each in tree.iter()}
    assert "prefers-color-scheme: dark" in text
    assert len(list(tree.iter("svg"))) == (2 if target == "ecp5" else 1)


def test_text_from_outside_is_escaped() -> None:
    result, bad = synthesis("ecp5"), "<script>a|b</script>&\"'"
    result["fmax_by"] = result["path"][0] = result["memories"][0]["name"] = bad
    result["memories"][0]["mapped"] = result["memories"][0]["ports"] = bad
    result["blocks"]["name"] = result["blocks"]["blocks"][0]["name"] = bad
    result["routed"]["utilization"] = {bad: {"used": 1, "available": 2}}
    result["routed"]["critical_path"][1] = step(bad, 1, bad, bad)
    result["tools"], result["digest"], result["arch"] = (
        {bad: bad},
        bad,
        {"preset": bad, "digest": bad},
    )
    result["part"] = result["target"] = bad
    assert "<script" not in area_report.render_html(result)
    assert "".join(page(result).itertext()).count(bad) > 20
    for table in markdown_tables(result):
        assert len({len(row) for row in table}) == 1
    shown = terminal(result, 200)
    assert shown.count(bad) >= 4
    result["blocks"]["name"] = "[red]x[/red]"
    assert "[red]x[/red]" in terminal(result, 200)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("target", RESOURCES)
def test_the_terminal_shows_every_number(target: str, width: int) -> None:
    result, key = synthesis(target), AREA.get(target, "luts")
    lines = terminal(result, width).splitlines()
    assert max(map(len, lines)) <= width
    hidden = () if target == "liberty" else area_report.SUMS
    keys = [n for n, name in enumerate(RESOURCES[target], 1) if name not in hidden]
    for row in expected(result["blocks"], key, result["resources"][key]):
        wanted = [*row[0].split(), *(row[n] for n in keys), *row[-1].split()]
        # Where there is no room it is the name that gives way.
        seen = wanted if width == 120 else wanted[-len(keys) - 2 :]
        assert any(line.split()[-len(seen) :] == seen for line in lines), row


def test_a_column_of_nothing_is_not_on_the_terminal() -> None:
    result = synthesis("ice40")
    assert "DSP" in terminal(result)
    result["resources"]["dsp"] = 0
    assert "DSP" not in terminal(result)
    assert "DSP" in area_report.render_markdown(result)


def test_a_part_without_area() -> None:
    result = synthesis("gowin")
    empty = dict.fromkeys(RESOURCES["gowin"], 0)
    result |= {"resources": empty, "memories": [], "path": []}
    result["blocks"] = block((), 0, "top") | {"resources": empty, "own": empty}
    assert not list(page(result).iter("svg"))
    assert "## Memories" not in area_report.render_markdown(result)
    assert "–" in terminal(result)


def test_the_command_makes_the_same_result() -> None:
    result = synthesis("liberty")
    said = "make synth PART=top TARGET=generic ARCH=paper LIBERTY='cells 45.lib'"
    assert area.command(result) == said
    assert f"\n    {said}\n" in area_report.render_markdown(result)
    assert said in "".join(page(result).itertext())
    result = synthesis("xilinx")
    result["arch"]["preset"] = "packed"
    assert area.command(result) == "make synth PART=top TARGET=xilinx"


def test_the_files(tmp_path: Path) -> None:
    result = synthesis("ecp5")
    files = area_report.write(result | {"cached": True}, tmp_path / "out")
    assert [file.name for file in files] == ["top-ecp5.json", "top-ecp5.md", "top-ecp5.html"]
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    texts = [file.read_text(encoding="utf-8") for file in files]
    assert json.loads(texts[0]) == result
    assert texts[1:] == [area_report.render_markdown(result), area_report.render_html(result)]


def test_all_is_rendered_before_the_first_is_written(tmp_path: Path) -> None:
    broken = synthesis("ecp5")
    del broken["routed"]["critical_path"][0]["ns"]
    with pytest.raises(KeyError):
        area_report.write(broken, tmp_path)
    with pytest.raises(EvenspikeError, match=r"synthesis\.ltp is nan"):
        area_report.write(synthesis() | {"ltp": float("nan")}, tmp_path)
    assert list(tmp_path.iterdir()) == []
