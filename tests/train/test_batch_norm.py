"""Batch norm of each timestep by itself, against networks that are stepped through time."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from evenspike_train import data, networks
from evenspike_train.networks import VGG16, NetworkConfig, ResNet19, SpikingNetwork
from evenspike_train.networks.base import PIXEL_SCALE, ConvNorm
from evenspike_train.networks.resnet19 import BasicBlock
from evenspike_train.networks.shared_norm import share_statistics
from evenspike_train.recipes import recipe
from evenspike_train.recipes.recipe import RecipeError
from evenspike_train.runs import sparse_networks
from evenspike_train.runs.trainer import Trainer
from evenspike_train.tickets import masks
from tests.helpers.training import SHORT, lines

T, BATCH = 3, 4


class Neurons:
    """Leaky neurons that keep their membrane from one call to the next, in torch's own terms."""

    def __init__(self) -> None:
        self.membrane: Tensor | None = None

    def __call__(self, current: Tensor) -> Tensor:
        before = 0.0 if self.membrane is None else 0.25 * self.membrane
        membrane = before + 0.75 * current
        smooth = torch.atan(math.pi * (membrane - 1)) / math.pi
        spikes = (membrane >= 1).to(membrane.dtype) + (smooth - smooth.detach())
        self.membrane = membrane * (1 - spikes.detach())
        return spikes


def stepped(
    step: Callable[[Tensor, Callable[[object], Neurons]], Tensor], frames: list[Tensor]
) -> Tensor:
    """Logits [T, B, classes] of a network that sees one timestep after the other."""
    known: dict[int, Neurons] = {}

    def neurons(of: object) -> Neurons:
        return known.setdefault(id(of), Neurons())

    return torch.stack([step(frame, neurons) for frame in frames])


def normal(block: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(block, ConvNorm)
    current: Tensor = block.norm(block.conv(x))
    return current


def vgg16_step(model: VGG16, x: Tensor, neurons: Callable[[object], Neurons]) -> Tensor:
    """`x`: the current of the first layer."""
    for index, block in enumerate(model.blocks()):
        spikes = neurons(block)(normal(block, x) if index else x)
        x = block.pooled(spikes)
    logits: Tensor = model.classifier(x.flatten(1))
    return logits


def resnet19_step(model: ResNet19, x: Tensor, neurons: Callable[[object], Neurons]) -> Tensor:
    x = neurons(model.stem)(x)
    for block in model.blocks:
        assert isinstance(block, BasicBlock)
        inner = neurons(block.first)(normal(block.first, x))
        beside = x if block.shortcut is None else normal(block.shortcut, x)
        x = neurons(block)(normal(block.second, inner) + beside)
    logits: Tensor = model.classifier(neurons(model.fc1)(model.fc1(x.mean((2, 3)))))
    return logits


def reference(model: SpikingNetwork, images: Tensor) -> Tensor:
    """The authors' order of things: every timestep goes through the whole network by itself."""
    if images.dim() == 5:
        pixels = list(images.double().transpose(0, 1) / PIXEL_SCALE)
    else:
        pixels = [images.double() / PIXEL_SCALE]
    if isinstance(model, VGG16):
        currents = [normal(model.blocks()[0], x) for x in pixels]
        vgg16 = model
        return stepped(lambda x, n: vgg16_step(vgg16, x, n), currents * (T // len(currents)))
    assert isinstance(model, ResNet19)
    currents = [normal(model.stem, x) for x in pixels]
    resnet19 = model
    return stepped(lambda x, n: resnet19_step(resnet19, x, n), currents * (T // len(currents)))


def make(name: str, batch_norm: str, channels: int = 1) -> SpikingNetwork:
    torch.manual_seed(3)
    config = NetworkConfig(name, width=4, timesteps=T, in_channels=channels, batch_norm=batch_norm)
    model = networks.build(config)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 1.5, 2.5)  # so that every layer fires
    if isinstance(model, ResNet19):
        nn.init.normal_(model.fc1.weight)
    return model.double().train()  # so that rounding moves no spike


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("name", ["vgg16", "resnet19"])
def test_training_normalises_each_timestep_by_itself(name: str, frames: bool) -> None:
    channels = 2 if frames else 1
    model = make(name, "per-timestep", channels)
    other = copy.deepcopy(model)
    shape = (BATCH, T, 2, 32, 32) if frames else (BATCH, 1, 32, 32)
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    logits, wanted = model(images), reference(other, images)
    torch.testing.assert_close(logits, wanted, rtol=1e-9, atol=1e-9)
    pooled = make(name, "pooled", channels)(images)
    assert not torch.allclose(logits, pooled, rtol=1e-2), "it makes a difference"

    found = torch.autograd.grad(logits.square().sum(), list(model.parameters()))
    stated = torch.autograd.grad(wanted.square().sum(), list(other.parameters()))
    scale = max(float(gradient.abs().max()) for gradient in stated)
    for one, two in zip(found, stated, strict=True):
        # A bias in front of a batch norm has no gradient but rounding.
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-9 * scale)
    for key, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, other.get_buffer(key), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["vgg16", "resnet19"])
def test_in_evaluation_there_is_no_difference(name: str) -> None:
    images = torch.randint(0, 256, (BATCH, 1, 32, 32), dtype=torch.uint8)
    one, two = (make(name, kind).eval() for kind in ("per-timestep", "pooled"))
    assert torch.equal(one(images), two(images))


def test_fewer_timesteps_are_as_many_parts() -> None:
    """A search may run with fewer timesteps than the network has."""
    images = torch.randint(0, 256, (BATCH, 1, 32, 32), dtype=torch.uint8)
    model = make("vgg16", "per-timestep")
    model.timesteps = 2
    model(images)
    tracked = {key: int(b) for key, b in model.named_buffers() if "tracked" in key}
    assert tracked.pop("layers.0.norm.num_batches_tracked") == 1  # an image is seen once
    assert set(tracked.values()) == {2}


def test_processes_share_the_statistics_of_a_timestep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each timestep's are exchanged by themselves; here every process holds the same images."""
    images = torch.randint(0, 256, (BATCH, 1, 32, 32), dtype=torch.uint8)
    wanted = make("vgg16", "per-timestep")(images)
    model, exchanged = make("vgg16", "per-timestep"), []

    def gather(every: list[Tensor], own: Tensor) -> None:
        exchanged.append(float(own[2, 0]))
        for one in every:
            one.copy_(own)

    monkeypatch.setattr(torch.distributed, "all_gather", gather)
    share_statistics(model, 2)
    torch.testing.assert_close(model(images), wanted, rtol=1e-4, atol=1e-5)
    assert len(exchanged) == 1 + 12 * T
    assert exchanged[0] == exchanged[1] == BATCH * 32 * 32


def test_sparse_kernels_are_not_taken(sets: data.Dataset, tmp_path: Path) -> None:
    """They normalise all timesteps together, so the run stays with what the recipe says."""
    text = SHORT.replace('precision = "fp32"', 'precision = "bf16"\nsparse_below = 1e9')
    Trainer(recipe.parse(text), sets, tmp_path / "pooled").run()
    assert "sparse" in lines(tmp_path / "pooled", "kernels")[-1]["kernels"].split(",")[0]
    text = text.replace("timesteps = 2", 'timesteps = 2\nbatch_norm = "per-timestep"', 1)
    Trainer(recipe.parse(text), sets, tmp_path / "apart").run()
    said = [line["kernels"] for line in lines(tmp_path / "apart", "kernels")]
    assert said[-1] == "dense, torch (the sparse kernels have no batch norm per timestep)"
    model = VGG16(NetworkConfig(width=2, batch_norm="per-timestep"))
    masks.attach(model)
    with pytest.raises(ValueError, match="sparse kernels have no batch norm per timestep"):
        sparse_networks.sparse_forward(model)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('batch_norm = "each"', r"batch_norm must be one of \('pooled', 'per-timestep'\), not 'ea"),
        ("batch_norm = 1", r"network\.batch_norm: expected str, got int 1"),
        (
            'name = "net.py:Net"\nbatch_norm = "per-timestep"',
            'batch_norm must be "pooled" for net.py:Net, whose batch norm is its own, not',
        ),
    ],
)
def test_wrong_batch_norm_is_named(table: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        recipe.parse(f'name = "x"\n[network]\n{table}')
