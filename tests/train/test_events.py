"""Recordings of events, from their files through a whole run: every data set, both networks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch

from evenspike.cli import main
from evenspike_core import reference
from evenspike_core.data import cache
from evenspike_core.program import Program
from evenspike_train import networks
from evenspike_train.export.integer import quantised_forward
from evenspike_train.networks import NetworkConfig
from evenspike_train.recipes import recipe
from evenspike_train.recipes.recipe import RECIPES
from evenspike_train.runs import sparse_networks
from evenspike_train.runs.export import load_ticket, to_program
from evenspike_train.tickets import masks
from tests.helpers.event_files import write_recordings

RECIPE = """
name = "events"
[data]
name = "DATA"
validation = 4
[network]
name = "NETWORK"
width = 2
in_channels = 2
classes = CLASSES
timesteps = 10
[method]
scope = "local"
rounds = 1
rate = 0.5
rewind = "learning-rate"
pes = 2
[optimizer]
name = "adam"
batch = 4
[augmentation]
flip = false
shift = 3
[dense]
images = 8
timesteps = 4
lr = 0.001
[final]
images = 8
timesteps = 10
lr = 0.001
cutout = 9
[compute]
precision = "PRECISION"
round_validation = 2
"""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of the test's own, and one thread."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "cache")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(tmp_path: Path, name: str, network: str, precision: str = "fp32") -> int:
    write_recordings(tmp_path / "data", name)
    text = RECIPE.replace("DATA", name).replace("NETWORK", network)
    text = text.replace("CLASSES", "101" if name == "ncaltech101" else "10")
    (tmp_path / "events.toml").write_text(text.replace("PRECISION", precision))
    command = ["train", tmp_path / "events.toml", "--run", tmp_path / "run"]
    return main([*map(str, command), "--data", str(tmp_path / "data"), "--threads", "1"])


@pytest.mark.parametrize(
    ("name", "network", "precision"),
    [
        ("nmnist", "vgg16", "bf16"),
        ("cifar10-dvs", "resnet19", "fp32"),
        ("ncaltech101", "vgg16", "fp32"),
    ],
)
def test_a_run_on_events(tmp_path: Path, name: str, network: str, precision: str) -> None:
    assert run(tmp_path, name, network, precision) == 0
    lines = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["event"] == "trained"]
    assert [line["timesteps"] for line in trained] == [4, 10]
    ticket = load_ticket(tmp_path / "run")
    assert ticket.figures["sparsity"] == pytest.approx(0.5, abs=0.05)

    program, _ = to_program(ticket, {})
    assert program.timesteps == 10
    assert program.shape == (2, 48, 48)
    assert main(["export", "--run", str(tmp_path / "run"), "--data", str(tmp_path / "data")]) == 0
    written = Program.load(tmp_path / "run" / "events.safetensors")
    assert [layer.threshold for layer in written.layers] == [
        layer.threshold for layer in program.layers
    ]
    frames = torch.randint(0, 3, (2, 10, 2, 48, 48), dtype=torch.uint8)
    activity = quantised_forward(written, frames)
    for b in range(2):
        expected = reference.run(written, frames[b].numpy())
        for mine, theirs in zip(activity.masks(), expected.masks, strict=True):
            assert np.array_equal(mine[b].numpy(), theirs)
        assert np.array_equal(activity.logits[b].numpy(), expected.logits)


@pytest.mark.parametrize("name", ["vgg16", "resnet19"])
def test_each_timestep_sees_its_own_frame(name: str) -> None:
    """The network's first current at t is that of frame t alone."""
    torch.manual_seed(0)
    model = networks.build(NetworkConfig(name, width=2, in_channels=2, timesteps=10)).eval()
    frames = torch.randint(0, 256, (3, 10, 2, 48, 48), dtype=torch.uint8)
    first = model.blocks()[0] if isinstance(model, networks.VGG16) else model.stem
    assert isinstance(first, networks.SpikingConv)
    current = model.encode(frames, first)
    assert current.shape == (10, 3, 2, 48, 48)
    for t in range(10):
        alone = first.current(frames[:, t].float() / networks.PIXEL_SCALE)
        torch.testing.assert_close(current[t], alone)
    assert model(frames).shape == (10, 3, 10)


def test_sparse_kernels_take_frames() -> None:
    pytest.importorskip("numba")
    torch.manual_seed(0)
    model = networks.build(NetworkConfig(width=4, in_channels=2, timesteps=4))
    masks.attach(model)
    assert isinstance(model, networks.VGG16)
    masks.write(model, {n: torch.rand(m.shape) < 0.6 for n, m in masks.read(model).items()})
    frames = torch.randint(0, 256, (8, 4, 2, 48, 48), dtype=torch.uint8)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    logits, statistics = [], []
    for forward in (model, sparse_networks.sparse_forward(model)):
        model.load_state_dict(before)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits.append(forward(frames))
        statistics.append({k: v.clone() for k, v in model.state_dict().items() if ".running" in k})
    assert logits[0].shape == logits[1].shape == (4, 8, 10)
    assert not torch.equal(logits[1][0], logits[1][1])
    # bfloat16 rounds differently and flips spikes: the first layers' statistics agree.
    for layer in range(3):
        for of in ("mean", "var"):
            values = [found[f"layers.{layer}.norm.running_{of}"] for found in statistics]
            torch.testing.assert_close(*values, rtol=0.02, atol=2e-3)


def test_shipped_recipes_on_events() -> None:
    found = {}
    for path in RECIPES.glob("*.toml"):
        loaded = recipe.load(path.stem)
        if loaded.network.in_channels == 2:
            assert loaded.network.timesteps == loaded.final.timesteps == 10
            found[path.stem] = loaded.data.name
    assert found == {
        "vgg16-cifar10-dvs": "cifar10-dvs",
        "resnet19-cifar10-dvs": "cifar10-dvs",
        "resnet19-ncaltech101": "ncaltech101",
        "vgg16-nmnist-small": "nmnist",
    }
