"""`evenspike train`: a run that has finished, one that is interrupted, and runs as models."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from evenspike.flows import models
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program
from evenspike_train.runs import command, sweep, watch
from evenspike_train.runs.sweep import Axes
from tests.helpers.interrupting import interrupt, started
from tests.helpers.training import SHORT, lines, write_set

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a recipe, and its finished and exported run in runs/tiny."""
    folder = write_set(tmp_path_factory.mktemp("finished"))
    (folder / "tiny.toml").write_text(SHORT)
    run = folder / "runs" / "tiny"
    threads = torch.get_num_threads()
    command.train(str(folder / "tiny.toml"), run, folder, threads=1, device="cpu")
    command.export(run, run, folder, threads=1, device="cpu")
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working folder."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_finished_run_says_so_and_stops(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("no data are read, and nothing is computed")

    monkeypatch.setattr(command, "load", refuse)
    before = {path: path.stat().st_mtime_ns for path in (here / "runs" / "tiny").iterdir()}
    done = cli("train", "tiny.toml")
    assert (done.status, done.err) == (0, "")
    said, result, following = done.out.splitlines()
    assert said.startswith("runs/tiny: has finished, and nothing is trained")
    accuracy = Program.load(here / "runs/tiny/tiny.safetensors").provenance["integer_test_accuracy"]
    assert result == f"runs/tiny/tiny.safetensors: {accuracy:.2f} % on the test set, integers"
    assert following == "next: evenspike sim --model runs/tiny"
    assert {path: path.stat().st_mtime_ns for path in (here / "runs/tiny").iterdir()} == before
    assert cli("train", "tiny.toml", "--seed", 2, "--run", "runs/tiny").status == 2


def test_a_run_without_its_program_gets_it(cli: Cli, here: Path) -> None:
    program = here / "runs" / "tiny" / "tiny.safetensors"
    digest = Program.load(program).digest()
    program.unlink()
    done = cli("train", "tiny.toml", "--data", here, "--device", "cpu")
    assert done.status == 0
    assert Program.load(program).digest() == digest
    assert len(lines(here / "runs" / "tiny", "finished")) == 1
    table = proof_table(done.out)
    names = [layer.name for layer in Program.load(program).layers]
    assert [row.split()[0] for row in table[1 : 1 + len(names)]] == names
    assert "\n".join(table) in program.with_suffix(".md").read_text()


def proof_table(said: str) -> list[str]:
    """The lines of the table of layers, and what is said beneath it."""
    rows = said.splitlines()
    first = next(
        i
        for i, row in enumerate(rows)
        if row.split()[:4] == ["layer", "weights", "spikes", "differ"]
    )
    return rows[first : next(i for i, row in enumerate(rows) if "on the test set" in row)]


def test_every_export_prints_its_proof(cli: Cli, here: Path) -> None:
    done = cli("export", "--run", "runs/tiny", "--data", here, "--out", here / "again")
    assert (done.status, done.err) == (0, "")
    table = proof_table(done.out)
    assert any("of 4 examples get another class" in row for row in table)
    assert "\n".join(table) in (here / "again" / "tiny.md").read_text()


def test_a_ticket_that_the_log_does_not_know_is_made_again(here: Path) -> None:
    """Killed between the ticket and its line, a run is not finished: a sweep goes by the log."""
    run = here / "runs" / "tiny"
    log = run / "log.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    assert command.finished(run) is None
    done = command.train("tiny.toml", run, here, threads=1, device="cpu")
    assert done.trained
    assert lines(run, "finished")
    again = command.train("tiny.toml", run, here / "nowhere")
    assert not again.trained
    assert again.figures["sparsity"] == pytest.approx(done.figures["sparsity"], abs=1e-5)


@pytest.mark.parametrize("name", ["tiny", "runs/tiny", "runs/tiny/tiny.safetensors"])
def test_a_run_is_a_model(here: Path, name: str) -> None:
    expected = Program.load(here / "runs" / "tiny" / "tiny.safetensors").digest()
    assert models.load(name).digest() == expected


def test_a_run_is_simulated(cli: Cli, here: Path) -> None:
    done = cli("sim", "--model", "runs/tiny", "--images", 1, "--rtl", 0)
    assert done.status == 0
    assert (here / "build" / "sim" / "tiny" / "report.json").is_file()


def test_a_shipped_ticket_wins(here: Path) -> None:
    """What `MODEL=vgg16-small` runs does not depend on what has been trained here."""
    (here / "runs" / "tiny").rename(here / "runs" / "vgg16-small")
    assert models.load("vgg16-small").name == "vgg16-small"
    assert models.load("runs/vgg16-small").name == "tiny"


def test_one_recipe_is_trained(cli: Cli) -> None:
    for number, given in enumerate(((), ("a", "b"), ("a", "c", "--recipe", "b"))):
        done = cli("train", *given)
        count = (0, 2, 3)[number]
        assert done.status == 2
        assert done.err == f"evenspike: train: {count} recipes given; one is needed\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda run: (run / "tiny.safetensors").unlink(),
            "runs/tiny: this run has no Program yet; evenspike export --run runs/tiny writes it",
        ),
        (
            lambda run: [(run / f).unlink() for f in ("tiny.safetensors", "ticket.pt")],
            "runs/tiny: this run has not finished; give the command that began it again",
        ),
        (
            lambda run: shutil.copy(run / "tiny.safetensors", run / "other.safetensors"),
            "runs/tiny: holds other, tiny; give one of the .safetensors files",
        ),
        (lambda run: (run / "recipe.toml").unlink(), "unknown model 'tiny'; there are: "),
        (shutil.rmtree, "unknown model 'tiny'; there are: .*vgg16.*; or give a"),
        (
            lambda run: run.rename(run.with_name("mine")),
            "unknown model 'tiny'; there are: .*, and the runs mine; or give a",
        ),
    ],
)
def test_a_run_that_is_no_model_is_named(
    here: Path, change: Callable[[Path], object], says: str
) -> None:
    change(here / "runs" / "tiny")
    with pytest.raises(EvenspikeError, match=says) as caught:
        models.load("tiny")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "verb",
    [
        ("train", "vgg16-small"),
        ("sweep", "--recipe", "vgg16-small", "--methods", "imp"),
        ("export", "--run", "runs/tiny"),
        ("results", "--make", "vgg16-tiny"),
    ],
)
def test_without_torch(tmp_path: Path, verb: tuple[str, ...]) -> None:
    """In a process of its own, in which nothing has imported it yet."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from evenspike.cli import main\n"
        f"sys.exit(main({list(verb)}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "evenspike: this needs torch: pip install -e '.[train]'\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "verb",
    [
        ("train", "tiny.toml", "--run", "out/runs/x"),
        ("sweep", "--recipe", "tiny.toml", "--methods", "imp", "--seeds", "1,2", "--jobs", "2",
         "--out", "out"),
    ],
)  # fmt: skip
def test_interrupted(tmp_path: Path, verb: tuple[str, ...]) -> None:
    """A line, status 130, and the same command goes on."""
    write_set(tmp_path)
    text = SHORT.replace("images = 8", "images = 800000").replace(
        "[compute]", "[compute]\nround_cycles_images = 0"
    )
    (tmp_path / "tiny.toml").write_text(text)
    given = [sys.executable, "-m", "evenspike", *verb, "--data", ".", "--device", "cpu"]
    with started(given, cwd=tmp_path) as process:
        ended = time.monotonic() + 120
        while not list(tmp_path.glob("out/runs/*/state.pt")) and time.monotonic() < ended:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        interrupt(process)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    said = [line for line in err.splitlines() if line.startswith("evenspike: ")]
    assert len(said) == 1
    assert said[0].startswith("evenspike: interrupted; the same command goes on")
    assert "Traceback" not in err


def test_a_sweep_knows_how_far_its_runs_are(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_PAUSE", 0.01)
    monkeypatch.setattr(sweep, "cores", lambda: 1)
    runs = sweep.plan(str(finished / "tiny.toml"), Axes(("imp",), (1, 2)))
    told: list[tuple[str, int, int | None]] = []
    rows = sweep.sweep(
        runs,
        tmp_path,
        jobs=1,
        backend="threading",
        data=finished,
        device="cpu",
        measure=None,
        done=lambda *_: None,
        progress=lambda *now: told.append(now),
    )
    assert all(row["state"] == "finished" for row in rows.values())
    assert told[0] == ("0 of 2 runs finished", 0, 48)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    folder = tmp_path / "runs" / runs[0].name
    assert watch.passed(folder, 24) == 24
    assert watch.passed(tmp_path / "nowhere", 24) == 0
    log = folder / "log.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-2]) + '{"event": "tr')
    assert 0 < watch.passed(folder, 24) < 24
    log.write_text("[3]\n")
    assert watch.passed(folder, 24) == 0


@pytest.mark.parametrize(
    ("methods", "axis", "says"),
    [
        (("imp",), {"pes": (4, 8)}, "pes: changes nothing in a run of imp"),
        (("dense",), {"rounds": (2,)}, "rounds: changes nothing in a run of dense"),
        (("dense",), {"sparsities": (0.5,)}, "sparsities: changes nothing in a run of dense"),
    ],
)
def test_an_axis_that_changes_nothing_is_refused(
    finished: Path, methods: tuple[str, ...], axis: dict[str, Any], says: str
) -> None:
    with pytest.raises(EvenspikeError, match=says):
        sweep.plan(str(finished / "tiny.toml"), Axes(methods, (1,), **axis))
