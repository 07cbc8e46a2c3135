"""The bar of a run: what it shows on a terminal, and that without one there are only lines."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

pytest.importorskip("torch")

from evenspike_train.recipes import recipe
from evenspike_train.runs import progress
from evenspike_train.runs.progress import RunProgress
from evenspike_train.runs.trainer import Trainer
from tests.train.test_killed import RECIPE, make_sets


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120, _environ={"TERM": "xterm"})


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_bar_says_how_far_the_run_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    console = terminal()
    with RunProgress([400, 400, 200], console) as bar:
        bar.begin(1, "round 1", 100)
        for step in range(1, 6):
            time.sleep(0.02)
            bar.step(1, 100 + 20 * step, 16, (0.5 * step, 4.0), 1.25)
        bar.print('{"event": "x", "[bold]": 1}')
    text = shown(console)
    assert "round 1" in text
    assert "60%" in text  # (400 + 200) of 1000 units
    assert "epoch 2.5/4.0" in text
    assert "loss 1.250" in text
    assert "images/s" in text
    assert '{"event": "x", "[bold]": 1}' in text


def test_time_left_follows_from_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A phase of twice the timesteps takes twice as long for as many images."""
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    bar = RunProgress([1000, 2000], terminal())
    bar.begin(0, "dense", 0)
    for step in range(1, 11):
        time.sleep(0.01)
        bar.step(0, 10 * step, 1, (0.0, 1.0), 1.0)
    (task,) = bar._bar.tasks
    assert task.total == 3000
    assert task.completed == 100
    assert task.speed is not None
    assert task.time_remaining == pytest.approx(2900 / task.speed, abs=1)
    bar.begin(1, "final", 0)
    assert task.completed == 1000
    assert task.description == "final"


def test_without_a_terminal_only_lines(capsys: pytest.CaptureFixture[str]) -> None:
    bar = RunProgress([10], Console(file=io.StringIO()))
    assert not bar.shown
    with bar:
        bar.begin(0, "dense", 0)
        bar.step(0, 5, 16, (0.5, 1.0), 1.0)
        bar.print("line")
    assert capsys.readouterr().out == "line\n"


def test_a_run_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    run = Trainer(recipe.parse(RECIPE), make_sets(), tmp_path)
    console = terminal()
    run._progress = RunProgress([run._work(phase) for phase in run.phases], console)
    run.run()
    text = shown(console)
    assert all(phase.name in text for phase in run.phases)
    assert "epoch 2.7/2.7" in text  # 160 of 60 images
    assert "100%" in text
    assert '"event": "finished"' in text
