"""Neurons that learn leak and threshold: the fused steps against the plain loop."""

from __future__ import annotations

import dataclasses
from typing import cast

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from evenspike_core.errors import EvenspikeError
from evenspike_train import networks
from evenspike_train.export.programs import follow, to_program
from evenspike_train.kernels.learned_neuron import (
    THRESHOLD_MIN,
    LearnedLIF,
    LearnedLIFFunction,
    learned_lif_loop,
)
from evenspike_train.kernels.neuron import LIFParameters
from evenspike_train.networks import NetworkConfig, twin
from evenspike_train.recipes import recipe

NEURON = LIFParameters(1.0, 1.0, 1.0, "soft", "triangle", 0.3)

NAMES = ("agc-vgg9", "agc-vgg11", "agc-vgg16", "agc-resnet12")


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.parametrize(("surrogate", "alpha"), [("triangle", 0.3), ("arctan", 2.0)])
def test_spikes_and_all_gradients_are_the_loops(
    reset: str, detached: bool, surrogate: str, alpha: float
) -> None:
    neuron = LIFParameters(0.5, 0.8, 1.0, reset, surrogate, alpha, detached)
    torch.manual_seed(0)
    current = torch.randn(6, 3, 5, dtype=torch.float64) * 2
    weights = torch.randn_like(current)
    found: list[list[Tensor]] = []
    for compute in (LearnedLIFFunction.apply, learned_lif_loop):
        inputs = [
            one.clone().requires_grad_()
            for one in (current, torch.tensor(0.9).double(), torch.tensor(0.7).double())
        ]
        spikes = compute(inputs[0], inputs[1], inputs[2], neuron)
        (spikes * weights).sum().backward()
        found.append([spikes.detach(), *(cast("Tensor", one.grad) for one in inputs)])
    for fused, loop in zip(*found, strict=True):
        torch.testing.assert_close(fused, loop, rtol=1e-9, atol=1e-12)
    assert float(found[0][2].abs()) > 0
    assert float(found[0][3].abs()) > 0


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize(("surrogate", "alpha"), [("triangle", 0.3), ("arctan", 2.0)])
def test_the_compiled_gradients_are_the_loops(reset: str, surrogate: str, alpha: float) -> None:
    """In float32, of more neurons than the kernel takes at once, in an order of their own."""
    neuron = LIFParameters(0.5, 0.8, 1.0, reset, surrogate, alpha)
    torch.manual_seed(0)
    current = (torch.randn(5, 3, 9, 20, 40) * 2).transpose(2, 4)
    weights = torch.randn(current.shape)
    found: list[list[Tensor]] = []
    for compute in (LearnedLIFFunction.apply, learned_lif_loop):
        inputs = [
            one.clone().requires_grad_() for one in (current, torch.tensor(0.9), torch.tensor(0.7))
        ]
        spikes = compute(inputs[0], inputs[1], inputs[2], neuron)
        (spikes * weights).sum().backward()
        found.append([spikes.detach(), *(cast("Tensor", one.grad) for one in inputs)])
    same = found[0][0] == found[1][0]
    assert float(same.float().mean()) > 0.999  # u / threshold - 1 rounds otherwise than u does
    for fused, loop in zip(*found, strict=True):
        error = float((fused - loop).abs().mean() / loop.abs().mean())
        assert error < 2e-3


def test_a_step_out_of_range_is_taken_back() -> None:
    layer = LearnedLIF(NEURON)
    with torch.no_grad():
        layer.leak.fill_(1.3)
        layer.threshold.fill_(-1.0)
    assert layer.values().leak == 1.0
    assert layer.values().threshold == THRESHOLD_MIN
    layer(torch.ones(2, 1, 3))
    assert float(layer.leak.detach()) == 1.0


@pytest.mark.parametrize(
    ("learns", "trained"),
    [("both", (True, True)), ("leak", (True, False)), ("none", (False, False))],
)
def test_what_is_not_learned_has_no_gradient(learns: str, trained: tuple[bool, bool]) -> None:
    layer = LearnedLIF(NEURON, learns)
    assert (layer.leak.requires_grad, layer.threshold.requires_grad) == trained


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("timesteps", [3, 10])
def test_each_network_becomes_integers_with_its_own_neurons(name: str, timesteps: int) -> None:
    torch.manual_seed(0)
    neuron = dataclasses.replace(NEURON, threshold=0.3)
    model = networks.build(NetworkConfig(name, width=2, timesteps=timesteps, neuron=neuron))
    layers = [one for one in model.modules() if isinstance(one, LearnedLIF)]
    with torch.no_grad():
        for number, one in enumerate(layers):
            one.leak.fill_(1 - 0.013 * number)
            one.threshold.fill_(0.2 + 0.02 * number)
    program, proof = to_program(follow(model.eval()), {}, may_be_silent=True)
    proof.check(may_be_silent=True)
    leaks = [layer.leak for layer in program.layers[: len(layers)]]
    assert leaks == [round(4096 * (1 - 0.013 * number)) for number in range(len(layers))]
    assert len({layer.threshold for layer in program.layers}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_one_set_of_weights_makes_the_rectifying_and_the_spiking_network(name: str) -> None:
    torch.manual_seed(0)
    model = networks.build(NetworkConfig(name, width=2, timesteps=1, neuron=NEURON)).eval()
    names = list(model.state_dict())
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    spikes: list[torch.Tensor] = []
    model(images, record=spikes)
    twin.to_relu(model)
    assert twin.is_twin(model)
    assert list(model.state_dict()) == names
    maps: list[torch.Tensor] = []
    model(images, record=maps)
    assert len(maps) == len(spikes)
    assert all(bool(((one == 0) | (one == 1)).all()) for one in spikes)
    assert any(bool(((one != 0) & (one != 1)).any()) for one in maps)
    with pytest.raises(EvenspikeError, match="rectif"):
        follow(model)
    twin.to_spiking(model, NEURON)
    assert not twin.is_twin(model)


def test_dropout_silences_the_same_neurons_at_every_timestep() -> None:
    config = NetworkConfig("agc-vgg9", width=2, timesteps=3, dropout=0.5)
    model = networks.build(config)
    assert isinstance(model, networks.AttentionNetwork)
    model.generator = torch.Generator().manual_seed(1)
    x = torch.ones(6, 8)
    dropped = model._drop(x, 0.5).view(3, 2, 8)
    assert bool((dropped == dropped[0]).all())
    assert set(dropped.flatten().tolist()) == {0.0, 2.0}
    model.generator.manual_seed(1)
    again = model._drop(x, 0.5)
    assert torch.equal(again, dropped.view(6, 8))
    assert torch.equal(model.eval()._drop(x, 0.5), x)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('learns = "leak"', "vgg16 has no learned neurons"),
        ("dropout = 0.2", "vgg16 has no learned neurons and no dropout"),
        ('learns = "all"', r"learns must be one of \('both'"),
        ("conv_dropout = 1.0", r"conv_dropout must lie in \[0, 1\)"),
    ],
)
def test_what_other_networks_have_not_is_refused(line: str, says: str) -> None:
    with pytest.raises(recipe.RecipeError, match=says):
        recipe.parse(f'name = "x"\n[network]\n{line}\n[method]\nname = "dense"')
