"""What a run tells of how far it is."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from evenspike_train import data
from evenspike_train.recipes import recipe
from evenspike_train.runs import progress
from evenspike_train.runs.progress import RunProgress
from evenspike_train.runs.trainer import Trainer
from tests.helpers.training import LADDER, lines

Told = tuple[str, int, int | None]


def test_a_phase_counts_by_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A phase of twice the timesteps takes twice as long for as many images."""
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    told: list[Told] = []
    run = RunProgress([400, 400, 200], lambda *now: told.append(now))
    run.begin(1, "round 1", 100)
    run.step(1, 200, 16, (2.5, 4.0), 1.25)
    run.within("validation", 30, 60)
    run.within("new masks", 0, None)
    assert told[0] == ("round 1", 500, 1000)
    assert told[1][0].startswith("round 1  epoch 2.5/4.0  loss 1.250  ")
    assert told[1][0].endswith(" images/s")
    assert told[1][1:] == (600, 1000)
    assert told[2:] == [
        ("round 1  validation 30/60", 600, 1000),
        ("round 1  new masks", 600, 1000),
    ]


def test_few_steps_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PAUSE", 1e9)
    told: list[Told] = []
    run = RunProgress([100], lambda *now: told.append(now))
    run.begin(0, "dense", 0)
    run.step(0, 50, 16, (0.5, 1.0), 1.0)
    assert len(told) == 1


def test_all_that_takes_long_is_told(
    sets: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    told: list[Told] = []
    said: list[str] = []

    def measure(*_: object) -> dict[str, float]:
        return {"cycles": 1.0}

    Trainer(
        recipe.parse(LADDER),
        sets,
        tmp_path,
        measure,
        progress=lambda *now: told.append(now),
        say=said.append,
    ).run()
    units = [done for _, done, _ in told]
    assert units == sorted(units)
    assert {total for *_, total in told} == {2 * (160 + 96 + 96)}
    assert units[-1] == told[-1][2]
    for what in (
        "dense  epoch 2.7/2.7",  # 160 of 60 images
        "dense  validation 0/10",
        "dense  activity of the integer network 0/60",
        "dense  cycles of 2 images, mapping cost",
        "dense  activity of the channels 0/60",
        "dense  new masks",
        "final  validation, average weights 20/20",
    ):
        assert any(text.startswith(what) for text, *_ in told), what
    assert said == (tmp_path / "log.jsonl").read_text().splitlines()
    assert lines(tmp_path, "finished")
