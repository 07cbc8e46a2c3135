"""Networks of SpikingJelly: their spikes and the integers' are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("spikingjelly")

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Coding, Readout
from evenspike_train.export.programs import to_program
from evenspike_train.lowering import import_network
from tests.helpers.lowered import exact, frames, imported, pixels

Neurons = Callable[[], Any]

NEURONS: dict[str, Neurons] = {
    "LIF": lambda: neuron.LIFNode(tau=2.0),
    "LIF without decay of the input": lambda: neuron.LIFNode(tau=4.0, decay_input=False),
    "LIF soft": lambda: neuron.LIFNode(tau=2.0, v_reset=None, v_threshold=0.5),
    "LIF to below": lambda: neuron.LIFNode(tau=2.0, v_reset=-0.25, v_threshold=0.5),
    "LIF to above": lambda: neuron.LIFNode(tau=2.0, decay_input=False, v_reset=0.25),
    "PLIF": lambda: neuron.ParametricLIFNode(init_tau=2.0),
    "PLIF soft": lambda: neuron.ParametricLIFNode(init_tau=2.0, v_reset=None),
    "IF": neuron.IFNode,
    "IF soft": lambda: neuron.IFNode(v_reset=None, v_threshold=0.75),
    "IF to below": lambda: neuron.IFNode(v_reset=-0.5),
}


def stack(make: Neurons, read_out: nn.Module | None = None) -> Any:
    """Layers of one timestep or of all, by their step_mode."""
    return nn.Sequential(
        layer.Conv2d(2, 6, 3, padding=1, bias=False),
        layer.BatchNorm2d(6),
        make(),
        layer.MaxPool2d(2),
        layer.Conv2d(6, 6, 3, padding=1),
        make(),
        layer.AvgPool2d(2),
        layer.Flatten(),
        layer.Linear(6 * 4, 5),
        read_out or make(),
    )


class Sums(nn.Module):
    """Loops over time in its forward, as SpikingJelly's first examples do."""

    def __init__(self, net: nn.Module, steps: int) -> None:
        super().__init__()
        self.net, self.steps = net, steps

    def forward(self, x: Tensor) -> Tensor:
        total = self.net(x)
        for _ in range(1, self.steps):
            total += self.net(x)
        return total / self.steps


@pytest.mark.parametrize("name", NEURONS)
def test_all_timesteps_at_once(name: str) -> None:
    net = exact(stack(NEURONS[name]))
    functional.set_step_mode(net, "m")
    _, program = imported(net, frames(5, 3, 2, 8, 8, rate=0.5))
    assert program.encoder.coding is Coding.FRAMES
    assert program.layers[-1].readout is Readout.COUNT
    assert [entry.name for entry in program.layers] == ["input", "0", "4", "8"]


@pytest.mark.parametrize("name", ["LIF", "LIF soft", "PLIF", "IF to below"])
def test_timestep_after_timestep(name: str) -> None:
    net = exact(stack(NEURONS[name]))
    at_once = exact(stack(NEURONS[name]))
    functional.set_step_mode(at_once, "m")
    given = frames(5, 3, 2, 8, 8, rate=0.5)
    _, program = imported(net, given, name="net")
    assert program == imported(at_once, given, name="net")[1]


def test_a_loop_over_an_image() -> None:
    net = exact(stack(NEURONS["LIF"]))
    model = Sums(net, 6)
    given = pixels(3, 2, 8, 8).double() / 256
    _, program = imported(model, given, scale=1 / 256, name="net")
    assert program.timesteps == 6
    assert program.encoder.coding is Coding.DIRECT
    single = import_network(net, given, scale=1 / 256, timesteps=6, name="net")
    assert [entry.threshold for entry in to_program(single)[0].layers] == [
        entry.threshold for entry in program.layers
    ]


def test_linear_read_out_is_a_sum_of_currents() -> None:
    net = exact(stack(NEURONS["LIF"], nn.Identity()))
    functional.set_step_mode(net, "m")
    _, program = imported(net, frames(4, 3, 2, 8, 8, rate=0.5))
    assert program.layers[-1].readout is Readout.PSUM


class LastMembrane(nn.Module):
    """Reads the membrane of neurons that never fire."""

    def __init__(self) -> None:
        super().__init__()
        self.net = stack(lambda: neuron.LIFNode(tau=2.0))
        self.net[-1].v_threshold = float("inf")
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        self.net(x)
        found: Tensor = self.net[-1].v
        return found


def test_membrane_at_the_end() -> None:
    model = exact(LastMembrane())
    _, program = imported(model, frames(4, 3, 2, 8, 8, rate=0.5))
    assert program.layers[-1].readout is Readout.MEMBRANE


class Containers(nn.Module):
    """What other people's models are made of: containers, votes, a reset in forward."""

    def __init__(self) -> None:
        super().__init__()
        convolution = nn.Conv2d(2, 8, 3, stride=2, padding=1)
        self.first = layer.SeqToANNContainer(convolution, nn.BatchNorm2d(8))
        self.one = neuron.LIFNode(tau=2.0, step_mode="m")
        self.second = layer.MultiStepContainer(
            nn.Conv2d(8, 8, 3, groups=8, padding=1), neuron.LIFNode(tau=2.0, v_threshold=0.25)
        )
        self.third = layer.SeqToANNContainer(nn.Flatten(), nn.Dropout(), nn.Linear(8 * 16, 20))
        self.last = neuron.IFNode(step_mode="m")
        self.vote = layer.VotingLayer(4, step_mode="m")

    def forward(self, images: Tensor) -> Tensor:
        functional.reset_net(self)
        x = images.unsqueeze(0).repeat(4, 1, 1, 1, 1)
        x = self.one(self.first(x))
        x = x + self.second(x)
        found: Tensor = self.vote(self.last(self.third(x))).mean(0)
        return found


def test_containers_votes_and_sums_of_spikes() -> None:
    model = exact(Containers())
    given = pixels(3, 2, 8, 8).double() / 256
    network, program = imported(model, given, scale=1 / 256, timesteps=4)
    assert [len(one.segments) for one in program.layers] == [1, 1, 2 * 1, 1]
    assert program.layers[-1].readout is Readout.PSUM  # a vote weighs spikes
    assert program.classes == 5
    assert network.outputs.any()


def test_a_network_of_float32_keeps_within_its_rounding() -> None:
    torch.manual_seed(0)
    net = stack(lambda: neuron.ParametricLIFNode(init_tau=1.7))
    functional.set_step_mode(net, "m")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)
    network = import_network(net.eval(), frames(8, 4, 2, 8, 8).float(), name="net")
    program, proof = to_program(network)
    assert max(one.different for one in proof.layers) < 1e-3
    assert proof.layers[1].spikes > 100
    assert program.layers[1].leak == round(4096 * (1 - float(net[2].w.sigmoid())))


def changed(**fields: Any) -> Any:
    """Neurons after code that looks at nothing has written into them."""
    made = neuron.LIFNode(2.0)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (neuron.QIFNode, r"2 \(QIFNode\): these neurons have no integer form; LIFNode"),
    (lambda: neuron.KLIFNode(tau=2.0), r"2 \(KLIFNode\): these neurons have no integer form"),
    (lambda: neuron.ILIFNode(tau=2.0), r"2 \(ILIFNode\): it is derived from LIFNode and changes"),
    (lambda: neuron.LIFNode(2.0, v_threshold=-0.1, v_reset=-0.5), ""),
    (lambda: changed(tau=0.0), r"2 \(LIFNode\): tau 0; one of at least 1 is possible"),
    (lambda: changed(tau=float("nan")), r"2 \(LIFNode\): its tau is nan"),
    (lambda: changed(v_threshold=None), r"2 \(LIFNode\): its v_threshold is None, no number"),
    (lambda: neuron.LIFNode(2.0, v_reset=1.5), r"2 \(LIFNode\): threshold -0.5; one above 0"),
]


@pytest.mark.parametrize(("make", "reason"), REFUSED)
def test_other_neurons_are_named(make: Callable[[], Any], reason: str) -> None:
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3), layer.BatchNorm2d(4), make(), layer.Flatten(), layer.Linear(144, 3)
    )
    functional.set_step_mode(net, "m")
    if not reason:
        import_network(net, frames(3, 2, 2, 8, 8).float())
        return
    with pytest.raises(EvenspikeError, match=reason):
        import_network(net, frames(3, 2, 2, 8, 8).float())


def test_neurons_of_all_timesteps_need_an_axis_of_them() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), neuron.LIFNode(2.0, step_mode="m"), nn.Flatten(2))
    with pytest.raises(EvenspikeError, match=r"1 \(LIFNode\): LIFNode takes all timesteps at once"):
        import_network(net, frames(3, 2, 8, 8).float(), timesteps=4)
