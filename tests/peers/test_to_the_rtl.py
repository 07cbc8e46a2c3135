"""Networks as their frameworks' users build them, from the module to the RTL.

Reference, cycle model, stepped model and RTL must agree in every spike, logit, counter and cycle.
The networks are small, since the stepped model takes them cycle by cycle in Python, and keep what
makes them what they are: layers, neurons, resets, pools and timesteps.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import evenspike as es
from evenspike_core import reference
from evenspike_core.program import Readout
from evenspike_hw.engine.simulator import Simulator
from evenspike_sim.accelerator import Accelerator
from tests.helpers import differences, stepped

snn = pytest.importorskip("snntorch")
jelly = pytest.importorskip("spikingjelly.activation_based")

from spikingjelly.activation_based import functional, layer, neuron  # noqa: E402

MACHINE = es.preset("packed,pes=8,accumulators=64,spike_entries=16384,memory_latency=4")


def filled(module: nn.Module, gain: float) -> nn.Module:
    """The module with weights by which its neurons fire."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for one in module.modules():
            if isinstance(one, (nn.Conv2d, nn.Linear)):
                weight = one.weight
                fan = weight[0].numel()
                drawn = torch.randn(weight.shape, generator=generator) * gain / fan**0.5
                weight.copy_(drawn + gain / (4 * fan))
                if one.bias is not None:
                    one.bias.copy_(0.1 * torch.rand(one.bias.shape, generator=generator))
    return module.eval()


def agree(module: nn.Module, example: Tensor, **options: object) -> es.Imported:
    """Import it, and hold all four statements together on its first example."""
    found = es.import_network(module, example, **options)  # type: ignore[arg-type]
    packed = es.pack(found.program, MACHINE)
    pixels = found.images.pixels[0]
    wanted = reference.run(found.program, pixels)
    assert all(masks.any() for masks in wanted.masks), "a layer is silent, which proves nothing"
    spikes = reference.encode(found.program, pixels)
    runs = Accelerator(packed).run(spikes)
    with Simulator(packed) as simulator:
        traces = simulator.run(spikes)
    assert differences.difference(packed, runs, traces, stalls=False) is None
    stepped_traces = stepped.run(packed, spikes)
    for run, trace, stepped_trace in zip(runs, traces, stepped_traces, strict=True):
        assert run.cycles == trace.cycles == stepped_trace.cycles
        for state in stepped.STATES:
            assert list(getattr(run, state)) == getattr(stepped_trace, state)
    for masks, trace, stepped_trace in zip(wanted.masks, traces, stepped_traces, strict=False):
        assert np.array_equal(masks, trace.masks)
        assert np.array_equal(masks, stepped_trace.masks)
    assert traces[-1].logits is not None
    assert stepped_traces[-1].logits is not None
    assert np.array_equal(wanted.logits, traces[-1].logits)
    assert np.array_equal(wanted.logits, stepped_traces[-1].logits)
    return found


def images(channels: int, side: int) -> Tensor:
    return torch.rand((4, channels, side, side), generator=torch.Generator().manual_seed(3))


class LeNet5(nn.Module):
    """5x5 convolutions, pools behind the neurons, `Flatten`, three linear layers; MNIST's 28x28."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            layer.Conv2d(1, 6, 5), neuron.IFNode(), layer.MaxPool2d(2),
            layer.Conv2d(6, 16, 5), neuron.IFNode(), layer.MaxPool2d(2),
        )  # fmt: skip
        self.head = nn.Sequential(
            layer.Flatten(), layer.Linear(16 * 4 * 4, 24), neuron.IFNode(),
            layer.Linear(24, 12), neuron.IFNode(), layer.Linear(12, 10),
        )  # fmt: skip
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x.unsqueeze(0).repeat(4, 1, 1, 1, 1))).sum(0)


def test_lenet5_with_flatten() -> None:
    found = agree(filled(LeNet5(), 2.0), images(1, 28))
    assert found.program.timesteps == 4
    assert found.program.layers[2].segments[0].kernel == 5  # a 4x4 map, in an odd square


class Delayed(nn.Module):
    """snnTorch's own idiom: a loop over time, membranes handed on, a reset a timestep late."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.lif1 = nn.Conv2d(1, 6, 3, padding=1), snn.Leaky(beta=0.9)
        self.conv2, self.lif2 = nn.Conv2d(6, 8, 3), snn.Leaky(beta=0.9)
        self.fc, self.lif3 = nn.Linear(8 * 2 * 2, 10), snn.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> Tensor:
        m1, m2, m3 = (one.init_leaky() for one in (self.lif1, self.lif2, self.lif3))
        counts = []
        for _ in range(8):
            s1, m1 = self.lif1(self.conv1(x), m1)
            s2, m2 = self.lif2(self.conv2(nn.functional.max_pool2d(s1, 2)), m2)
            s3, m3 = self.lif3(self.fc(nn.functional.max_pool2d(s2, 2).flatten(1)), m3)
            counts.append(s3)
        return torch.stack(counts).sum(0)


def test_a_snntorch_network_with_beta_and_delayed_reset() -> None:
    found = agree(filled(Delayed(), 2.0), images(1, 12))
    body = found.program.layers[1]
    assert body.leak == round(0.9 * 4096)
    assert abs(body.reset - body.threshold) <= 1  # strict: it fires one above what it subtracts
    assert found.program.layers[-1].readout is Readout.COUNT


class Vgg9(nn.Module):
    """Average pools and neurons that are reset softly, at once."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 4, 4, "A", 6, 6, "A", 8, 8, "A")
        parts: list[nn.Module] = []
        for before, unit in pairwise(widths):
            if unit == "A":
                parts.append(layer.AvgPool2d(2))
                continue
            channels = before if isinstance(before, int) else self._last(parts)
            parts += [
                layer.Conv2d(channels, unit, 3, padding=1, bias=False),
                layer.BatchNorm2d(unit),
                neuron.LIFNode(tau=2.0, v_reset=None, decay_input=False),
            ]
        self.features = nn.Sequential(*parts)
        soft = {"tau": 2.0, "v_reset": None, "decay_input": False}
        self.head = nn.Sequential(
            layer.Flatten(), layer.Linear(8 * 2 * 2, 16), neuron.LIFNode(**soft),
            layer.Linear(16, 16), neuron.LIFNode(**soft), layer.Linear(16, 10),
        )  # fmt: skip
        functional.set_step_mode(self, "m")

    @staticmethod
    def _last(parts: list[nn.Module]) -> int:
        return next(p.out_channels for p in reversed(parts) if isinstance(p, nn.Conv2d))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x.unsqueeze(0).repeat(4, 1, 1, 1, 1))).mean(0)


def test_a_spikingjelly_vgg9_with_average_pools_and_soft_reset() -> None:
    found = agree(filled(Vgg9(), 3.0), images(1, 16))
    assert {s.average for one in found.program.layers[1:] for s in one.segments} == {1, 2}
    assert not found.program.layers[1].hard
    assert found.program.layers[1].reset * 2 == found.program.layers[1].threshold


class Depthwise(nn.Module):
    """Residual blocks of a depthwise and a pointwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(layer.Conv2d(2, 8, 3, padding=1), neuron.LIFNode(tau=4 / 3))
        self.deep1 = layer.Conv2d(8, 8, 3, padding=1, groups=8)
        self.lif1 = neuron.LIFNode(tau=4 / 3)
        self.wide1, self.lif2 = layer.Conv2d(8, 8, 1), neuron.LIFNode(tau=4 / 3)
        self.deep2 = layer.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.lif3 = neuron.LIFNode(tau=4 / 3)
        self.wide2, self.short2 = layer.Conv2d(8, 12, 1), layer.Conv2d(8, 12, 1, stride=2)
        self.lif4 = neuron.LIFNode(tau=4 / 3)
        self.pool, self.fc = layer.AdaptiveAvgPool2d(1), layer.Linear(12, 10)
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.unsqueeze(0).repeat(4, 1, 1, 1, 1))
        x = self.lif2(self.wide1(self.lif1(self.deep1(x))) + x)
        x = self.lif4(self.wide2(self.lif3(self.deep2(x))) + self.short2(x))
        return self.fc(self.pool(x).flatten(2)).sum(0)


def test_a_resnet_with_depthwise_blocks() -> None:
    found = agree(filled(Depthwise(), 3.0), images(2, 8))
    assert [len(one.segments) for one in found.program.layers] == [1, 1, 2, 1, 2, 1]
    assert found.program.layers[1].weights == 8 * 9  # the zeros of other groups are no weights


class Events(nn.Module):
    """Frames of spikes in, at twenty timesteps; parametric leaks, hard resets."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            layer.Conv2d(2, 6, 3, padding=1), neuron.ParametricLIFNode(init_tau=1.6),
            layer.MaxPool2d(2),
            layer.Conv2d(6, 8, 3, padding=2, dilation=2), neuron.ParametricLIFNode(init_tau=2.5),
            layer.MaxPool2d(2), layer.Flatten(),
            layer.Linear(8 * 2 * 2, 10), neuron.ParametricLIFNode(init_tau=2.0),
        )  # fmt: skip
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x).sum(0)


def test_an_event_network_of_twenty_timesteps() -> None:
    generator = torch.Generator().manual_seed(4)
    frames = (torch.rand((20, 2, 2, 9, 9), generator=generator) < 0.15).float()
    found = agree(filled(Events(), 4.0), frames)
    assert found.program.timesteps == 20
    assert found.program.encoder.coding == "frames"
    assert es.pack(found.program, MACHINE).groups == 5
