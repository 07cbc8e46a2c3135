"""Baselines: what fails, what passes and what is only said. No synthesis runs here."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("amaranth")

from evenspike_core.errors import EvenspikeError
from tests.helpers import baselines

Data = dict[str, Any]


def result(target: str = "generic", **changes: Any) -> Data:
    """A synthesis of an invented PE."""
    resources: Data = {"cells": 600, "flip_flops": 100}
    if target == "generic":
        resources |= {"gates": 500, "ram_bits": 64, "transistors": 5000}
    else:
        resources |= {"luts": 500, "muxes": 70, "block_ram": 2, "carry": 50}
        resources |= {"distributed_ram": 8, "dsp": 1}
    found: Data = {
        "part": "pe",
        "target": target,
        "tools": {"yosys": "0.70"},
        "ltp": 10,
        "memories": [{"name": "pe.fifo.memory", "depth": 64, "width": 1, "mapped": "memory"}],
        "resources": resources,
    }
    for name, value in changes.items():
        place = found if name in found else found["resources"]
        place[name] = value
    return found


def lost(**changes: Any) -> Data:
    found = result(**changes)
    found["memories"][0]["mapped"] = "flip-flops"
    return found


BEFORE = baselines.baseline(result(), None)


def verdicts(before: Data, now: Data) -> dict[str, str]:
    return {f.metric: f.verdict for f in baselines.compare(before, now) if f.verdict != "same"}


def test_the_same_is_the_same() -> None:
    for target, names in (("generic", baselines.GENERIC), ("ecp5", baselines.FPGA)):
        before = baselines.baseline(result(target), None)
        assert verdicts(before, result(target)) == {}
        assert tuple(before["metrics"]) == names


def test_what_is_no_metric_may_change() -> None:
    assert verdicts(BEFORE, result(cells=6000, gates=5000)) == {}


@pytest.mark.parametrize(
    ("name", "most", "least"),
    [("transistors", 5100, 4900), ("flip_flops", 102, 98), ("ram_bits", 64, 64), ("ltp", 11, 9)],
)
def test_the_limits_of_each_metric(name: str, most: int, least: int) -> None:
    def found(value: int) -> dict[str, str]:
        changes: Data = {name: value}
        return verdicts(BEFORE, result("generic", **changes))

    assert found(most) == found(least) == {}
    assert found(most + 1) == {name: "worse"}
    assert found(least - 1) == {name: "better"}


def test_a_long_path_may_grow_by_its_share() -> None:
    before = baselines.baseline(result(ltp=100), None)
    assert verdicts(before, result(ltp=105)) == {}
    assert verdicts(before, result(ltp=106)) == {"ltp": "worse"}


def test_nothing_becomes_something() -> None:
    before = baselines.baseline(result("ecp5", block_ram=0, carry=0), None)
    now = result("ecp5", block_ram=1, carry=1)
    assert verdicts(before, now) == {"block_ram": "worse", "carry": "worse"}
    assert {f.difference for f in baselines.compare(before, now) if f.fails} == {"+1"}


def test_a_metric_that_one_side_lacks() -> None:
    now = result()
    del now["resources"]["transistors"]
    assert verdicts(BEFORE, now) == {"transistors": "missing"}
    before = copy.deepcopy(BEFORE)
    del before["metrics"]["transistors"]
    assert verdicts(before, result()) == {"transistors": "missing"}
    assert all(f.fails for f in baselines.compare(before, result()) if f.verdict == "missing")


def test_a_memory_that_became_flip_flops() -> None:
    """Even where all numbers have become better."""
    assert verdicts(BEFORE, lost(transistors=1, flip_flops=1))["pe.fifo.memory"] == "worse"
    unknown = result()
    unknown["memories"][0]["mapped"] = "?"
    assert verdicts(BEFORE, unknown) == {"pe.fifo.memory": "worse"}
    for mapped in ("registers", "PDPW16KD"):
        unknown["memories"][0]["mapped"] = mapped
        assert verdicts(BEFORE, unknown) == {}


# --- files ----------------------------------------------------------------------------------


def judged(
    capsys: pytest.CaptureFixture[str], now: Data, folder: Path, update: bool = False
) -> tuple[bool, str]:
    capsys.readouterr()
    passes = baselines.judge("pe-generic", now, folder, update)
    return passes, capsys.readouterr().out


def test_a_baseline_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passes, text = judged(capsys, result(), tmp_path)
    assert not passes
    assert "pe-generic: no baseline; --update writes it" in text
    assert not list(tmp_path.iterdir())


def test_an_update_and_what_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    assert judged(capsys, result(), folder, update=True)[0]
    assert json.loads((folder / "pe-generic.json").read_text()) == BEFORE
    assert judged(capsys, result(), folder) == (True, "")
    passes, text = judged(capsys, result(transistors=5500), folder)
    assert not passes
    assert re.search(r"transistors +5,000 +5,500 +\+500 \(\+10\.0%\) worse", text)
    passes, text = judged(capsys, result(transistors=4500), folder)
    assert passes
    assert re.search(r"transistors .* -500 \(-10\.0%\) better: update the baseline", text)
    assert json.loads((folder / "pe-generic.json").read_text()) == BEFORE
    assert judged(capsys, result(transistors=5500), folder, update=True)[0]
    assert judged(capsys, result(transistors=5500), folder) == (True, "")


def test_an_update_keeps_what_was_edited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, edited = tmp_path / "pe-generic.json", copy.deepcopy(BEFORE)
    edited["metrics"]["transistors"]["tolerance"] = 0.5
    file.write_text(json.dumps(edited))
    assert judged(capsys, result(transistors=7500), tmp_path)[0]
    assert judged(capsys, result(transistors=7500), tmp_path, update=True)[0]
    written = json.loads(file.read_text())
    assert written["metrics"]["transistors"] == {"value": 7500, "tolerance": 0.5}


def test_no_update_accepts_a_memory_in_flip_flops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not judged(capsys, lost(), tmp_path, update=True)[0]
    assert not list(tmp_path.iterdir())
    assert judged(capsys, result(), tmp_path, update=True)[0]
    passes, text = judged(capsys, lost(), tmp_path, update=True)
    assert not passes
    assert re.search(r"pe\.fifo\.memory +RAM +flip-flops +- worse", text)
    assert json.loads((tmp_path / "pe-generic.json").read_text()) == BEFORE


def test_another_yosys_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged(capsys, result(), tmp_path, update=True)
    passes, text = judged(capsys, result(tools={"yosys": "0.71"}), tmp_path)
    assert passes
    assert text == "pe-generic: yosys 0.71 instead of 0.70\n"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({**BEFORE, "part": "apu"}),
        json.dumps({**BEFORE, "arch": "paper"}),
        json.dumps({**BEFORE, "metrics": {"ltp": 3}}),
        json.dumps({**BEFORE, "metrics": {"ltp": {"value": 3}}}),
        json.dumps({**BEFORE, "metrics": {"ltp": {"value": 3, "tolerance": -1}}}),
        json.dumps({**BEFORE, "tools": None}),
    ],
)
def test_a_file_that_is_no_baseline(tmp_path: Path, content: str) -> None:
    (tmp_path / "pe-generic.json").write_text(content)
    with pytest.raises(EvenspikeError, match=r"pe-generic\.json: no baseline"):
        baselines.load("pe-generic", tmp_path)


# --- the command ----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def synthesize(request: Any, _: Path) -> Data:
        found = result(request.target) | {"part": request.part, "cached": True}
        return found if request.part != "apu" else found | {"ltp": 20}

    monkeypatch.setattr(baselines, "synthesize", synthesize)
    monkeypatch.setattr(baselines, "FOLDER", tmp_path)
    return tmp_path


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert baselines.main(["pe-ice40"]) == 1
    assert baselines.main(["--update"]) == 0
    assert {path.stem for path in folder.iterdir()} == set(baselines.NAMES)
    assert baselines.main([]) == 0
    slower = json.loads((folder / "apu-generic.json").read_text())
    slower["metrics"]["ltp"]["value"] = 18
    (folder / "apu-generic.json").write_text(json.dumps(slower))
    assert baselines.main(["pe-generic", "pe-ecp5"]) == 0
    assert baselines.main(["pe-generic", "apu-generic"]) == 1
    assert "1 of 2 failed" in capsys.readouterr().out
    (folder / "apu-generic.json").write_text("{")
    assert baselines.main(["apu-generic"]) == 2


def test_a_file_that_nothing_compares(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert baselines.main(["--update"]) == 0
    (folder / "old-generic.json").write_text("{}")
    capsys.readouterr()
    assert baselines.main(["pe-generic"]) == 1
    assert "old-generic: FAILS: no such part is compared" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_a_name_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        baselines.main(["pe-gowin"])
    assert stop.value.code == 2
    assert "pe-generic" in capsys.readouterr().err


def test_every_baseline_of_the_tree_is_one() -> None:
    for name in baselines.NAMES:
        assert baselines.load(name, baselines.FOLDER) is not None
