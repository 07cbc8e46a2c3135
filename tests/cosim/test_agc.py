"""Networks of attention-guided compression on reference, cycle model and RTL, at T = 8 and 10."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

import evenspike as es
from evenspike_core import reference
from evenspike_core.compact import compact
from evenspike_core.program import Program
from evenspike_train import networks
from evenspike_train.export.programs import follow, to_program
from evenspike_train.kernels.learned_neuron import LearnedLIF
from evenspike_train.kernels.neuron import LIFParameters
from evenspike_train.networks import NetworkConfig
from evenspike_train.networks.conversion import Conversion, evaluate_thresholds
from evenspike_train.tickets import masks as weight_masks
from evenspike_train.tickets import rewiring

NEURON = LIFParameters(1.0, 1.0, 1.0, "soft", "triangle", 0.3)


def program(
    name: str, timesteps: int, granularity: str, entering: str, images: torch.Tensor
) -> Program:
    """A network as it is drawn, compressed and converted, with a leak of each layer's own."""
    torch.manual_seed(4)
    generator = torch.Generator().manual_seed(5)
    config = NetworkConfig(name, width=2, timesteps=timesteps, neuron=NEURON, input=entering)
    model = networks.build(config).eval()
    weight_masks.attach(model)
    masks = weight_masks.read(model)
    for layer, weight in list(weight_masks.originals(model).items())[1:-1]:
        if granularity == "irregular" or weight.dim() == 4:
            masks[layer] = rewiring.draw(weight, 0.5, granularity, generator)
    weight_masks.write(model, masks)
    evaluate_thresholds(model, images, Conversion(scale=0.3, timesteps=40))
    layers = [one for one in model.modules() if isinstance(one, LearnedLIF)]
    with torch.no_grad():
        for number, one in enumerate(layers):
            one.leak.fill_(1 - 0.011 * number)
    found, proof = to_program(follow(model, images), {}, may_be_silent=True)
    proof.check(may_be_silent=True)
    return compact(found) if granularity == "channel" else found


@pytest.mark.parametrize(
    ("name", "timesteps", "granularity", "entering"),
    [
        ("agc-vgg9", 8, "irregular", "direct"),
        ("agc-vgg9", 10, "channel", "direct"),
        ("agc-vgg9", 10, "irregular", "bernoulli"),
        ("agc-resnet12", 8, "channel", "direct"),
    ],
)
def test_all_three_agree_to_the_bit(
    name: str, timesteps: int, granularity: str, entering: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8, generator=generator)
    made = program(name, timesteps, granularity, entering, images)
    activity = reference.run(made, images[0].numpy())
    assert all(bool(one.any()) for one in activity.masks[:3])
    run = es.cosim(es.pack(made), images[:1].numpy())
    assert run.bit_exact, run.divergence
    assert run.compare(es.simulate(run.packed, images[:1].numpy())) is None
