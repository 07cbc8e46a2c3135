"""Networks to be imported whose arithmetic is exact, in real numbers and in integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evenspike_core import reference
from evenspike_core.fixed import pack_masks
from evenspike_core.program import Program, Readout
from evenspike_train.export.programs import to_program
from evenspike_train.export.quantize import quantise
from evenspike_train.kernels.neuron import LIF, LIFParameters
from evenspike_train.lowering import Network, import_network

NEURON = LIFParameters(leak=0.5, gain=1.0)


def lif(**changed: Any) -> LIF:
    return LIF(LIFParameters(**({"leak": 0.5, "gain": 1.0} | changed)))


class Folded(nn.Sequential):
    """Modules of one timestep on [T, B, ...], with time folded into the batch."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = super().forward(x.flatten(0, 1))  # type: ignore[no-untyped-call]
        return found.unflatten(0, x.shape[:2])  # type: ignore[no-untyped-call]


def exact(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights of eighths, batch norms of powers of two: in double precision nothing rounds."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(like: Tensor, low: int, high: int) -> Tensor:
        return torch.randint(low, high, like.shape, generator=generator).to(like) / 8

    module.double()
    with torch.no_grad():
        for one in module.modules():
            if isinstance(one, (nn.Conv2d, nn.Linear)):
                one.weight.copy_(drawn(one.weight, -4, 6))
                if one.bias is not None:
                    one.bias.copy_(drawn(one.bias, -2, 4))
            if isinstance(one, nn.BatchNorm2d):
                one.eps = 0.0
                assert one.running_mean is not None
                assert one.running_var is not None
                one.running_mean.copy_(drawn(one.running_mean, -2, 3))
                one.running_var.copy_(4.0 ** (8 * drawn(one.running_var, -1, 2)))
                if one.affine:
                    one.weight.copy_(2.0 ** (8 * drawn(one.weight, -1, 2)))
                    one.bias.copy_(drawn(one.bias, -2, 4))
    return module.eval()


def frames(*shape: int, rate: float = 0.3, seed: int = 1) -> Tensor:
    """Spikes of the given rate, double."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) < rate).double()


def pixels(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def imported(module: nn.Module, example: Tensor, **options: Any) -> tuple[Network, Program]:
    """The network and its Program, which do bit by bit what the module does, and do something."""
    network = import_network(module, example, **options)
    program, proof = to_program(network, limit=0.0)
    assert all(one.error < 1e-9 for one in proof.layers)
    exponents = quantise(network).exponents
    last = program.layers[-1]
    for b, inputs in enumerate(network.inputs):
        activity = reference.run(program, inputs)
        for layer, masks in zip(network.layers, activity.masks, strict=False):
            assert layer.spikes is not None
            assert np.array_equal(masks, pack_masks(layer.spikes[:, b])), layer.name
        logits = activity.logits.astype(np.float64)
        if last.readout is not Readout.COUNT:
            logits = np.ldexp(logits, -exponents[last.name])
        np.testing.assert_allclose(logits, network.outputs[b], rtol=0, atol=1e-9)
    for layer in network.layers[:-1]:
        assert layer.spikes is not None
        assert 0.01 < layer.spikes.mean() < 0.99, f"{layer.name}: proves little"
    assert network.outputs.any()
    return network, program
