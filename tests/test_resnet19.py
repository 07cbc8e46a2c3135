"""ResNet-19 from torch to cycles: spikes, the paper's convention, and the published size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from evenspike.cli import main
from evenspike_core import metrics, reference
from evenspike_core.arch import Arch
from evenspike_core.mapping import choose
from evenspike_core.pack import pack
from evenspike_core.program import Program
from evenspike_sim.accelerator import Accelerator
from evenspike_train import networks
from evenspike_train.export.integer import quantised_forward
from evenspike_train.networks import NetworkConfig
from evenspike_train.recipes import recipe as recipes
from evenspike_train.runs import command
from evenspike_train.tickets import masks
from evenspike_train.tickets.balance import balanced_layers
from evenspike_train.tickets.u_ticket import balance
from tests.helpers.residual import calibrated, images, program_of
from tests.helpers.training import lines, write_set

PES = 16
CONVOLUTIONS = 19
"""All but the first: two a block, and three shortcuts."""

RECIPE = """
name = "tiny"
[data]
validation = 20
[network]
name = "resnet19"
width = 2
timesteps = 2
[method]
rounds = 2
rate = 0.5
rewind = "learning-rate"
sparsity = 0.7
pes = 4
[optimizer]
batch = 16
[dense]
images = 32
timesteps = 2
[round]
images = 16
timesteps = 2
[final]
images = 32
timesteps = 2
[compute]
round_validation = 10
"""


def balanced(model: networks.ResNet19, density: float) -> None:
    """Random masks, then the balance of u-Ticket in each convolution but the first."""
    masks.attach(model)
    generator = torch.Generator().manual_seed(0)
    found = {
        k: torch.rand(v.shape, generator=generator) < density for k, v in masks.read(model).items()
    }
    originals = masks.originals(model)
    for name in balanced_layers(found):
        found[name] = balance(found[name], originals[name], PES, "ceil", "random", generator)
    masks.write(model, found)


def check_paper_convention(program: Program) -> metrics.PaperMetrics:
    """Of each convolution and of the network: `(work + idle) / PEs` is the latency, exactly."""
    paper = metrics.paper_metrics(program, PES)
    assert len(paper.convolutions) == CONVOLUTIONS
    for one in paper.convolutions:
        assert one.work + one.idle == PES * one.latency
        assert one.work == one.nnz * one.positions * program.timesteps
        assert one.work > 0
    assert paper.work + paper.idle == PES * paper.latency
    return paper


def test_torch_reference_and_cycle_model_agree() -> None:
    """Every spike of every layer and timestep, and every logit, of three independent statements."""
    program = program_of(calibrated(4))
    batch = images(2, 11)
    activity = quantised_forward(program, batch)
    masks_of = [part.numpy() for part in activity.masks()]
    accelerator = Accelerator(pack(program, choose(program, Arch()), Arch()))
    for number, pixels in enumerate(batch.numpy()):
        expected = reference.run(program, pixels)
        runs = accelerator.run(expected.masks[0])
        for layer, ours in enumerate(expected.masks):
            where = f"image {number}, layer {program.layers[layer].name}"
            assert ours.any(), f"{where}: silence proves nothing"
            assert np.array_equal(masks_of[layer][number], ours), f"{where}: torch"
            assert np.array_equal(runs[layer].masks, ours), f"{where}: cycle model"
        assert np.array_equal(activity.logits[number].numpy(), expected.logits)
        logits = runs[-1].logits
        assert logits is not None
        assert np.array_equal(logits, expected.logits)
        assert not any(expected.overflow)


def test_balance_of_each_convolution_is_the_papers_utilization() -> None:
    model = calibrated(8, density=0.05)
    before = check_paper_convention(program_of(model)).layer_mean
    balanced(model, 0.05)
    after = check_paper_convention(program_of(model, keep_living=True))
    assert before is not None
    assert before < 0.95
    assert all(one.utilization == 1 for one in after.convolutions)
    assert after.layer_mean == after.parameter_weighted == 1


def test_full_width_at_98_percent_fits_and_is_balanced() -> None:
    """The published size: prunable weights, the paper's utilization, the default accelerator."""
    torch.manual_seed(0)
    model = networks.ResNet19(NetworkConfig("resnet19", in_channels=3))
    balanced(model, 0.018)
    program = program_of(model, keep_living=True)
    assert program.weights == 12_619_968
    assert program.sparsity >= 0.98
    paper = check_paper_convention(program)
    assert paper.layer_mean == pytest.approx(1, abs=1e-3)
    packed = pack(program, choose(program, Arch()), Arch())
    assert [len(layer.segments) for layer in packed.layers] == [0, *[1, 2] * 8, 1, 1]
    highest = max(
        layer.spike_base + layer.blocks.shape[0] * layer.size[0] * layer.size[1]
        for layer in packed.layers[:-1]
    )
    assert highest == Arch().spike_entries  # conv1's map is kept for the first shortcut


def test_a_run_becomes_a_program_that_the_cycle_model_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path, train=60, test=20)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    threads = torch.get_num_threads()
    command.train(str(recipe), tmp_path / "run", tmp_path, threads=1)
    (line,) = lines(tmp_path / "run", "kernels")
    assert line["kernels"] == "dense, torch"
    program, path, _ = command.export(tmp_path / "run", tmp_path, tmp_path, threads=1)
    torch.set_num_threads(threads)
    network = recipes.load(recipe).network
    assert program.sparsity >= 0.7
    assert program.weights == sum(
        mask.numel() for mask in masks.read(networks.build(network)).values()
    )
    assert metrics.paper_metrics(program, 4).layer_mean == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # holds no RTL: the model alone
    assert main(["sim", "--model", str(path), "--images", "1", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "tiny" / "report.json").read_text())
    assert report["bit_exact"]
    assert [entry["name"] for entry in report["layers"]] == [one.name for one in program.layers]
    shortcuts = {
        entry["name"]: entry["shape"]["shortcut"]
        for entry in report["layers"]
        if "shortcut" in entry["shape"]
    }
    assert shortcuts == {
        f"block{n}.conv2": "1\u00d71/2" if n in (1, 4, 7) else "identity" for n in range(1, 9)
    }
    page = (tmp_path / "tiny" / "report.md").read_text()
    assert "8\u21928 3\u00d73 @8\u00d78 + identity" in page
    assert page.count("@16\u00d716 + 1\u00d71/2") == 1
