"""The proof at the door: a wrong lowering is an error that names layer, filter and cause."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_train.export.programs import to_program
from evenspike_train.lowering import Network, NeuronModel, Reset, import_network, register
from evenspike_train.lowering.proof import Proof
from tests.helpers.lowered import Folded, frames, lif


def network(neurons: nn.Module | None = None, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        Folded(nn.Conv2d(2, 6, 3, padding=1)),
        lif(threshold=0.25),
        Folded(nn.Conv2d(6, 6, 3, padding=1)),
        neurons or lif(threshold=0.25),
        Folded(nn.Flatten(), nn.Linear(6 * 64, 5)),
    ).eval()


def followed(module: nn.Module) -> Network:
    return import_network(module, frames(5, 4, 2, 8, 8).float(), name="net")


def test_the_table() -> None:
    program, proof = to_program(followed(network()))
    assert [one.name for one in proof.layers] == ["input", "0.0", "2.0", "4.1"]
    assert all(0 <= one.error < 1e-3 for one in proof.layers)
    assert all(one.different < 1e-3 and not one.cause for one in proof.layers)
    assert proof.layers[1].living == 6 * 2 * 9
    assert proof.layers[1].bits == 5 * 4 * 6 * 64
    assert proof.changed == 0
    text = str(proof)
    assert text.splitlines()[0].split()[:3] == ["layer", "spikes", "differ"]
    assert f"{proof.layers[2].spikes:,}" in text
    assert "0 of 4 examples get another class" in text
    assert program.provenance["weights_rounded_to_zero"] == sum(one.lost for one in proof.layers)


def changed(given: Network, index: int, **fields: Any) -> Network:
    layers = list(given.layers)
    layers[index] = dataclasses.replace(layers[index], **fields)
    return dataclasses.replace(given, layers=tuple(layers))


def test_one_weight_that_ruins_the_scale_is_named() -> None:
    module = network()
    with torch.no_grad():
        module.get_parameter("2.0.weight")[4, 0, 0, 0] = 3e4
    message = (
        r"net: layer 2\.0: the integers differ from the module in \d+\.\d+% of its spikes \(limit "
        r"1\.00%\), most in filter \d: at its scale of 2\^0 the threshold is 1, and \d+ of 324 "
        r"weights are zero; the weight 3e\+04 of filter 4 makes it so coarse"
    )
    with pytest.raises(EvenspikeError, match=message):
        to_program(followed(module))


def test_a_bias_that_ruins_the_scale_is_named() -> None:
    module = network()
    with torch.no_grad():
        module.get_parameter("2.0.bias")[3] = -2e6
    with pytest.raises(EvenspikeError, match=r"the bias 2e\+06 of filter 3 makes it so coarse"):
        to_program(followed(module))


def test_a_pool_that_is_not_what_it_seems_is_named() -> None:
    given = followed(network())
    segment = given.layers[2].segments[0]
    moved = dataclasses.replace(segment, offset=(0, -1))
    wrong = changed(given, 2, segments=(moved,))
    message = r"layer 2\.0: .*what is in front of 3 does not compute the currents that its weigh"
    with pytest.raises(EvenspikeError, match=message):
        to_program(wrong)


@pytest.mark.parametrize("fields", [{"leak": 0.75}, {"threshold": 0.375}, {"reset": Reset.NONE}])
def test_neurons_that_do_something_else_are_named(fields: dict[str, Any]) -> None:
    given = followed(network())
    neuron = dataclasses.replace(given.layers[2].neuron, **fields)
    message = (
        r"layer 2\.0: .*the neurons of 3 do not do what is known of them \(\d+\.\d+% of the bits"
    )
    with pytest.raises(EvenspikeError, match=message):
        to_program(changed(given, 2, neuron=neuron))


class Resonant(nn.Module):
    """Neurons that are registered as what they are not."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.cumsum(0) > 0.5).to(x)


def test_a_wrong_registration_is_found() -> None:
    register(Resonant, lambda _module, _where: NeuronModel(0.5))
    with pytest.raises(EvenspikeError, match="the neurons of 3 do not do what is known of them"):
        to_program(followed(network(Resonant())))


def test_a_wrong_read_out_is_found() -> None:
    given = followed(network())
    with pytest.raises(EvenspikeError, match=r"layer 4\.1: .* of its outputs \(limit 1\.00%\)"):
        to_program(changed(given, 3, bias=given.layers[3].bias + np.eye(5)[2]))


def test_the_limit_can_be_set() -> None:
    module = network()
    with torch.no_grad():
        module.get_parameter("2.0.weight")[4, 0, 0, 0] = 200.0
    given = followed(module)
    _, proof = to_program(given, limit=1.0)
    share = proof.layers[2].different
    assert 0 < share < 0.01
    with pytest.raises(EvenspikeError, match=f"limit {share / 2:.2%}"):
        to_program(given, limit=share / 2)
    assert isinstance(proof, Proof)
