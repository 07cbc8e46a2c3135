"""The u-Ticket paper, figure by figure: the whole way on narrow networks, and the rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evenspike.cli import main
from evenspike.flows import reproduce as flow
from evenspike.report.reproduction import consistency, energy, figures, page, parts
from evenspike.report.reproduction.parts import SINGLE
from evenspike_core import published_uticket as paper
from evenspike_core.errors import EvenspikeError

TINY = flow.Plan(
    divisor=4,
    draws=3,
    data=(("vgg16", ("cifar10",)),),
    fifos=(4, 64),
    pes=(8, 16),
    rounds=(14,),
    tickets=0,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[flow.Reproduction, Path]:
    folder = tmp_path_factory.mktemp("reproduce")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "QUICK", TINY)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        found = flow.reproduce(folder / "out", folder / "pages", quick=True, jobs=1)
    return found, folder


Made = tuple[flow.Reproduction, Path]


def rows(record: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = next(
        one["rows"] for one in record["figures"] if one["name"] == name
    )
    return found


def test_everything_is_written(made: Made) -> None:
    found, folder = made
    record = json.loads((folder / "out" / "reproduce.json").read_text(encoding="utf-8"))
    assert record == json.loads(json.dumps(found.record))
    text = (folder / "pages" / "paper.md").read_text(encoding="utf-8")
    for section in record["figures"]:
        assert f"## {section['title']}\n" in text
        for row in section["rows"]:
            assert f"| {row['what']} | " in text
            assert row["verdict"] in (parts.AGREES, parts.DIFFERS, parts.UNSTATED)
            assert row["rule"] in parts.RULES
            assert bool(row["reason"]) == (row["verdict"] == parts.DIFFERS), row
    plots = sorted(path.name for path in (folder / "pages").glob("*.svg"))
    assert plots == sorted(page.plots(record))
    assert all(name in text for name in plots)
    assert "no verdict below says anything of the paper" in text
    assert sum(found.verdicts.values()) == sum(len(one["rows"]) for one in record["figures"])


def test_runs_equal_the_reference_and_add_up(made: Made) -> None:
    record = made[0].record
    assert len(record["runs"]) == len(flow._tasks(TINY))
    for run in record["runs"]:
        assert run["error"] == ""
        assert run["bit_exact"]
        states = sum(run[key] for key in ("busy", "starved", "waiting", "loading", "draining"))
        assert states == pytest.approx(run["cycles"] * run["pes"])
        assert sum(layer["cycles"] for layer in run["layers"]) == pytest.approx(run["cycles"])
        groups = sum(one["pj"] for one in run["by_action"].values())
        assert groups == pytest.approx(run["energy_pj"])


def test_what_has_run_is_not_run_again(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    found, folder = made

    def never(*task: object) -> None:
        raise AssertionError(task)

    monkeypatch.setattr(flow, "_run", never)
    again = flow._runs(TINY, folder / "out" / flow.RUNS, 1, "threading", lambda *_: None)
    assert all(run["kept"] for run in again)
    assert [run | {"kept": False} for run in again] == found.record["runs"]
    with pytest.raises(AssertionError):
        flow._runs(TINY, folder / "elsewhere", 1, "threading", lambda *_: None)


def test_fitted_networks_have_the_papers_totals(made: Made) -> None:
    """At a quarter of the width a sixteenth of them; the draws are few, so within 15 %."""
    for one in made[0].record["drawn"]:
        if one["pruned"] is not None or one["pes"] != 16 or one["method"] == flow.BALANCED:
            continue
        stated = paper.CYCLES[one["network"], one["data"], one["method"]]
        counts = one["paper_convention"]
        assert counts["work"]["mean"] == pytest.approx(stated.work * 1e8 / 16, rel=0.03)
        assert (counts["work"]["mean"] + counts["idle"]["mean"]) / 16 == pytest.approx(
            counts["latency"]["mean"]
        )
        idle = pytest.approx(stated.idle * 1e8 / 16, rel=0.15)
        assert counts["idle"]["mean"] == (idle if one["method"] == flow.LTH else 0)


def test_what_is_known_of_the_paper_is_computed(made: Made) -> None:
    found = rows(made[0].record, "consistency")
    said = {row["what"]: row for row in found}
    assert said["Table IV: (work + idle) / 16 PEs = latency"]["verdict"] == parts.AGREES
    repeats = said["Table IV: the rows of CIFAR100 are measured"]
    assert repeats["ours"].startswith("4 of 4 rows repeat")
    gain = said["VGG-16, CIFAR10: the latency's gain comes of balance"]
    assert gain["ours"].replace("\u00d7", "x") == (
        "x 1.86, of which x 1.43 is fewer weights and x 1.31 balance"
    )
    possible = [row for row in found if "most work possible" in row["what"]]
    assert len(possible) == 2
    assert all(row["ours"] < row["paper"] for row in possible)
    assert possible[0]["ours"] == pytest.approx(0.948e8, rel=1e-3)


def test_a_verdict_follows_from_its_rule() -> None:
    spread = {"mean": 1.0, "std": 0.1, "n": 3}
    for ours, agrees in ((1.005, True), (1.0051, False), (spread, True)):
        row = parts.printed("a", 1.0, ours, 0.005, reason="why")
        assert (row["verdict"] == parts.AGREES) == agrees
    wide = parts.printed("a", 1.21, spread, 0.005, reason="why")
    assert (wide["verdict"], wide["reason"], wide["by"]) == (parts.DIFFERS, "why", 1 / 1.21 - 1)
    assert parts.printed("a", 1.204, spread, 0.005, reason="why")["verdict"] == parts.AGREES
    assert parts.tenth("a", 10.0, 11.0, reason="why")["verdict"] == parts.AGREES
    assert parts.tenth("a", 10.0, 11.1, reason="why")["verdict"] == parts.DIFFERS
    assert parts.same_network("a", 0.59, 0.66, reason="why")["verdict"] == parts.AGREES
    assert parts.same_network("a", 0.59, 0.51, reason="why")["verdict"] == parts.DIFFERS
    assert parts.claim("a", "b", "c", False, reason="why")["verdict"] == parts.DIFFERS
    assert parts.picture("a", 0.5)["verdict"] == parts.UNSTATED


@pytest.mark.parametrize("ratio", [3.0, 4.75, 8.0])
def test_the_papers_energies_fit_one_ratio(ratio: float) -> None:
    """4.75 leaves all six possible by the printed digits; another does not."""
    inside = []
    for (network, data), stated in paper.REDUCTIONS.items():
        _, low, high = energy._stated(network, data, ratio)
        assert low < high
        inside.append(100 * low - 0.05 <= stated <= 100 * high + 0.05)
    assert all(inside) == (ratio == 4.75), inside


def test_another_table_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks are of the numbers: with one changed, the row says so."""
    key = ("vgg16", "fmnist", "imp")
    monkeypatch.setitem(paper.CYCLES, key, paper.Cycles(1.10, 0.42, 0.11, 0.57))
    changed = consistency.consistency({"bounds": []})["rows"][0]
    assert (changed["verdict"], changed["ours"]) == (
        parts.DIFFERS, "15 of 16 rows, to their last digit",
    )  # fmt: skip


def test_every_action_has_its_place() -> None:
    from evenspike.report.reproduction.system import GROUPS
    from evenspike_sim.energy_table import ACTIONS

    placed = [action for actions in GROUPS.values() for action in actions]
    assert sorted(placed) == sorted(ACTIONS)


def test_the_full_plan_has_what_the_paper_has() -> None:
    tasks = flow._tasks(flow.FULL)
    assert len(set(tasks)) == len(tasks)
    keys = {(one.network, one.data) for one, _, _ in tasks}
    assert keys == set(paper.REDUCTIONS)
    assert {arch for _, arch, _ in tasks} >= {SINGLE, "packed", figures.LADDER_ARCH}


def test_a_ratio_may_be_measured(tmp_path: Path) -> None:
    file = tmp_path / "power.json"
    file.write_text('{"eq3": {"ratio": 0.75, "fitted": 4.75}}')
    assert flow._ratio(None, file) == {"value": 0.75, "source": "measured: power.json"}
    assert flow._ratio(2, None) == {"value": 2.0, "source": "given"}
    with pytest.raises(EvenspikeError, match="exclude each other"):
        flow._ratio(2, file)
    for given, says in (
        ("{}", f"{file}: has no eq3.ratio; it is of a PE"),
        ('{"eq3": null}', f"{file}: has no eq3.ratio; it is of a PE"),
        ('{"eq3": {"ratio": "x"}}', "E_d / E_l is 'x', possible are above 0 to 1e6"),
    ):
        file.write_text(given)
        with pytest.raises(EvenspikeError) as caught:
            flow._ratio(None, file)
        assert str(caught.value).startswith(says)


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["reproduce", "--quick", "--out", str(tmp_path / "o"), "--docs", str(tmp_path / "d")]
    for given, says in (
        (["--ratio", "0"], "E_d / E_l is 0.0, possible are above 0 to 1e6"),
        (["--ratio", "nan"], "E_d / E_l is nan, possible are above 0 to 1e6"),
        (["--power", str(tmp_path / "none.json")], str(tmp_path / "none.json")),
        (["--backend", "cloud"], "backend: must be one of loky"),
        (["--jobs", "-1"], "-1 at a time"),
    ):
        assert main([*asked, *given]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert says in error
    assert not list(tmp_path.rglob("*.md"))
