"""The area study: its sums and tables, of invented syntheses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("amaranth")

from amaranth.hdl import Fragment

from evenspike.flows import study as area_study
from evenspike.report.area import study as study_report
from evenspike_core.arch import preset
from evenspike_core.errors import EvenspikeError
from evenspike_hw.rtl.pe.pe import Pe

Cli = Callable[..., Any]
Data = dict[str, Any]

BLOCKS = {**study_report.COMPUTES, **study_report.MOVES}


def test_they_are_the_blocks_of_a_pe() -> None:
    found = {name for _, name, _ in Fragment.get(Pe(preset("packed")), None).subfragments}
    assert found == set(BLOCKS) - {"own"}


def block(name: str, own: int, *inner: Data, count: int = 1) -> Data:
    """A block whose logic is `own` and whose RAM is three times that."""
    each: Data = {
        "transistors": 4 * own,
        "logic_transistors": own,
        "ram_transistors": 3 * own,
        **dict.fromkeys(("luts", "flip_flops", "block_ram", "distributed_ram", "ram_bits"), own),
    }
    total = {
        key: value + sum(b["count"] * b["resources"][key] for b in inner)
        for key, value in each.items()
    }
    return {"name": name, "count": count, "resources": total, "own": each, "blocks": list(inner)}


def pe(fifo: int = 64, lines: int = 128) -> Data:
    sizes = dict.fromkeys(BLOCKS, 10) | {"fifo": fifo, "channel_table": lines, "lif": 1000}
    own = sizes.pop("own")
    return block("pe", own, *(block(name, size) for name, size in sizes.items()))


def synthesized(part: str, target: str, arch: Any) -> Data:
    inner = pe(arch.fifo_depth, arch.chunk_channels)
    if part == "top":
        array = block("array", 5, inner | {"count": arch.pes})
        # A FIFO that is no PE's must not be taken for one.
        port = block("port", 1, block("fifo", 999))
        apu, spikes = block("apu", 20 * arch.pes), block("spikes", arch.spike_entries)
        inner = block("top", 3, apu, array, port, spikes)
    if part == "spikes":
        inner = block("spikes", arch.spike_entries)
    named = {"preset": arch.preset, "digest": arch.digest}
    return {
        "part": part,
        "target": target,
        "arch": named,
        "tools": {"yosys": "0"},
        "ltp": 60 + arch.pes,
        "resources": inner["resources"],
        "blocks": inner,
        "cached": False,
    }


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    made: list[tuple[str, str, str]] = []

    def synthesize(request: Any, *_: object) -> Data:
        assert request.route is False
        made.append((request.part, request.target, request.arch.digest))
        return synthesized(request.part, request.target, request.arch)

    monkeypatch.setattr(area_study, "synthesize", synthesize)
    return made


def test_the_figures(cli: Cli, tmp_path: Path, calls: list[Any]) -> None:
    done = cli("synth", "--study", "--out", tmp_path)
    assert (done.status, done.err) == (0, "")
    assert f"{area_study.COUNT} syntheses" in done.out
    assert len(calls) == area_study.COUNT
    found = json.loads((tmp_path / "study.json").read_text())

    whole = 4 * (10 * 10 + 1000 + 64 + 128)
    blocks = {row["block"]: row["transistors"] for row in found["pe"]}
    assert blocks.pop("all") == sum(blocks.values()) == whole
    assert set(blocks) == set(BLOCKS)

    assert [row["depth"] for row in found["fifo"]] == [0, 4, 16, 64, 256]
    for row in found["fifo"]:
        depth = row["depth"]
        assert row["pe"] == whole - 4 * (64 - depth)
        assert row["share"] == pytest.approx(4 * depth / row["pe"])
        assert row["extra"] == pytest.approx(4 * depth / (whole - 4 * 64))
        rest = 4 * (3 + 5 + 1 + 999 + 320 + 8192) + 16 * (whole - 4 * 64)
        assert row["chip"] == pytest.approx(16 * 4 * depth / rest)

    for row in found["pes"]:
        n = row["pes"]
        assert row["one_pe"] == whole + 4 * 8 * (n - 16)
        assert row["top"] == n * row["one_pe"] + row["apu"] + row["spikes"] + row["rest"]
        assert (row["apu"], row["rest"]) == (80 * n, 4 * (3 + 5 + 1 + 999))
        assert row["same_neurons"] * n == row["spikes"] * 16
        assert row["ltp"] == 60 + n
    assert [row["pes"] for row in found["pes"]] == [2, 4, 8, 16, 32, 64]


@pytest.mark.usefixtures("calls")
def test_the_tables_say_the_figures(cli: Cli, tmp_path: Path) -> None:
    done = cli("synth", "--study", "--out", tmp_path)
    text = (tmp_path / "study.md").read_text()
    assert "is 79.7 % of the PE's transistors: the goal of 70 % is met." in text
    assert "the FIFO is 5.0 % of the PE, 5.2 % more than a PE without it" in text
    assert "the channel table is 100.0 %" in text
    assert "\n| 64 | 5,168 | 256 | 5.0 % | 5.2 % |" in text
    for section in study_report.sections(json.loads((tmp_path / "study.json").read_text())):
        assert section.title in done.out
        assert all(len(line) == len(section.head) for line in section.lines)
    assert "…" not in done.out, "a number was cut"


def test_a_goal_that_is_missed(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def synthesize(request: Any, *_: object) -> Data:
        result = synthesized(request.part, request.target, request.arch)
        if request.part == "pe":
            result["blocks"] = block(
                "pe", 0, *(block(name, 10) for name in BLOCKS if name != "own")
            )
        return result

    monkeypatch.setattr(area_study, "synthesize", synthesize)
    assert cli("synth", "--study", "--out", tmp_path).status == 0
    assert (
        "33.3 % of the PE's transistors: the goal of 70 % is missed. Of the logic"
        in (tmp_path / "study.md").read_text()
    )


PAGE = f"# A page\n\n{area_study.BEGIN}old\n{area_study.END}\nand its end\n"


@pytest.mark.usefixtures("calls")
def test_a_page_that_holds_the_tables(cli: Cli, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    contents = []
    for _ in range(2):
        assert cli("synth", "--study", "--out", tmp_path, "--docs", page).status == 0
        contents.append(page.read_text())
    assert contents[0] == contents[1], "a second run changes nothing"
    before, _, rest = contents[0].partition(area_study.BEGIN)
    middle, _, after = rest.partition(area_study.END)
    assert (before, after) == ("# A page\n\n", "\nand its end\n")
    assert middle.strip() == (tmp_path / "study.md").read_text().strip()


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        PAGE.replace(area_study.BEGIN, ""),
        PAGE.replace(area_study.END, ""),
        PAGE + PAGE,
        area_study.END + area_study.BEGIN,
    ],
)
def test_a_page_without_a_place_for_them(
    cli: Cli, tmp_path: Path, calls: list[Any], content: str | None
) -> None:
    page = tmp_path / "page.md"
    if content is not None:
        page.write_text(content)
    done = cli("synth", "--study", "--out", tmp_path / "out", "--docs", page)
    assert done.status == 2
    assert done.err.startswith(f"evenspike: {page}: ")
    assert calls == [], "it is said before the first synthesis"
    assert content is None or page.read_text() == content


def test_a_block_that_is_not_there() -> None:
    with pytest.raises(EvenspikeError, match="pe has no block 'fifos'"):
        area_study.find(pe(), "fifos")
