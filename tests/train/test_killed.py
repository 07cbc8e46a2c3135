"""Wherever a run is killed, it goes on to the same ticket, bit for bit, and to the same log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from evenspike_core.errors import EvenspikeError
from evenspike_train import data
from evenspike_train.recipes import recipe
from evenspike_train.runs import lock, mask_update, run_state, trainer
from evenspike_train.runs.export import read_history
from evenspike_train.runs.run_log import RunLog
from evenspike_train.runs.run_state import RunState
from evenspike_train.runs.trainer import Trainer
from evenspike_train.runs.training_step import TrainingStep
from evenspike_train.tickets import masks
from tests.helpers.disk import full_disk
from tests.helpers.killing import KilledError
from tests.helpers.training import LADDER, lines, make_sets, ticket

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(sets: data.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    Trainer(recipe.parse(LADDER), sets, folder).run()
    return folder


def same(folder: Path, whole: Path) -> None:
    a, b = ticket(folder), ticket(whole)
    assert a["figures"] == b["figures"]
    assert a["images_seen"] == b["images_seen"]
    for name, tensor in b["model"].items():
        assert torch.equal(a["model"][name], tensor), name
    logs = [events(one) for one in (folder, whole)]
    assert logs[0] == logs[1]
    assert len(logs[0]) == len(set(logs[0]))
    assert not list(folder.glob(".*"))


def events(folder: Path) -> list[tuple[str, str, str]]:
    """What the log says, without times, and without what a run says whenever it starts."""
    return [
        (line["event"], line["phase"], str(line.get("weights", "")) + str(line.get("accuracy")))
        for line in lines(folder)
        if line["event"] != "kernels"
    ]


def kill(owner: Any, name: str, nth: int, *, after: bool = False) -> Callable[[], None]:
    """Patch a function to die in its `nth` call; returns what takes the patch away."""
    original, calls = getattr(owner, name), 0

    def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and not after:
            raise KilledError
        result = original(*arguments, **options)
        if calls == nth:
            raise KilledError
        return result

    setattr(owner, name, dying)
    return lambda: setattr(owner, name, original)


PLACES: dict[str, tuple[Any, str, int, bool]] = {
    "before the recipe is there": (os, "replace", 1, False),
    "before the first checkpoint": (TrainingStep, "train", 3, False),
    "in the middle of an epoch": (TrainingStep, "train", 7, False),
    "after a step that ends an epoch": (TrainingStep, "train", 8, True),
    "before the snapshot": (RunState, "take_snapshot", 1, False),
    "after the snapshot": (RunState, "take_snapshot", 1, True),
    "in the evaluation of a round": (trainer, "evaluate", 1, False),
    "before a mask update": (trainer, "update_masks", 1, False),
    "in a mask update": (masks, "write", 2, True),
    "in the rewind": (mask_update, "rewind", 2, False),
    "after a mask update": (trainer, "update_masks", 2, True),
    "before a checkpoint": (Trainer, "save", 3, False),
    "after a checkpoint": (Trainer, "save", 3, True),
    "while a checkpoint is written": (os, "fsync", 6, False),
    "between a checkpoint and its name": (os, "replace", 5, False),
    "in the last phase": (TrainingStep, "train", 21, False),
    "in the last evaluation": (trainer, "evaluate", 4, False),
    "before the ticket": (Trainer, "result", 2, False),
    "after the ticket": (RunState, "write", 10, True),
}


@pytest.mark.parametrize("place", PLACES)
def test_killed_anywhere(place: str, sets: data.Dataset, whole: Path, tmp_path: Path) -> None:
    owner, name, nth, after = PLACES[place]
    given = recipe.parse(LADDER)
    restore = kill(owner, name, nth, after=after)
    try:
        with pytest.raises(KilledError):
            Trainer(given, sets, tmp_path).run()
    finally:
        restore()
    Trainer(given, sets, tmp_path).run()
    same(tmp_path, whole)


def test_a_full_disk(sets: data.Dataset, whole: Path, tmp_path: Path) -> None:
    """The run goes on once there is room."""
    given = recipe.parse(LADDER)
    with (
        full_disk(20_000),
        pytest.raises(EvenspikeError, match=r"state.pt: cannot be written: File too large$"),
    ):
        Trainer(given, sets, tmp_path).run()
    Trainer(given, sets, tmp_path).run()
    same(tmp_path, whole)


def test_a_line_that_the_kill_cut(
    sets: data.Dataset, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = RunLog.append

    def cut(self: RunLog, line: dict[str, Any]) -> str:
        if line["event"] == "trained" and line["phase"] == "round 1":
            with self.path.open("a") as stream:
                stream.write('{"event": "trai')
            raise KilledError
        return original(self, line)

    given = recipe.parse(LADDER)
    with monkeypatch.context() as patched:
        patched.setattr(RunLog, "append", cut)
        with pytest.raises(KilledError):
            Trainer(given, sets, tmp_path).run()
    before = (tmp_path / "log.jsonl").read_bytes()
    assert before.endswith(b'{"event": "trai')
    whole_lines = before.count(b"\n")
    assert len(read_history(tmp_path / "log.jsonl")) == whole_lines - 1  # but for "kernels"
    Trainer(given, sets, tmp_path).run()
    same(tmp_path, whole)


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Phase and step of each checkpoint, as they are written."""
    found, original = [], Trainer.save

    def save(self: Trainer) -> None:
        original(self)
        found.append((self.state.phase_index, self.state.step))

    monkeypatch.setattr(Trainer, "save", save)
    return found


def test_a_checkpoint_ends_each_epoch(
    sets: data.Dataset, tmp_path: Path, saved: list[tuple[int, int]]
) -> None:
    Trainer(recipe.parse(LADDER), sets, tmp_path).run()
    # 60 images in batches of 16: the 4th step passes the 60th image, the 8th the 120th.  A phase
    # ends in a checkpoint of the next one's beginning.
    assert saved == [(0, 4), (0, 8), (1, 0), (1, 4), (2, 0), (2, 4), (2, 6)]


def test_checkpoints_by_time_alone(
    sets: data.Dataset, tmp_path: Path, saved: list[tuple[int, int]]
) -> None:
    """Where one is large, a short epoch has none; the end of a phase always has one."""
    text = LADDER.replace(
        "checkpoint_seconds = 1e9", "checkpoint_seconds = %s\ncheckpoint_epochs = false"
    )
    Trainer(recipe.parse(text % "1e9"), sets, tmp_path / "never").run()
    assert saved == [(1, 0), (2, 0), (2, 6)]
    saved.clear()
    Trainer(recipe.parse(text % "0"), sets, tmp_path / "always").run()
    assert len(saved) == 22 + 3


def test_no_checkpoint_of_weights_that_are_not_finite(
    sets: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the step before was finite; the state of the epoch before stays."""
    original = TrainingStep.train

    def step(self: TrainingStep, *arguments: Any) -> float:
        loss = original(self, *arguments)
        if self.state.step == 8:
            with torch.no_grad():
                next(self.state.model.parameters()).fill_(float("nan"))
        return loss

    given = recipe.parse(LADDER)
    with monkeypatch.context() as patched:
        patched.setattr(TrainingStep, "train", step)
        with pytest.raises(EvenspikeError, match=r"dense, step 8: .* not finite; lower the learn"):
            Trainer(given, sets, tmp_path).run()
    again = Trainer(given, sets, tmp_path)
    assert again.resume()
    assert again.state.step == 4


PROGRAM = """
import sys
from pathlib import Path
from evenspike_train.recipes import recipe
from evenspike_train.runs.trainer import Trainer
from evenspike_train.runs.training_step import TrainingStep
from tests.helpers.training import LADDER, alike, make_sets
alike()
Trainer(recipe.parse(LADDER.replace("1e9", "0")), make_sets(), Path(sys.argv[1])).run()
"""


def test_killed_by_the_system(whole: Path, tmp_path: Path) -> None:
    """SIGKILL, as soon as the checkpoint has changed so many times."""
    program = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    for changes in (2, 9, None):
        process = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.DEVNULL)
        seen: set[int] = set()
        while changes is not None and len(seen) <= changes and process.poll() is None:
            if (tmp_path / run_state.FILE).exists():
                seen.add((tmp_path / run_state.FILE).stat().st_mtime_ns)
            time.sleep(0.001)
        if changes is not None:
            process.send_signal(signal.SIGKILL)
        status = process.wait()
        assert status == (0 if changes is None else -signal.SIGKILL)
    same(tmp_path, whole)


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    run = Trainer(recipe.parse(LADDER), make_sets(), tmp_path)
    with (
        lock.alone(tmp_path),
        pytest.raises(EvenspikeError, match="another process is training in it"),
    ):
        run.run()
    assert list(tmp_path.iterdir()) == []
    with lock.alone(tmp_path):
        pass  # it was let go
