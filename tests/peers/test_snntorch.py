"""Networks of snnTorch: their spikes and the integers' are the same."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("snntorch")

import snntorch as snn
import torch
from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Coding, Readout
from evenspike_train.export.programs import to_program
from evenspike_train.lowering import import_network
from tests.helpers.lowered import exact, frames, imported, pixels

RESETS: dict[str, dict[str, Any]] = {
    "subtract": {},
    "subtract at once": {"reset_delay": False},
    "zero": {"reset_mechanism": "zero"},
    "zero at once": {"reset_mechanism": "zero", "reset_delay": False},
    "none": {"reset_mechanism": "none"},
}


class Loop(nn.Module):
    """snnTorch's own idiom: a loop over time with membranes that are handed on."""

    def __init__(self, steps: int = 5, frames: bool = False, **options: Any) -> None:
        super().__init__()
        self.steps, self.frames = steps, frames
        self.conv1 = nn.Conv2d(2, 6, 3, padding=1)
        self.lif1 = snn.Leaky(beta=0.5, **options)
        self.conv2 = nn.Conv2d(6, 6, 3)
        self.lif2 = snn.Leaky(beta=0.75, threshold=1.5, **options)
        self.fc = nn.Linear(24, 4)
        self.lif3 = snn.Leaky(beta=0.5, threshold=0.5, **options)

    def forward(self, x: Tensor) -> Any:
        mem1, mem2, mem3 = (one.reset_mem() for one in (self.lif1, self.lif2, self.lif3))
        spikes, membranes = [], []
        for step in range(self.steps):
            current = self.conv1(x[step] if self.frames else x)
            spk1, mem1 = self.lif1(current, mem1)
            spk2, mem2 = self.lif2(self.conv2(torch.max_pool2d(spk1, 2)), mem2)
            spk3, mem3 = self.lif3(self.fc(spk2.flatten(1)), mem3)
            spikes.append(spk3)
            membranes.append(mem3)
        return torch.stack(spikes, dim=0), torch.stack(membranes, dim=0)


def fine(model: nn.Module) -> Any:
    """Exact weights in float32, snnTorch's own."""
    return exact(model).float()


def images() -> tuple[Tensor, dict[str, float]]:
    """Images whose pixels are 256ths."""
    return pixels(3, 2, 8, 8).float() / 256, {"scale": 1 / 256}


@pytest.mark.parametrize("name", RESETS)
def test_a_loop_over_frames(name: str) -> None:
    model = fine(Loop(frames=True, **RESETS[name]))
    if name == "subtract at once":  # only below twice the threshold is it a subtraction at once
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.div_(4)
            for one, threshold in ((model.lif1, 0.75), (model.lif2, 1.5), (model.lif3, 0.125)):
                one.threshold.fill_(threshold)
    _, program = imported(model, frames(5, 3, 2, 8, 8, rate=0.5))
    assert [entry.name for entry in program.layers] == ["input", "conv1", "conv2", "fc"]
    assert program.layers[-1].readout is Readout.COUNT
    assert program.encoder.coding is Coding.FRAMES
    # A membrane at the threshold stays silent.
    assert all(entry.threshold & 1 for entry in program.layers[1:])


@pytest.mark.parametrize("name", ["subtract", "none", "zero at once"])
def test_membranes(name: str) -> None:
    model = fine(Loop(frames=True, **RESETS[name]))
    given = frames(5, 3, 2, 8, 8, rate=0.5)
    _, program = imported(model, given, readout="membrane")
    assert program.layers[-1].readout is Readout.MEMBRANE


@pytest.mark.parametrize("name", ["zero", "subtract at once"])
def test_membranes_that_mean_something_else_are_refused(name: str) -> None:
    model = fine(Loop(frames=True, **RESETS[name]))
    with pytest.raises(EvenspikeError, match="lif3: what it gives as its membrane is not what the"):
        import_network(model, frames(5, 3, 2, 8, 8), readout="membrane")


def test_a_loop_over_an_image() -> None:
    example, options = images()
    _, program = imported(fine(Loop(steps=10)), example, **options)
    assert program.timesteps == 10
    assert program.encoder.coding is Coding.DIRECT


def hidden(*, pool_first: bool = False) -> nn.Sequential:
    """One timestep, with membranes inside of the neurons."""
    pool: list[nn.Module] = [nn.MaxPool2d(2)]
    first = snn.Leaky(beta=0.5, init_hidden=True)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        *(pool if pool_first else []),
        first,
        *([] if pool_first else pool),
        nn.Conv2d(6, 6, 3),
        snn.Leaky(beta=0.75, init_hidden=True),
        nn.Flatten(),
        nn.Linear(24, 4),
        snn.Leaky(beta=0.5, threshold=0.5, init_hidden=True, output=True),
    )


def test_one_timestep_is_run_several_times() -> None:
    model = fine(hidden())
    example, options = images()
    _, program = imported(model, example, timesteps=6, **options)
    assert program.timesteps == 6
    again, _ = imported(model, example, timesteps=6, **options)  # no state is left over
    assert to_program(again)[0] == program


def test_the_encoder_may_pool_before_its_neurons() -> None:
    example, options = images()
    _, program = imported(fine(hidden(pool_first=True)), example, timesteps=6, **options)
    assert program.encoder.pool_first


@pytest.mark.parametrize("encoder", ["rate", "latency"])
def test_spikes_of_an_image(encoder: str) -> None:
    model = fine(hidden())
    options = {"encoder": encoder, "seed": 3 if encoder == "rate" else 0}
    network, program = imported(model, pixels(3, 2, 8, 8), timesteps=6, **options)
    assert program.encoder.coding is Coding(encoder)
    assert network.inputs.shape == (3, 2, 8, 8)


class Recurrent(Loop):
    """Spikes come back into the layer that sent them."""

    def forward(self, x: Tensor) -> Any:
        mem = self.lif1.reset_mem()
        spk = torch.zeros(x.shape[1], 6, 8, 8, dtype=x.dtype)
        for step in range(self.steps):
            spk, mem = self.lif1(self.conv1(x[step]) + spk, mem)
        return spk


class PerStep(Loop):
    """Another input at the last timestep."""

    def forward(self, x: Tensor) -> Any:
        mem = self.lif1.reset_mem()
        found = []
        for step in range(self.steps):
            spk, mem = self.lif1(self.conv1(x[0 if step == 4 else step]), mem)
            found.append(spk.mean((2, 3)))
        return torch.stack(found)


class Unread(Loop):
    """Gives the spikes of the last timestep alone."""

    def forward(self, x: Tensor) -> Any:
        spikes, _ = super().forward(x)
        return spikes[-1]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: Loop(frames=True, inhibition=True), r"lif1 \(Leaky\): inhibition=True silences"),
        (
            lambda: Loop(frames=True, graded_spikes_factor=0.5),
            "graded_spikes_factor is 0.5; a spike",
        ),
        (
            lambda: Loop(frames=True, state_quant=lambda m: m.round()),
            r"lif1 \(Leaky\): state_quant",
        ),
        (Recurrent, r"Recurrent: a sum of different timesteps: recurrence, or a delay"),
        (PerStep, r"lif1 \(Leaky\): Leaky gets timestep 0 in its call number 4"),
        (
            lambda: Unread(frames=True),
            "the output is that of timestep 4 of 0 to 4; the sum or mean",
        ),
    ],
)
def test_refusals(model: Any, reason: str) -> None:
    with pytest.raises(EvenspikeError, match=reason):
        import_network(fine(model()), frames(5, 3, 2, 8, 8))


@pytest.mark.parametrize(
    ("beta", "reason"),
    [
        ([0.5, 0.75, 0.5, 0.5, 0.5, 0.5], r"differs between neurons \(6 values\)"),
        ([0.5, float("nan"), 0.5, 0.5, 0.5, 0.5], r"holds 1 values that are no numbers"),
        ([float("nan")], "is nan"),
    ],
)
def test_parameters_of_each_channel_are_refused(beta: list[float], reason: str) -> None:
    model = fine(Loop(frames=True))
    model.lif2.beta = torch.tensor(beta).view(-1, 1, 1)
    with pytest.raises(EvenspikeError, match=rf"lif2 \(Leaky\): its beta {reason}"):
        import_network(model, frames(5, 3, 2, 8, 8))


@pytest.mark.parametrize(
    ("neurons", "reason"),
    [
        (
            lambda: snn.Synaptic(alpha=0.5, beta=0.5, init_hidden=True),
            "its current decays by itself",
        ),
        (
            lambda: snn.Lapicque(beta=0.5, init_hidden=True),
            "no integer form; snntorch.Leaky has one",
        ),
        (
            lambda: snn.RLeaky(beta=0.5, all_to_all=False, init_hidden=True),
            "its spikes come back to its own layer: recurrence",
        ),
    ],
)
def test_other_neurons_are_named(neurons: Any, reason: str) -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), neurons(), nn.Flatten(), nn.Linear(144, 3))
    with pytest.raises(EvenspikeError, match=reason):
        import_network(net, pixels(3, 2, 8, 8).float() / 255, timesteps=4)


def test_a_max_pool_in_front_of_neurons_is_refused() -> None:
    model = fine(hidden(pool_first=True))
    message = r"1 \(MaxPool2d\): a max-pool in front of the neurons, which is not the same as one"
    with pytest.raises(EvenspikeError, match=message):
        import_network(model, frames(5, 3, 2, 8, 8))
    with pytest.raises(EvenspikeError, match=r"say how many there are \(timesteps=\)"):
        import_network(fine(hidden()), images()[0])
