"""Comparing machines: a grid is every combination once, and a point is what `simulate` says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import evenspike as es
from evenspike.report import machines
from tests.helpers.tickets import small_program

ARCHS = es.grid("packed,pes=4|8", {"fifo_depth": (1, 64)})


@pytest.fixture(scope="module")
def found() -> es.Comparison:
    return es.compare([small_program()], ARCHS, images=2, backend="threading")


def test_a_grid_is_every_combination() -> None:
    assert [(arch.pes, arch.fifo_depth) for arch in ARCHS] == [(4, 1), (4, 64), (8, 1), (8, 64)]
    assert [arch.slots for arch in es.grid("packed|paper")] == [64, 1]
    assert len(es.grid()) == 1


@pytest.mark.parametrize(
    ("arch", "fields", "message"),
    [
        ("packed,pes=4|8", {"pes": (2,)}, "pes is given twice"),
        ("packed,pes", None, "no field=value"),
        ("packed,wings=2", None, "no field 'wings'"),
        ("packed", {"pes": ()}, "no list of values"),
        ("packed", {"pes": ("4", "x")}, "'x', which is no whole number"),
        ("nothing", None, "unknown Arch"),
    ],
)
def test_grids_that_are_none(arch: str, fields: dict[str, tuple[str]], message: str) -> None:
    with pytest.raises(es.EvenspikeError, match=message):
        es.grid(arch, fields)


def test_a_point_is_what_simulate_says(found: es.Comparison) -> None:
    for arch, point in zip(ARCHS, found.points, strict=True):
        run = es.simulate(es.pack(small_program(), arch), es.images(2))
        assert (point.cycles, point.utilization) == (run.cycles, run.utilization)
        assert point.energy_pj == run.energy_pj
        assert point.fields == {"pes": arch.pes, "fifo_depth": arch.fifo_depth}
        assert point.speed_up == pytest.approx((found.points[0].cycles or 0) / run.cycles)
        assert point.digest == arch.digest
    assert found.bit_exact
    areas = [point.area_transistors or 0 for point in found.points]
    assert areas == sorted(areas)


def test_processes_give_the_same(found: es.Comparison) -> None:
    again = es.compare([small_program()], ARCHS[:2], images=2, jobs=2, backend="loky")
    assert [p.cycles for p in again.points] == [p.cycles for p in found.points[:2]]


def test_a_machine_that_cannot_run_it_is_a_point_with_an_error() -> None:
    archs = ["packed,pes=4", "packed,pes=4,spike_entries=1"]
    found = es.compare([small_program()], archs, images=1, backend="threading")
    good, bad = found.points
    assert good.cycles
    assert not good.error
    assert bad.cycles is None
    assert "spike_entries" in bad.error
    assert "spike_entries" in machines.markdown(found.to_dict())


def test_what_is_written(found: es.Comparison, tmp_path: Path) -> None:
    files = found.save(tmp_path)
    assert sorted(file.name for file in files) == ["compare.html", "compare.json", "compare.md"]
    content = json.loads((tmp_path / "compare.json").read_text())
    assert content["points"][0]["cycles"] == found.points[0].cycles
    page = (tmp_path / "compare.md").read_text()
    assert "pes=8, fifo_depth=64" in page
    assert (tmp_path / "compare.html").read_text().count("<rect") == 4 * len(ARCHS)
    assert "<table" in found._repr_html_()


def test_a_frame_has_a_row_a_point(found: es.Comparison) -> None:
    pytest.importorskip("pandas")
    frame = found.to_frame()
    assert frame["pes"].tolist() == [4, 4, 8, 8]
    assert frame["cycles"].tolist() == [point.cycles for point in found.points]


def test_two_networks_of_one_name_are_two() -> None:
    program = small_program()
    other = dataclasses.replace(program, provenance={"seed": 1})
    found = es.compare([program, other], ["packed,pes=4", "packed,pes=8"], 1, backend="threading")
    assert [point.speed_up for point in found.points[::2]] == [1.0, 1.0]
    assert len({point.program for point in found.points}) == 2


@pytest.mark.parametrize(
    ("models", "archs", "options", "message"),
    [
        ([0, 0], ["packed"], {}, "the same network is given twice"),
        ([0], ["packed", "packed"], {}, "the same Arch is given twice"),
        ([0], ["packed"], {"mapping": "best"}, "unknown mapping 'best'"),
        (
            [0],
            ["packed,spike_entries=1"],
            {},
            "no machine runs a network.*spike_entries",
        ),
    ],
)
def test_what_no_point_could_do_without(
    models: list[int], archs: list[str], options: dict[str, str], message: str
) -> None:
    programs = [small_program() for _ in models]
    with pytest.raises(es.EvenspikeError, match=message):
        es.compare(programs, archs, 1, backend="threading", **options)  # type: ignore[arg-type]


def test_nothing_to_compare() -> None:
    with pytest.raises(es.EvenspikeError, match="at least one network and one Arch"):
        es.compare([], ["packed"])
    with pytest.raises(es.EvenspikeError, match="the limit is 4096"):
        es.compare(
            [small_program()], es.grid("packed", {"fifo_depth": range(1, 4097), "slots": (1, 2)})
        )
