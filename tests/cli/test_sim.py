"""The command line on good input: what is computed, compared, reported and returned."""

from __future__ import annotations

import gzip
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks import bench
from evenspike import __version__
from evenspike.flows import models
from evenspike.flows.explore import trace
from evenspike_core import data as dataset
from evenspike_core import metrics, reference
from evenspike_core.arch import PRESETS
from evenspike_core.mapping import choose
from evenspike_core.pack import pack
from evenspike_core.program import Program
from evenspike_core.workload import Workload
from evenspike_hw.engine import compiled, simulator
from evenspike_sim.accelerator import Accelerator, LayerRun

Cli = Callable[..., Any]
Report = dict[str, Any]

LAYER_KEYS = {
    "name",
    "shape",
    "tile",
    "filters_per_pass",
    "passes",
    "chunks",
    "cycles",
    "busy",
    "starved",
    "waiting",
    "loading",
    "draining",
    "words_loaded",
    "spikes_in",
    "spikes_out",
    "density",
}
PAGES = ["report.html", "report.json", "report.md"]


def read(folder: Path) -> Report:
    content: Report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return content


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def shown(count: int) -> tuple[npt.NDArray[np.uint8], list[int], list[int]]:
    """Pixels, labels and test-set indices of the shipped images, class after class in turn."""
    pixels, labels = dataset.shipped()
    turns = [(n, label) for n in range(10) for label in range(10)]
    taken = [int(np.flatnonzero(labels == label)[n]) for n, label in turns][:count]
    indices = dataset.shipped_indices()
    return pixels[taken], labels[taken].tolist(), indices[taken].tolist()


# --- a model --------------------------------------------------------------------------------


def test_report_of_a_model(cli: Cli, ticket: Path, program: Program, tmp_path: Path) -> None:
    done = cli("sim", "--model", ticket, "--images", 12, "--out", tmp_path / "out")
    assert (done.status, done.err) == (0, "")
    folder = tmp_path / "out" / "small"
    assert files(folder) == [*PAGES, "trace.json"]
    report = read(folder)
    assert report["model"] == "small"
    assert report["engine"] == "model"
    assert report["mapping"] == "cost"
    assert report["arch"]["preset"] == "packed"
    assert report["arch"]["digest"] == PRESETS["packed"].digest
    assert report["program"]["digest"] == program.digest()
    assert report["images"] == 12
    assert report["bit_exact"] is True
    assert "divergence" not in report
    assert report["compared"] == {
        "spikes": (5 * 8 * 8 + 20 * 4 * 4) * 4 * 12,
        "layers": 2,  # the last one has logits, no spikes
        "timesteps": 4,
    }
    totals = {"cycles", "utilization", "efficiency", "energy_pj", "latency_ms"}
    assert totals <= set(report["totals"])
    assert [layer["name"] for layer in report["layers"]] == ["first", "body", "last"]
    assert all(set(layer) >= LAYER_KEYS for layer in report["layers"])
    assert f"report: {folder / 'report.html'} (beside it: report.json" in done.out


def test_predictions_are_the_references(
    cli: Cli, ticket: Path, program: Program, tmp_path: Path
) -> None:
    cli("sim", "--model", ticket, "--images", 15, "--out", tmp_path)
    report = read(tmp_path / "small")
    pixels, labels, indices = shown(15)
    assert labels[:10] == list(range(10)), "a few images show every class"
    truth = [reference.run(program, one) for one in pixels]
    assert [entry["logits"] for entry in report["predictions"]] == [
        one.logits.tolist() for one in truth
    ]
    assert [entry["prediction"] for entry in report["predictions"]] == [
        one.prediction for one in truth
    ]
    assert [entry["label"] for entry in report["predictions"]] == labels
    assert [entry["index"] for entry in report["predictions"]] == indices
    right = sum(one.prediction == label for one, label in zip(truth, labels, strict=True))
    assert report["accuracy"] == right / 15
    assert len({str(one.logits) for one in truth}) > 10, "the network tells images apart"
    assert report["classes"] == list(dataset.DATA_SETS["fmnist"].class_names)


def test_a_batch_shows_latency_and_throughput_apart(cli: Cli, ticket: Path, tmp_path: Path) -> None:
    """Five images in batches of two: the last is filled up, and every one comes out as alone."""
    alone = cli("sim", "--model", ticket, "--images", 5, "--out", tmp_path / "alone")
    done = cli("sim", "--model", ticket, "--images", 5, "--batch", 2, "--out", tmp_path / "two")
    assert (alone.status, done.status) == (0, 0)
    single, report = read(tmp_path / "alone" / "small"), read(tmp_path / "two" / "small")
    assert report["predictions"] == single["predictions"]
    assert (report["images"], report["bit_exact"]) == (5, True)
    cycles, clock = report["totals"]["cycles"], report["arch"]["clock_mhz"]
    assert report["batch"] == {"images": 2, "cycles": pytest.approx(2 * cycles)}
    assert report["totals"]["latency_ms"] == pytest.approx(2 * cycles / (clock * 1e3))
    assert report["totals"]["frames_per_second"] == pytest.approx(clock * 1e6 / cycles)
    assert [layer["images"] in (1, 2) for layer in report["layers"]] == [True] * 3
    assert report["layers"][0]["images"] == 2
    assert "batch" not in single
    for text in (done.out, (tmp_path / "two" / "small" / "report.md").read_text()):
        told = " ".join(text.split())
        assert "a batch of 2 images, the last one filled up with a copy of its last image" in told
    assert "a batch of" not in alone.out


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (3, "batch is 3, possible are powers of two from 1 to 64"),
        (0, "batch is 0, possible are powers of two from 1 to 64"),
        (
            64,
            (
                "layer first: its spikes take 64 entries; Arch spike_entries is 4032, of which "
                "each of the 64 images of the batch has 63"
            ),
        ),
    ],
)
def test_a_batch_that_cannot_run_is_refused_in_a_line(
    cli: Cli, ticket: Path, tmp_path: Path, batch: int, says: str
) -> None:
    arch = "packed,spike_entries=4032"
    done = cli("sim", "--model", ticket, "--batch", batch, "--arch", arch, "--out", tmp_path)
    assert (done.status, done.out, done.err) == (2, "", f"evenspike: {says}\n")


def test_counters_are_the_mean_over_the_images(
    cli: Cli, ticket: Path, program: Program, tmp_path: Path
) -> None:
    arguments = ("--images", 3, "--mapping", "natural", "--arch", "paper", "--out", tmp_path)
    assert cli("sim", "--model", ticket, *arguments).status == 0
    report = read(tmp_path / "small")
    arch = PRESETS["paper"]
    assert report["arch"]["digest"] == arch.digest != PRESETS["packed"].digest
    assert report["mapping"] == "natural"
    accelerator = Accelerator(pack(program, choose(program, arch, natural=True), arch))
    images = [accelerator.run(reference.encode(program, one)) for one in shown(3)[0]]
    for index, (layer, entry) in enumerate(zip(program.layers, report["layers"], strict=True)):
        runs = [packed[index] for packed in images]
        assert entry["filters_per_pass"] == 1
        assert entry["passes"] == -(-layer.filters // 16)
        assert entry["density"] == layer.nnz / layer.weights
        assert entry["shape"]["filters"] == layer.filters
        assert entry["shape"]["height"] == layer.size[0]
        for key in ("spikes_in", "spikes_out", "accumulations"):
            assert entry[key] == pytest.approx(np.mean([getattr(run, key) for run in runs]))
        if layer.name == "last":  # a map of one position: the tile is the same under any cost
            assert entry["cycles"] == pytest.approx(np.mean([run.cycles for run in runs]), rel=0.2)
            assert entry["busy"] == pytest.approx(np.mean([run.busy.sum() for run in runs]))
    totals = report["totals"]
    for key in ("cycles", "busy", "starved", "waiting", "loading", "draining", "words_loaded"):
        assert totals[key] == pytest.approx(sum(entry[key] for entry in report["layers"]))
    assert totals["latency_ms"] == pytest.approx(totals["cycles"] / 400e3)
    assert totals["utilization"] == pytest.approx(totals["busy"] / 16 / totals["cycles"])
    assert totals["energy_pj"] > 0


def test_the_papers_convention_comes_from_the_weights(
    cli: Cli, ticket: Path, program: Program, tmp_path: Path
) -> None:
    cli("sim", "--model", ticket, "--images", 1, "--out", tmp_path)
    convention = read(tmp_path / "small")["paper_convention"]
    expected = metrics.paper_metrics(program, 16)
    assert convention == {
        "work": expected.work,
        "idle": expected.idle,
        "latency": expected.latency,
        "utilization": {
            "layer_mean": expected.layer_mean,
            "parameter_weighted": expected.parameter_weighted,
            "pooled": expected.pooled,
        },
    }
    body = program.layers[1]
    assert convention["work"] == body.nnz * 64 * 4, "the one convolution that counts"


def test_names_and_paths_are_no_markup(cli: Cli, program: Program, tmp_path: Path) -> None:
    """Brackets and colons are text, and a long path stays on its line."""
    layers = (
        replace(program.layers[0], name="[/red]"),
        replace(program.layers[1], name="[bold]:smile:"),
        program.layers[2],
    )
    path = tmp_path / "p.safetensors"
    provenance = {**program.provenance, "[/x]": 10**400}
    replace(program, name="[green]", layers=layers, provenance=provenance).save(path)
    out = tmp_path / ("[blue]" + 80 * "x")
    done = cli("sim", "--model", path, "--images", 1, "--out", out)
    assert (done.status, done.err) == (0, "")
    assert f"report: {out / '[green]' / 'report.html'} (beside it: " in done.out
    assert "[green] (" in done.out
    assert "[bold]:smile:" in done.out
    assert "[/red]" in done.out


def comparable(report: Report) -> Report:
    return {
        key: value for key, value in report.items() if key not in ("date", "machine", "seconds")
    }


def test_threads_change_nothing(cli: Cli, ticket: Path, tmp_path: Path) -> None:
    reports = []
    for jobs in (0, 1, 4):
        out = tmp_path / str(jobs)
        arguments = ("--images", 6, "--jobs", jobs, "--out", out)
        assert cli("sim", "--model", ticket, *arguments).status == 0
        reports.append(comparable(read(out / "small")))
    assert reports[0] == reports[1] == reports[2]


def test_twenty_images_are_the_default(cli: Cli, ticket: Path, tmp_path: Path) -> None:
    assert cli("sim", "--model", ticket, "--out", tmp_path).status == 0
    assert read(tmp_path / "small")["images"] == 20


def test_shipped_tickets_are_found_by_name(
    cli: Cli, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.save(tmp_path / "mine.safetensors")
    monkeypatch.setattr(models, "checkpoints", lambda: tmp_path)
    done = cli("sim", "--model", "mine", "--images", 1, "--out", tmp_path / "out")
    assert done.status == 0
    assert read(tmp_path / "out" / "small")["model"] == "small"


def test_activity_in_the_provenance_is_used_and_not_reported(
    cli: Cli, program: Program, tmp_path: Path
) -> None:
    """The most active channels decide which filters share a PE."""
    activity = {"first": [1.0, 0.0, 0.0, 0.0, 0.0], "last": None}
    path = tmp_path / "p.safetensors"
    replace(program, provenance={**program.provenance, "activity": activity}).save(path)
    assert cli("sim", "--model", path, "--images", 1, "--out", tmp_path).status == 0
    report = read(tmp_path / "small")
    assert report["bit_exact"] is True
    assert report["program"]["provenance"] == {"dataset": "fmnist", "seed": 0}


# --- the user's data ------------------------------------------------------------------------


def idx(array: npt.NDArray[np.uint8]) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def test_images_and_labels_of_the_user(
    cli: Cli, ticket: Path, program: Program, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 28, 28)).astype(np.uint8)
    data = tmp_path / "data"
    (data / "fmnist").mkdir(parents=True)
    images = gzip.compress(idx(pixels))
    (data / "fmnist" / "t10k-images-idx3-ubyte.gz").write_bytes(images)
    (data / "fmnist" / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([3, 1, 4, 9], "u1")))
    arguments = ("--data", data, "--images", 4, "--out", tmp_path)
    assert cli("sim", "--model", ticket, *arguments).status == 0
    predictions = read(tmp_path / "small")["predictions"]
    assert [entry["label"] for entry in predictions] == [3, 1, 4, 9]
    assert [entry["index"] for entry in predictions] == [0, 1, 2, 3]
    framed = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))[:, None]
    expected = [reference.run(program, one).logits.tolist() for one in framed]
    assert [entry["logits"] for entry in predictions] == expected


def test_another_data_set_has_its_own_classes(cli: Cli, program: Program, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    replace(program, provenance={"dataset": "mnist"}).save(path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((1, 28, 28), "u1")))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([7], "u1")))
    arguments = ("--data", tmp_path, "--images", 1, "--out", tmp_path)
    assert cli("sim", "--model", path, *arguments).status == 0
    report = read(tmp_path / "small")
    assert report["classes"] == [str(n) for n in range(10)]
    assert report["predictions"][0]["label"] == 7


# --- a model that is wrong ------------------------------------------------------------------


def inject(monkeypatch: pytest.MonkeyPatch, change: Callable[[list[LayerRun]], None]) -> None:
    """Let `change` falsify the results of the cycle model."""
    honest = Accelerator.run

    def run(self: Accelerator, *arguments: Any) -> list[LayerRun]:
        runs = honest(self, *arguments)
        change(runs)
        return runs

    monkeypatch.setattr(Accelerator, "run", run)


def test_a_wrong_spike_is_found_and_named(
    cli: Cli, ticket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flip(runs: list[LayerRun]) -> None:
        runs[1].masks[13, 2, 3] ^= 4

    inject(monkeypatch, flip)
    done = cli("sim", "--model", ticket, "--images", 2, "--out", tmp_path)
    assert done.status == 1
    report = read(tmp_path / "small")
    assert report["bit_exact"] is False
    said = report["divergence"]
    for part in ("image ", "layer body", "filter 13", "y 2", "x 3", "timestep 2"):
        assert part in said
    assert "reference" in said
    assert "model" in said
    assert "body" in " ".join(done.out.split())
    assert "filter 13" in " ".join(done.out.split())
    for page in ("report.md", "report.html"):
        assert "filter 13" in (tmp_path / "small" / page).read_text(encoding="utf-8")


def test_a_wrong_logit_is_found_and_named(
    cli: Cli, ticket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(runs: list[LayerRun]) -> None:
        assert runs[-1].logits is not None
        runs[-1].logits[7] += 1

    inject(monkeypatch, add)
    assert cli("sim", "--model", ticket, "--images", 1, "--out", tmp_path).status == 1
    report = read(tmp_path / "small")
    assert report["bit_exact"] is False
    assert "layer last" in report["divergence"]
    assert "class 7" in report["divergence"]


def test_the_image_of_a_wrong_spike_is_named(
    cli: Cli, ticket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, indices = shown(5)
    seen: list[int] = []

    def flip_third(runs: list[LayerRun]) -> None:
        seen.append(len(seen))
        if seen[-1] == 2:
            runs[0].masks[0, 0, 0] ^= 1

    inject(monkeypatch, flip_third)
    arguments = ("--images", 5, "--jobs", 1, "--out", tmp_path)
    assert cli("sim", "--model", ticket, *arguments).status == 1
    assert read(tmp_path / "small")["divergence"].startswith(f"image {indices[2]}: ")


# --- report and bench -----------------------------------------------------------------------


def test_the_report_verb_writes_the_pages_again(cli: Cli, ticket: Path, tmp_path: Path) -> None:
    cli("sim", "--model", ticket, "--images", 2, "--out", tmp_path)
    folder = tmp_path / "small"
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    (folder / "report.html").unlink()
    (folder / "report.md").write_text("old", encoding="utf-8")
    done = cli("report", "--out", folder)
    assert done.status == 0
    assert "body" in done.out
    assert files(folder) == sorted(before)
    assert (folder / "report.json").read_bytes() == before["report.json"]
    assert (folder / "report.md").read_bytes() == before["report.md"]
    trace = (folder / "trace.json").read_bytes()
    assert json.loads(trace) == json.loads(before["trace.json"]), "the trace of the run stays"


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bench on a trace of two small layers, and a sweep of two variants."""
    spikes = np.full((8, 4, 4), 5, dtype=np.uint8)

    def workload(_: Path | None) -> Workload:
        return trace({"a_in": spikes, "b_in": spikes}, density=30)

    monkeypatch.setattr(bench, "_workload", workload)
    monkeypatch.setattr(bench, "SWEEP", {"PEs": ({"pes": 4}, {"pes": 8})})


@pytest.mark.usefixtures("light")
def test_bench_measures_and_writes(cli: Cli, ticket: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    done = cli("bench", "--model", ticket, "--images", 2, "--sweep", "--out", out)
    assert (done.status, done.err) == (0, "")
    assert files(out) == ["resnet19.json", "speed.json", "sweep.json", "trace.json"]
    trace, sweep, speed = (
        json.loads((out / f"{name}.json").read_text()) for name in ("trace", "sweep", "speed")
    )
    assert trace["bit_exact"] is True
    lost = sum(trace["above_bound"].values())
    assert trace["cycles"] == pytest.approx(trace["bound"] + lost)
    busy = trace["bound"] + trace["above_bound"]["adders unfilled"]
    assert trace["bound"] < busy
    assert trace["utilization"] == pytest.approx(busy / trace["cycles"])
    assert [row["pes"] for row in sweep["rows"]] == [4, 8]
    assert sweep["rows"][0]["cycles"] > sweep["rows"][1]["cycles"]
    assert speed["model"] == "small"
    assert speed["images"] == 2
    assert speed["thread_independent"] is True
    assert speed["seconds_per_image"] > 0
    assert "results independent of threads: True" in done.out.replace("\n", " ")


@pytest.mark.usefixtures("light")
def test_bench_fails_where_threads_change_a_result(
    cli: Cli, ticket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def count(runs: list[LayerRun]) -> None:
        calls.append(1)
        runs[0].masks[0, 0, 0] = len(calls) % 16

    inject(monkeypatch, count)
    assert cli("bench", "--model", ticket, "--images", 1, "--out", tmp_path).status == 1
    assert json.loads((tmp_path / "speed.json").read_text())["thread_independent"] is False


# --- as a program ---------------------------------------------------------------------------


def process(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path)
    return subprocess.run(
        [sys.executable, "-m", "evenspike", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_version(tmp_path: Path) -> None:
    done = process("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"evenspike {__version__}\n")


def test_sim_as_a_process(ticket: Path, tmp_path: Path) -> None:
    done = process("sim", "--model", ticket, "--images", 1, cwd=tmp_path)
    slow = re.compile(r".*, \d+ s")  # what a busy machine has it say
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if not slow.fullmatch(line)] == []
    assert files(tmp_path / "build" / "sim" / "small") == [*PAGES, "trace.json"]


def test_an_error_of_a_process_is_one_line(tmp_path: Path) -> None:
    done = process("sim", "--model", "none.safetensors", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "evenspike: none.safetensors: no such Program file\n"
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "error",
    [OSError("broken"), MemoryError(), compiled.EngineError("the simulator cannot be loaded")],
)
def test_a_failing_engine_costs_no_report(
    error: Exception, cli: Cli, ticket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(compiled, "find", lambda _: compiled.Build(tmp_path / "none.so", 1.0))
    monkeypatch.setattr(simulator.Simulator, "__init__", fails)
    done = cli("sim", "--model", ticket, "--images", 1, "--out", tmp_path)
    assert done.status == 0
    assert (str(error) or "MemoryError()") in done.out
    report = read(tmp_path / "small")
    assert report["bit_exact"]
    assert report["engine"] == "model"
