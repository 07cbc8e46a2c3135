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
from evenspike_train.lowering.proof import LayerProof, Proof
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
    assert text.splitlines()[0].split()[:4] == ["layer", "weights", "spikes", "differ"]
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
        r"net: layer 2\.0: the integers differ from the module in \d+ of \d+ spikes, \d+\.\d+% "
        r"\(limit 1\.00%\), most in filter \d: at its scale of 2\^0 the threshold is 1, and \d+ of "
        r"324 weights are zero; the weight 3e\+04 of filter 4 makes it so coarse"
    )
    with pytest.raises(EvenspikeError, match=message):
        to_program(followed(module))


def test_a_bias_that_ruins_the_scale_is_named() -> None:
    module = network()
    with torch.no_grad():
        module.get_parameter("2.0.bias")[3] = -2e6
    with pytest.raises(EvenspikeError, match=r"the bias -2e\+06 of filter 3 makes it so coarse"):
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
        r"layer 2\.0: .*the neurons of 3 do not do what is known of them \(\d+ bits differ in real"
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
    message = (
        r"layer 4\.1: .* in 4 of 20 outputs, 20\.00% \(limit 1\.00%\), most in filter 2: what the "
        r"module gives is not what the weights of 4\.1 say \(by 5, most in class 2\)"
    )
    with pytest.raises(EvenspikeError, match=message):
        to_program(changed(given, 3, bias=given.layers[3].bias + np.eye(5)[2]))


def test_a_weight_that_ruins_the_other_classes_is_named() -> None:
    """They are off by little beside the class of the large weight, and by all that they are."""
    module = network()
    with torch.no_grad():
        module.get_parameter("4.1.weight")[3, 0] = 1e5
    message = (
        r"layer 4\.1: .* of 20 outputs, .* are zero; the weight 1e\+05 of filter 3 makes it so"
    )
    with pytest.raises(EvenspikeError, match=message):
        to_program(followed(module))


def seldom(change: float = 0.0) -> nn.Sequential:
    """A middle layer that fires in less than 1 % of its bits."""
    module = network()
    with torch.no_grad():
        module.get_parameter("2.0.bias").fill_(-0.33)
        module.get_parameter("2.0.weight")[4, 0, 0, 0] += change
    return module


def test_a_layer_that_seldom_fires_may_not_lose_its_spikes() -> None:
    given = followed(seldom())
    _, proof = to_program(given)
    layer = proof.layers[2]
    assert 10 < layer.spikes < 0.01 * layer.bits
    assert layer.wrong == 0
    ruined = followed(seldom(-3e4))
    message = r"in (\d+) of \1 spikes, 100\.00% .* zero; the weight -3e\+04 of filter 4 makes it so"
    with pytest.raises(EvenspikeError, match=message):
        to_program(ruined)
    layer = to_program(ruined, limit=1.0)[1].layers[2]
    assert layer.wrong == layer.spikes < 0.01 * layer.bits  # fewer than 1 % of all bits


def test_filters_that_never_fire_may_not_lose_their_weights() -> None:
    """The one filter with the large weight fires, and its spikes are right."""
    module = network()
    with torch.no_grad():
        module.get_parameter("2.0.bias").fill_(-1.0)
        module.get_parameter("2.0.weight")[4, 0, 0, 0] = 3e4
    given = followed(module)
    message = (
        r"net: layer 2\.0: rounding puts the drives of filter \d off by \d\d% of the threshold, "
        r"or of its largest \(limit 10%\): at its .* 323 of 324 weights are zero; the weight 3e\+04"
    )
    with pytest.raises(EvenspikeError, match=message):
        to_program(given)
    layer = to_program(given, limit=1.0)[1].layers[2]
    assert layer.wrong == 0
    assert layer.spikes > 20
    assert layer.coarse > 0.1


def test_a_module_of_little_precision_is_no_rounding() -> None:
    given = followed(network())
    drives = given.layers[2].drives
    assert drives is not None
    noisy = drives + 0.2 * (np.asarray(given.layers[2].spikes) == 0)
    _, proof = to_program(changed(given, 2, drives=noisy))
    assert proof.layers[2].error > 0.1
    assert proof.layers[2].coarse < 1e-3


def test_a_layer_that_only_the_integers_let_fire() -> None:
    given = followed(network())
    neuron = dataclasses.replace(given.layers[2].neuron, threshold=1e-3)
    spikes = np.zeros_like(given.layers[2].spikes)
    with pytest.raises(
        EvenspikeError, match=r"layer 2\.0: .* in (\d[\d,]*) of \1 spikes, 100\.00%"
    ):
        to_program(changed(given, 2, neuron=neuron, spikes=spikes))


def layer_proof(wrong: int, either: int, bits: int) -> LayerProof:
    return LayerProof("x", either, bits, either, wrong, False, 0, 0, 0.0, -1)


@pytest.mark.parametrize(
    ("wrong", "either", "bits", "limit", "beyond"),
    [
        (0, 0, 100, 0.0, False),
        (10, 1000, 10**6, 0.01, False),
        (11, 1000, 10**6, 0.01, True),
        (1, 10, 100, 0.01, False),  # a single one, of ten or more, in a hundred or more
        (1, 9, 100, 0.01, True),
        (1, 10, 99, 0.01, True),
        (2, 99, 10**6, 0.01, True),
        (1, 1, 10**6, 0.01, True),
        (1, 50, 10**6, 0.0, True),
        (5, 5, 100, 1.0, False),
        (1, 20, 0, 0.01, True),  # outputs
    ],
)
def test_the_rule(wrong: int, either: int, bits: int, limit: float, beyond: bool) -> None:
    assert layer_proof(wrong, either, bits).beyond(limit) is beyond


def test_neurons_of_the_output_that_do_something_else_are_named() -> None:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(
                Folded(nn.Conv2d(2, 6, 3, padding=1)),
                lif(threshold=0.25),
                Folded(nn.Flatten(), nn.Linear(6 * 64, 50)),
                lif(threshold=0.25),
            )

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.net(x).sum(0)
            return found

    given = followed(Counted().eval())
    _, proof = to_program(given)
    assert proof.layers[-1].spikes > 100
    assert proof.layers[-1].wrong == 0
    wrong = dataclasses.replace(given.layers[-1].neuron, leak=0.875)
    with pytest.raises(
        EvenspikeError, match=r"the neurons of net\.3 do not do what is known of th"
    ):
        to_program(changed(given, len(given.layers) - 1, neuron=wrong))


def test_silent_layers_are_told_and_a_silent_network_is_an_error() -> None:
    module = network()
    with torch.no_grad():
        module.get_parameter("2.0.bias").fill_(-9.0)
    _, proof = to_program(followed(module))
    assert proof.silent == ("2.0",)
    assert str(proof).splitlines()[-1] == proof.warning
    assert proof.warning.startswith("NOT PROVED: 2.0 never spikes on these examples")
    assert not network_proof().warning
    with torch.no_grad():
        module.get_parameter("0.0.bias").fill_(-9.0)
    message = r"net: no neuron of 0\.0, 2\.0 ever spikes on the examples, which proves nothing"
    with pytest.raises(EvenspikeError, match=message):
        to_program(followed(module))
    _, proof = to_program(followed(module), limit=1.0)
    assert "NOT PROVED: 0.0, 2.0 never spike on" in str(proof)
    assert to_program(followed(module), may_be_silent=True)[1].dead


def network_proof() -> Proof:
    return to_program(followed(network()))[1]


def test_the_limit_can_be_set() -> None:
    module = network()
    with torch.no_grad():
        module.get_parameter("2.0.weight")[4, 0, 0, 0] = 200.0
    given = followed(module)
    _, proof = to_program(given, limit=1.0)
    share = proof.layers[2].different
    assert 0.01 < share < 0.1
    assert f"{share:.4%}" in str(proof)
    to_program(given, limit=share)
    with pytest.raises(EvenspikeError, match=f"limit {share / 2:.2%}"):
        to_program(given, limit=share / 2)
    assert isinstance(proof, Proof)


def test_8_bits_where_the_proof_holds() -> None:
    given = followed(network())
    wide, before = to_program(given)
    program, proof = to_program(given, weight_bits=8)
    assert [one.weight_bits for one in before.layers] == [0, 16, 16, 16]
    bits = [one.weight_bits for one in proof.layers]
    assert (bits[0], bits[1], bits[-1]) == (0, 8, 16)
    for one, old, new in zip(proof.layers[1:], wide.layers[1:], program.layers[1:], strict=True):
        assert one.weight_bits == max(s.weight_bits for s in new.segments)
        assert (new.threshold == old.threshold) == (one.weight_bits == 16)
    assert 0 < proof.layers[1].different <= proof.limit
    assert proof.layers[1].error > before.layers[1].error
    assert proof.changed <= before.changed
    assert program.provenance["weights_rounded_to_zero"] == sum(one.lost for one in proof.layers)


def test_8_bits_nowhere_without_a_limit() -> None:
    given = followed(network())
    found, proof = to_program(given, limit=0, weight_bits=8)
    assert not any(one.wrong for one in proof.layers)
    assert (found, proof) == to_program(given, limit=0)


def test_other_widths_are_refused() -> None:
    with pytest.raises(EvenspikeError, match=r"^weight_bits: 12; \(8, 16\) are possible$"):
        to_program(followed(network()), weight_bits=12)
