"""Three channels end to end: CIFAR files, a few steps of training, a Program, the cycle model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from evenspike.cli import main
from evenspike_core.program import Program
from tests.helpers.cifar_files import binary, write_cifar10

RECIPE = """
name = "colour"
[data]
name = "cifar10"
validation = 10
[augmentation]
shift = 4
cutout = 8
[network]
width = 2
in_channels = 3
timesteps = 2
[method]
scope = "local"
rounds = 1
rate = 0.5
rewind = "learning-rate"
pes = 4
[optimizer]
batch = 8
[dense]
images = 16
timesteps = 2
[round]
images = 16
timesteps = 2
[final]
images = 16
timesteps = 2
[compute]
precision = "fp32"
round_validation = 10
"""

Trained = tuple[Path, Path]
Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """The command line; what it says on stderr."""

    def run(*arguments: object) -> tuple[int, str]:
        status = main([str(argument) for argument in arguments])
        return status, capsys.readouterr().err

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """(folder of the data, folder of the run)."""
    folder = tmp_path_factory.mktemp("colour")
    data = write_cifar10(folder / "data")
    (folder / "colour.toml").write_text(RECIPE)
    threads = torch.get_num_threads()
    given = ["train", folder / "colour.toml", "--run", folder / "run", "--data", data]
    assert main([*map(str, given), "--threads", "1"]) == 0
    torch.set_num_threads(threads)
    return data, folder / "run"


def test_cifar_runs_on_the_cycle_model(trained: Trained, call: Call, tmp_path: Path) -> None:
    data, run = trained
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    rounds = [line for line in log if line["event"] == "trained"]
    assert [line["cycles"] > 0 < line["energy_pj"] for line in rounds] == [True, True]
    assert call("export", "--run", run, "--data", data, "--out", tmp_path)[0] == 0
    path = tmp_path / "colour.safetensors"
    program = Program.load(path)
    assert program.shape == (3, 32, 32)
    assert program.provenance["dataset"] == "cifar10"
    assert program.layers[0].segments[0].weights.shape == (2, 3, 3, 3)
    given = ("sim", "--model", path, "--data", data, "--out", tmp_path / "sim", "--rtl", 0)
    assert call(*given, "--images", 3)[0] == 0
    report = json.loads((tmp_path / "sim" / "colour" / "report.json").read_text())
    assert report["bit_exact"] is True
    assert report["classes"][:2] == ["airplane", "automobile"]
    assert [entry["label"] for entry in report["predictions"]] == [0, 1, 2]
    status, said = call("sim", "--model", path, "--images", 3)
    assert status == 2
    assert "data set cifar10: test_batch in cifar-10-batches-py; or test_batch.bin in" in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / "data_batch_2.bin").unlink(), "data_batch_2.bin is missing"),
        (
            lambda f: (f / "data_batch_5.bin").write_bytes(
                binary(np.zeros((8, 3, 32, 32)), [*range(7), 10])
            ),
            "data_batch_5.bin: labels: image 7 has label 10; 0 to 9 are possible",
        ),
        (
            lambda f: (f / "test_batch.bin").write_bytes(bytes(3072)),
            "test_batch.bin: truncated, or not CIFAR-10: 3072 bytes are no whole number",
        ),
        (lambda f: write_cifar10(f.parent, each=2), "cannot hold out 10 of 10 training images"),
    ],
)
def test_bad_data_stop_a_run_before_it_starts(
    call: Call, tmp_path: Path, change: Callable[[Path], object], says: str
) -> None:
    write_cifar10(tmp_path)
    change(tmp_path / "cifar-10-batches-bin")
    (tmp_path / "colour.toml").write_text(RECIPE)
    status, said = call(
        "train", tmp_path / "colour.toml", "--run", tmp_path / "run", "--data", tmp_path
    )
    assert status == 2
    assert said.startswith("evenspike: ")
    assert said.count("\n") == 1
    assert says in said
    assert not (tmp_path / "run").exists()
