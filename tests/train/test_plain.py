"""LeNet-5 and the ten-layer network: shapes, drawn input, and what becomes of both as integers."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from evenspike_core import reference
from evenspike_core.program import Coding, Readout
from evenspike_train import networks
from evenspike_train.export.programs import follow, noise, to_program
from evenspike_train.kernels.neuron import LIFParameters
from evenspike_train.networks import NetworkConfig
from evenspike_train.networks.bernoulli import drawn
from evenspike_train.recipes import recipe
from evenspike_train.runs.optimizer import mean_rate, rate_loss

NEURON = LIFParameters(gain=1.0, threshold=0.2, surrogate="boxcar", alpha=0.5)


def build(name: str, width: int, **keys: object) -> networks.SpikingNetwork:
    torch.manual_seed(0)
    given = {"timesteps": 4, "neuron": NEURON, **keys}
    return networks.build(NetworkConfig(name, width, **given)).eval()  # type: ignore[arg-type]


def sizes(name: str, width: int, channels: int) -> list[tuple[int, ...]]:
    model = build(name, width, in_channels=channels)
    return [tuple(module.weight.shape) for _, module in networks.prunable(model)]  # type: ignore[arg-type]


def test_the_papers_shapes() -> None:
    assert sizes("lenet5", 20, 1) == [(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)]
    filters = [2, 4, 4, 8, 8, 16, 32, 16, 8, 10]
    found = sizes("strided10", 2, 3)
    assert [shape[0] for shape in found] == filters
    assert found[7] == (16, 32 * 16)


@pytest.mark.parametrize(("name", "side"), [("lenet5", 28), ("lenet5", 32), ("strided10", 32)])
@pytest.mark.parametrize("entering", ["direct", "bernoulli"])
def test_the_integers_answer_as_the_network(name: str, side: int, entering: str) -> None:
    model = build(name, 4, input=entering)
    images = noise(model, side)
    record: list[torch.Tensor] = []
    spikes = model(images, record)
    assert spikes.shape == (4, 2, 10)
    assert spikes.unique().tolist() in ([0.0], [0.0, 1.0])
    assert len(record) == len(list(networks.prunable(model))) - 1
    network = follow(model, images)
    program, proof = to_program(network, may_be_silent=True)
    proof.check(may_be_silent=True)
    assert program.layers[-1].readout is Readout.COUNT
    assert program.encoder.coding is (Coding.RATE if entering == "bernoulli" else Coding.DIRECT)
    assert proof.changed == 0
    for image, counts in zip(images, spikes.sum(0), strict=True):
        got = reference.run(program, image.numpy()).logits
        assert np.abs(np.asarray(got) - counts.detach().numpy()).max() <= 1


def test_drawn_spikes_come_as_often_as_the_bytes_say() -> None:
    images = torch.tensor([0, 51, 204, 255], dtype=torch.uint8).view(1, 1, 2, 2)
    spikes = drawn(images, 4000, torch.Generator().manual_seed(0))
    assert spikes.shape == (1, 4000, 1, 2, 2)
    rates = spikes.double().mean((0, 1, 2)).flatten()
    torch.testing.assert_close(
        rates, torch.tensor([0, 0.2, 0.8, 1], dtype=torch.float64), atol=0.03, rtol=0
    )
    again = drawn(images, 4000, torch.Generator().manual_seed(0))
    assert torch.equal(spikes, again)


def test_the_loss_and_the_rate() -> None:
    spikes = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]])  # [T = 2, B = 1, 2 classes]
    assert float(rate_loss(spikes, torch.tensor([0]))) == pytest.approx(0.25)
    assert float(rate_loss(spikes, torch.tensor([1]))) == pytest.approx(1.25)
    # A neuron counts the same, whatever layer it is of.
    assert float(mean_rate([torch.ones(1, 1, 1, 1), torch.zeros(1, 3, 1, 1)])) == 0.25


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "vgg16"\ninput = "bernoulli"', 'input must be "direct" for vgg16'),
        ('name = "lenet5"\ninput = "poisson"', "input must be one of"),
        ('name = "lenet5"\nactivation = "relu"\ntimesteps = 1', "lenet5 has no twin"),
        (
            'name = "agc-vgg9"\nactivation = "relu"\ninput = "bernoulli"\ntimesteps = 1',
            'input must be "direct" for a twin with ReLU',
        ),
    ],
)
def test_networks_that_there_are_not(text: str, said: str) -> None:
    with pytest.raises(recipe.RecipeError, match=said):
        recipe.parse(f'name = "x"\n[network]\n{text}')


def test_images_of_another_size() -> None:
    with pytest.raises(recipe.RecipeError, match="lenet5 takes images of 28x28 pixels"):
        recipe.parse(
            'name = "x"\n[data]\nname = "nmnist"\n[network]\nname = "lenet5"\nin_channels = 2'
        )
