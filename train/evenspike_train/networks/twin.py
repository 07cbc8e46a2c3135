"""The network's twin with ReLU in place of its spiking neurons.

The two have the same parameters, batch-norm statistics and masks by the same names.  Neurons that
hold none are exchanged; those that learn their leak and threshold keep them, and rectify.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from evenspike_train.kernels.learned_neuron import LearnedLIF
from evenspike_train.kernels.neuron import LIF, LIFParameters
from evenspike_train.networks.own import OwnNetwork


def to_relu(model: nn.Module) -> None:
    """Exchange every spiking neuron for a ReLU; a model that is a twin stays one."""
    _exchange(model, LIF, nn.ReLU)
    _rectify(model, True)


def to_spiking(model: nn.Module, neuron: LIFParameters) -> None:
    """Exchange every ReLU for a spiking neuron; a spiking model stays one."""
    _exchange(model, nn.ReLU, lambda: LIF(neuron))
    _rectify(model, False)


def is_twin(model: nn.Module) -> bool:
    """Whether it is one; a module of the user's, which may hold a ReLU of its own, never is."""
    return not isinstance(model, OwnNetwork) and any(
        isinstance(module, nn.ReLU) or (isinstance(module, LearnedLIF) and module.rectifies)
        for module in model.modules()
    )


def _rectify(model: nn.Module, rectifies: bool) -> None:
    for module in model.modules():
        if isinstance(module, LearnedLIF):
            module.rectifies = rectifies


def _exchange(model: nn.Module, old: type[nn.Module], new: Callable[[], nn.Module]) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, old):
                setattr(parent, name, new())
