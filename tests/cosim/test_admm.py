"""Weights that ADMM quantised, as codes of 4 bits on reference, cycle model and RTL."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

import evenspike as es
from evenspike_core import reference
from evenspike_core.codes import CODE_BITS
from evenspike_core.program import Program
from evenspike_train import networks
from evenspike_train.export.programs import follow, to_program
from evenspike_train.kernels.neuron import LIFParameters
from evenspike_train.networks import NetworkConfig
from evenspike_train.tickets import masks as weight_masks
from evenspike_train.tickets.quan import quan

NEURON = LIFParameters(0.25, 1.0, 0.2, surrogate="boxcar", alpha=0.5)


def program(bits: int, images: torch.Tensor) -> Program:
    """LeNet-5 as it is drawn, its inner layers pruned by a quarter and quantised; T = 8."""
    torch.manual_seed(3)
    config = NetworkConfig("lenet5", width=4, timesteps=8, neuron=NEURON, input="bernoulli")
    model = networks.build(config).eval()
    weight_masks.attach(model)
    masks = weight_masks.read(model)
    with torch.no_grad():
        for layer, weight in list(weight_masks.originals(model).items())[1:-1]:
            masks[layer] = weight.abs() > weight.abs().quantile(0.25)
            weight.copy_(quan(weight * masks[layer], bits).weights)
            masks[layer] &= weight != 0
    weight_masks.write(model, masks)
    found, proof = to_program(follow(model, images), {}, may_be_silent=True)
    proof.check(may_be_silent=True)
    return found


@pytest.mark.parametrize("bits", [1, 3])
def test_all_three_agree_to_the_bit(bits: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8, generator=generator)
    made = program(bits, images)
    widths = {
        layer.name: {layer.stream_bits(segment) for segment in layer.segments}
        for layer in made.layers
        if not layer.host
    }
    assert widths["conv2"] == widths["fc1"] == {CODE_BITS}
    activity = reference.run(made, images[0].numpy())
    assert all(bool(one.any()) for one in activity.masks[:2])
    run = es.cosim(es.pack(made), images[:1].numpy())
    assert run.bit_exact, run.divergence
    assert run.compare(es.simulate(run.packed, images[:1].numpy())) is None
