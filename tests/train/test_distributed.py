"""Two processes train what one does, to rounding, and go on when one of them dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from evenspike_core.errors import EvenspikeError
from evenspike_train.runs import command, distributed
from evenspike_train.runs.distributed import Team
from tests.helpers.training import SHORT, lines, ticket, write_set

TINY = (
    SHORT.replace("width = 2", "width = 8")
    .replace("images = 8\ntimesteps = 1", "images = 24\ntimesteps = 1\nlr = 0.02")
    .replace("images = 16", "images = 20\nlr = 0.02")  # a last batch of 4
    .replace("[compute]", "[compute]\ncheckpoint_seconds = 0")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    (path / "tiny.toml").write_text(TINY)
    return write_set(path)


def torchrun(
    folder: Path, run: Path, *module: str, recipe: str = "tiny.toml", restarts: int = 0
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = ["train", str(folder / recipe), "--run", str(run), "--data", str(folder)]
    return subprocess.run(
        [sys.executable, *launcher, f"--max-restarts={restarts}", "-m", "--", *module, *arguments,
         "--device", "cpu"],
        env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pair(folder: Path) -> Path:
    """A run of two processes."""
    done = torchrun(folder, folder / "two", "evenspike")
    assert done.returncode == 0, done.stderr
    events = [json.loads(x)["event"] for x in done.stderr.splitlines() if x.startswith("{")]
    assert events == [x["event"] for x in lines(folder / "two")]  # one of them writes and prints
    assert events.count("finished") == 1
    assert (folder / "two" / "tiny.safetensors").is_file()
    return folder / "two"


def test_two_processes_train_what_one_does(folder: Path, pair: Path) -> None:
    command.train(str(folder / "tiny.toml"), folder / "one", folder, threads=1, device="cpu")
    one, two = ticket(folder / "one"), ticket(pair)
    assert one["images_seen"] == two["images_seen"] == 44
    start = torch.load(folder / "one" / "snapshot.pt", weights_only=True)
    moved, apart = 0.0, 0.0
    for name, tensor in one["model"].items():
        other = two["model"][name]
        if name.endswith(".mask"):
            assert torch.equal(tensor, other), name
        elif name.endswith("original"):
            moved += float((tensor - start[name]).square().sum())
            apart += float((tensor - other).square().sum())
        else:
            torch.testing.assert_close(tensor, other, rtol=1e-3, atol=1e-5)
    assert apart**0.5 < 1e-3 * moved**0.5


def test_goes_on_when_a_process_dies(folder: Path, pair: Path) -> None:
    done = torchrun(folder, folder / "died", "tests.helpers.dying", "1", "4", restarts=1)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("dies at step 4") == 1
    whole, resumed = ticket(pair), ticket(folder / "died")
    assert whole["figures"] == resumed["figures"]
    for name, tensor in whole["model"].items():
        assert torch.equal(tensor, resumed["model"][name]), name


def test_a_process_that_dies_ends_all(folder: Path) -> None:
    done = torchrun(folder, folder / "ended", "tests.helpers.dying", "1", "2")
    assert done.returncode != 0
    assert "dies at step 2" in done.stderr
    assert not (folder / "ended" / "ticket.pt").exists()


def test_batch_that_cannot_be_shared_is_refused_before_anything_is_written(folder: Path) -> None:
    (folder / "odd.toml").write_text(TINY.replace("images = 20", "images = 17"))
    done = torchrun(folder, folder / "odd", "evenspike", recipe="odd.toml")
    assert done.returncode != 0
    message = "evenspike: final: a batch of 1 images cannot be shared by 2 processes"
    assert message in done.stderr
    assert not (folder / "odd").exists()


@pytest.mark.parametrize(("count", "size"), [(7, 3), (2, 2), (16, 5)])
def test_shares_are_everything_once(count: int, size: int) -> None:
    images = list(range(count))
    shares = [images[Team(rank, size).share(count)] for rank in range(size)]
    assert [image for share in shares for image in share] == images
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_gpu_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert distributed.device_name("cuda") == "cuda:1"
    assert distributed.device_name("cpu") == "cpu"
    assert not distributed.leads()
    monkeypatch.setenv("LOCAL_RANK", "one")
    with pytest.raises(EvenspikeError, match="LOCAL_RANK is 'one'; torchrun sets"):
        distributed.device_name("cuda")
    monkeypatch.delenv("WORLD_SIZE")
    assert distributed.device_name("cuda") == "cuda"
    assert distributed.leads()
