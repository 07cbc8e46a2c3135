"""`evenspike sweep`: its runs, its list of them, and what it refuses."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("joblib")

import torch

from evenspike_core import backends
from evenspike_core.errors import EvenspikeError
from evenspike_train.recipes import recipe as recipes
from evenspike_train.recipes.derive import Changes, derive
from evenspike_train.runs import command, dense_phase, sweep
from evenspike_train.runs.sweep import Axes
from evenspike_train.runs.trainer import Trainer
from evenspike_train.runs.training_step import TrainingStep
from tests.helpers.training import write_set

Cli = Callable[..., Any]

RECIPE = """
    name = "tiny"
    [data]
    validation = 20
    train = 40
    [network]
    width = 2
    timesteps = 2
    [method]
    name = "u-ticket"
    scope = "local"
    rounds = 2
    rate = 0.5
    snapshot = 16
    sparsity = 0.74
    pes = 2
    [optimizer]
    batch = 20
    [dense]
    images = 40
    timesteps = 2
    lr = 0.01
    [round]
    images = 20
    timesteps = 2
    lr = 0.01
    [final]
    images = 40
    timesteps = 2
    lr = 0.01
    [compute]
    precision = "fp32"
    round_validation = 10
    final_validations = 1
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("fmnist"), train=100, test=20)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sweep, "cores", lambda: 1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(before)


def names(runs: list[sweep.Run]) -> list[str]:
    return [run.name.removeprefix("tiny-") for run in runs]


# --- which runs ------------------------------------------------------------------


def test_every_combination_is_a_run(recipe: Path) -> None:
    axes = Axes(("imp", "u-ticket"), (1, 2), rounds=(1, 3), pes=(2, 4))
    runs = sweep.plan(str(recipe), axes)
    u_ticket = [
        f"u-ticket-seed{s}-rounds{r}-pes{p}" for s in (1, 2) for r in (1, 3) for p in (2, 4)
    ]
    imp = [f"imp-seed{s}-rounds{r}" for s in (1, 2) for r in (1, 3)]
    assert names(runs) == imp + u_ticket, "an imp has no use for the number of PEs"
    for run in runs:
        assert run.recipe.method.rounds == run.changes.rounds
        assert run.recipe.seed == run.changes.seed
        assert run.command == f"evenspike train --recipe {recipe}{run.changes.options}"


def test_an_axis_that_a_method_does_not_have_does_not_multiply_it(recipe: Path) -> None:
    axes = Axes(("dense", "random", "random+u-ticket"), (1,), (1, 2), (), (2, 4))
    assert names(sweep.plan(str(recipe), axes)) == [
        "dense-seed1",
        "random-seed1-rounds1",
        "random-seed1-rounds2",
        *(f"random-u-ticket-seed1-rounds{r}-pes{p}" for r in (1, 2) for p in (2, 4)),
    ]
    axes = Axes(("dense", "imp"), (1,), sparsities=(0.5, 0.7))
    runs = sweep.plan(str(recipe), axes)
    assert names(runs) == ["dense-seed1", "imp-seed1-sparsity0.5", "imp-seed1-sparsity0.7"]
    assert [run.recipe.method.rounds for run in runs[1:]] == [1, 2]


# --- the verb --------------------------------------------------------------------


def test_runs_are_made_once_and_listed(
    cli: Cli, recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    given = ("sweep", "--recipe", recipe, "--data", data, "--out", out)
    done = cli(*given, "--methods", "dense,imp", "--seeds", "1")
    assert done.status == 0
    # A slow machine hears of the progress.
    assert re.fullmatch(r"(\d of 2 runs finished: \d+ %, \d+ s\n)*", done.err)
    assert "2 runs: 2 trained now, 0 were there" in done.out
    assert "loss" not in done.out, "the runs' own lines stay in their folders"
    listed = json.loads((out / "sweep.json").read_text())
    dense, imp = listed["runs"]
    assert (dense["name"], imp["name"]) == ("tiny-dense-seed1", "tiny-imp-seed1")
    assert imp["sweep"] == f"evenspike sweep --recipe {recipe} --methods dense,imp --seeds 1"
    assert imp["command"] == f"evenspike train --recipe {recipe} --method imp --seed 1"
    for row in listed["runs"]:
        assert (row["state"], row["error"]) == ("finished", "")
        assert row["recipe"]["train"] == 40
        assert row["made_on"]["jobs"] == row["made_on"]["threads"] == 1
        assert [line["step"] for line in row["validation"]] == [2]
    assert [line["round"] for line in imp["pruned"]] == [1, 2]
    assert [line["round"] for line in imp["trained"]] == [0, 1, 2]
    assert imp["finished"][0]["sparsity"] == pytest.approx(0.75, abs=0.01)
    assert len(imp["layers"]) == 12
    layer = imp["layers"][0]
    assert (layer["name"], layer["weights"], layer["positions"]) == ("conv2", 36, 1024)
    assert len(layer["filters"]) == 2
    assert sum(layer["filters"]) == 9, "two local prunings by half"

    monkeypatch.setattr(TrainingStep, "train", None)  # nothing may be trained again
    again = cli(*given, "--methods", "dense,imp", "--seeds", "1")
    assert "2 runs: 0 trained now, 2 were there" in again.out
    assert json.loads((out / "sweep.json").read_text()) == listed
    monkeypatch.undo()

    more = cli(*given, "--methods", "imp", "--seeds", "1-2", "--jobs", "2")
    assert more.status == 0, more.err
    assert "2 runs: 1 trained now, 1 were there" in more.out
    listed_now = json.loads((out / "sweep.json").read_text())
    assert listed_now["runs"][:2] == listed["runs"]
    (second,) = listed_now["runs"][2:]
    assert second["name"] == "tiny-imp-seed2"
    assert second["sweep"] == f"evenspike sweep --recipe {recipe} --methods imp --seeds 1,2"
    alone = tmp_path / "alone"
    assert cli("train", recipe, "--method", "imp", "--seed", 2, "--data", data, "--run", alone,
               "--threads", 1).status == 0  # fmt: skip
    a, b = (
        torch.load(path / "ticket.pt", weights_only=True)["model"]
        for path in (alone, out / "runs/tiny-imp-seed2")
    )
    assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def test_a_run_that_fails_does_not_lose_the_others(
    cli: Cli, recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.run

    def run(self: Trainer) -> dict[str, Any]:
        if self.recipe.method.name == "random":
            raise MemoryError("too\nlarge")
        if self.recipe.method.name == "imp":
            raise EvenspikeError("round 1: pruning leaves no weight")
        return original(self)

    given = ("sweep", "--recipe", recipe, "--data", data, "--out", tmp_path,
             "--methods", "imp,random,dense", "--backend", "threading")  # fmt: skip
    monkeypatch.setattr(Trainer, "run", run)
    done = cli(*given)
    assert done.status == 1
    assert done.err.splitlines() == [
        "evenspike: tiny-imp-seed1: round 1: pruning leaves no weight",
        "evenspike: tiny-random-seed1: MemoryError: too",
        "evenspike: the same command tries again what has failed",
    ]
    rows = json.loads((tmp_path / "sweep.json").read_text())["runs"]
    assert [row["state"] for row in rows] == ["failed", "failed", "finished"]
    assert rows[1]["error"] == "MemoryError: too"
    monkeypatch.undo()
    monkeypatch.setattr(sweep, "cores", lambda: 1)
    assert cli(*given).status == 0, "what failed is tried again"
    rows = json.loads((tmp_path / "sweep.json").read_text())["runs"]
    assert [row["state"] for row in rows] == ["finished"] * 3


def test_a_worker_that_dies_is_named(
    cli: Cli, recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def dying(*_: object) -> Iterator[Any]:
        def parallel(tasks: list[Any]) -> Iterator[Any]:
            function, arguments, _ = tasks[0]
            yield function(*arguments)
            raise OSError("a worker was killed\nby the system")

        yield parallel

    monkeypatch.setattr(backends, "parallel", dying)
    given = ("sweep", "--recipe", recipe, "--data", data, "--out", tmp_path)
    done = cli(*given, "--methods", "dense,imp,random")
    assert done.status == 1
    assert done.err.splitlines() == [
        *(
            f"evenspike: tiny-{name}-seed1: its worker is gone: OSError: a worker was killed"
            for name in ("imp", "random")
        ),
        "evenspike: the same command tries again what has failed",
    ]
    rows = json.loads((tmp_path / "sweep.json").read_text())["runs"]
    assert [row["state"] for row in rows] == ["finished", "failed", "failed"]


def test_a_damaged_run_takes_no_other_with_it(
    cli: Cli, recipe: Path, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "runs/tiny-imp-seed1"
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("rubbish\n{}\n")
    given = ("sweep", "--recipe", recipe, "--data", data, "--out", tmp_path, "--methods", "imp")
    done = cli(*given, "--seeds", "1-2", "--backend", "threading")
    states = {row["name"]: row["state"] for row in sweep_rows(tmp_path)}
    assert states["tiny-imp-seed2"] == "finished"
    assert done.status == (states["tiny-imp-seed1"] == "failed")


def test_runs_are_listed_as_they_were_asked_for(
    cli: Cli, recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of them ends first."""
    original = sweep._until_broken

    def backwards(tasks: Any, backend: str, jobs: int) -> Any:
        return original(list(reversed(tasks)), backend, jobs)

    monkeypatch.setattr(sweep, "_until_broken", backwards)
    given = ("sweep", "--recipe", recipe, "--data", data, "--out", tmp_path)
    options = ("--methods", "dense", "--seeds", "1-3", "--backend", "threading")
    assert cli(*given, *options).status == 0
    assert [row["seed"] for row in sweep_rows(tmp_path)] == [1, 2, 3]


def test_rows_of_another_sweep_stay(
    cli: Cli, recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sweeps of a folder, side by side."""
    original = Trainer.run

    def run(self: Trainer) -> dict[str, Any]:
        rows = [{"name": "another's"}]
        (tmp_path / "sweep.json").write_text(json.dumps({"version": "0", "runs": rows}))
        return original(self)

    monkeypatch.setattr(Trainer, "run", run)
    given = ("sweep", "--recipe", recipe, "--data", data, "--out", tmp_path)
    assert cli(*given, "--methods", "dense", "--backend", "threading").status == 0
    assert [row["name"] for row in sweep_rows(tmp_path)] == ["another's", "tiny-dense-seed1"]


def sweep_rows(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "sweep.json").read_text())["runs"]
    return rows


def test_a_dense_phase_is_trained_once(
    cli: Cli, recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that begin alike share it, and end in the same bits as alone."""
    given = ("--data", data, "--out", tmp_path / "out")
    methods = "imp,u-ticket,cycle-aware,early-bird"
    begun: list[str] = []
    original = TrainingStep.train

    def step(self: TrainingStep, phase: Any, *rest: Any) -> float:
        begun.append(f"{self.recipe.method.name} {phase.name}")
        return original(self, phase, *rest)

    # A single epoch is too little for an Early-Bird.
    monkeypatch.setattr("evenspike_train.tickets.fit.check_data", lambda *_: None)
    monkeypatch.setattr(TrainingStep, "train", step)
    options = ("--methods", methods, "--backend", "threading")
    assert cli("sweep", "--recipe", recipe, *given, *options).status == 0
    assert {name for name in begun if name.endswith("dense")} == {"imp dense", "early-bird dense"}
    for method in ("imp", "u-ticket", "cycle-aware"):
        alone, shared = tmp_path / method, tmp_path / f"out/runs/tiny-{method}-seed1"
        command.train(str(recipe), alone, data, 1, changes=Changes(method, 1))
        a, b = (
            torch.load(path / "ticket.pt", weights_only=True)["model"] for path in (alone, shared)
        )
        assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())
        log = (shared / "log.jsonl").read_text()
        events = [json.loads(line)["event"] for line in log.splitlines()]
        assert ("dense" in events) is (method != "imp")


def test_a_dense_phase_of_an_earlier_sweep_is_taken_over(
    cli: Cli, recipe: Path, data: Path, tmp_path: Path
) -> None:
    """One that another recipe has made, if nothing in it differs; a damaged run is passed over."""
    given = ("--data", data, "--out", tmp_path, "--backend", "threading")
    assert cli("sweep", "--recipe", recipe, *given, "--methods", "imp").status == 0
    broken = tmp_path / "runs/a"
    broken.mkdir()
    (broken / "dense.pt").write_text("")
    shutil.copy(tmp_path / "runs/tiny-imp-seed1/recipe.toml", broken)
    other = tmp_path / "other.toml"
    other.write_text(recipe.read_text().replace('name = "tiny"', 'name = "other"'))
    assert cli("sweep", "--recipe", other, *given, "--methods", "u-ticket").status == 0
    events = [
        [json.loads(line)["event"] for line in (run / "log.jsonl").read_text().splitlines()]
        for run in (tmp_path / "runs/tiny-imp-seed1", tmp_path / "runs/other-u-ticket-seed1")
    ]
    assert ["dense" in each for each in events] == [False, True]


def test_another_recipes_dense_phase_is_refused(
    cli: Cli, recipe: Path, data: Path, tmp_path: Path
) -> None:
    given = ("sweep", "--recipe", recipe, "--data", data, "--out", tmp_path)
    assert cli(*given, "--methods", "imp").status == 0
    wanted = derive(recipes.load(recipe), Changes("u-ticket", 1))
    run = tmp_path / "runs/tiny-imp-seed1"
    model = torch.load(run / "dense.pt", weights_only=True)["model"]
    device = torch.device("cpu")
    assert dense_phase.read(run, wanted, model, device).images_seen == 40
    for changed in (
        dataclasses.replace(wanted, seed=2),
        dataclasses.replace(wanted, method=dataclasses.replace(wanted.method, snapshot=20)),
        derive(wanted, Changes("early-bird")),
    ):
        with pytest.raises(EvenspikeError, match=r"dense\.pt: is no dense phase of the recipe"):
            dense_phase.read(run, changed, model, device)


# --- what is refused, before anything is trained -----------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--methods", "magic"], "method: name must be one of"),
        (["--methods", "imp+u-ticket"], "imp has no option balance"),
        (["--methods", "imp,,dense"], "sweep: methods: 'imp,,dense' has an empty name"),
        (["--methods", "imp,imp"], "sweep: methods: imp is given twice"),
        (["--methods", "imp", "--seeds", "a"], "sweep: seeds: 'a' is no list of numbers"),
        (["--methods", "imp", "--seeds", ""], "sweep: seeds: '' is no list of numbers"),
        (["--methods", "imp", "--seeds", "3-1"], "sweep: seeds: '3-1' is no range upwards"),
        (["--methods", "imp", "--seeds", "1-3,2"], "sweep: seeds: 2 is given twice"),
        (["--methods", "imp", "--seeds", "-1"], "seed: must not be negative: -1"),
        (["--methods", "imp", "--rounds", "0"], "imp needs rounds, at least 1"),
        (["--methods", "imp", "--sparsities", "1"], "sparsity must lie in [0, 1), not 1.0"),
        (["--methods", "u-ticket", "--pes", "0"], "pes must be at least 1, not 0"),
        (["--methods", "imp", "--jobs", "0"], "sweep: jobs must be at least 1, not 0"),
        (["--methods", "imp", "--backend", "mpi"], "backend: must be one of loky, threading"),
        (["--methods", "imp", "--backend", "threading", "--jobs", "2"], "takes one job, not 2"),
        (["--methods", "imp,early-bird"], "tiny-early-bird-seed1: method: early-bird compares"),
        (["--methods", "imp", "--data", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(
    cli: Cli, recipe: Path, data: Path, tmp_path: Path, options: list[str], says: str
) -> None:
    given = [] if "--data" in options else ["--data", data]
    done = cli("sweep", "--recipe", recipe, *given, "--out", tmp_path / "out", *options)
    assert done.status == 2
    assert len(done.err.splitlines()) == 1
    assert says in done.err
    assert not (tmp_path / "out/runs").exists()


@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_backend_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, backend: str, package: str
) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == package else known(name)
    )
    with pytest.raises(EvenspikeError, match=f"needs the package {package}: pip install {package}"):
        backends.check(backend)


def test_a_folder_of_another_recipe_is_left_alone(
    cli: Cli, recipe: Path, data: Path, tmp_path: Path
) -> None:
    given = ("--data", data, "--out", tmp_path, "--methods", "dense")
    assert cli("sweep", "--recipe", recipe, *given).status == 0
    other = tmp_path / "tiny.toml"
    shutil.copy(recipe, other)
    other.write_text(RECIPE.replace("lr = 0.01", "lr = 0.02"))
    done = cli("sweep", "--recipe", other, *given)
    assert done.status == 2
    assert "holds a run of another recipe" in done.err


@pytest.mark.parametrize("text", ["", "[]", "[" * 9999, '{"runs": 3}', '{"runs": [{"name": []}]}'])
def test_a_damaged_list_is_named(
    cli: Cli, recipe: Path, data: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "sweep.json").write_text(text)
    done = cli("sweep", "--recipe", recipe, "--data", data, "--out", tmp_path, "--methods", "dense")
    assert done.status == 2
    assert "sweep.json: not a readable list of runs" in done.err
    assert done.err.count("\n") == 1
    assert (tmp_path / "sweep.json").read_text() == text
