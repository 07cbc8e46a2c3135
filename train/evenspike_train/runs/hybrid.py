"""Figures of a spiking network with learned neurons: what they are, and what it costs."""

from __future__ import annotations

from typing import Any

import torch

from evenspike_core.fixed import LEAK_ONE
from evenspike_core.progress import Progress, silent
from evenspike_train import networks
from evenspike_train.data import Split
from evenspike_train.kernels.learned_neuron import LearnedLIF
from evenspike_train.networks import twin
from evenspike_train.runs import energy
from evenspike_train.runs.evaluation import evaluate

IMAGES = 256
"""Held-out images over which spikes and operations are counted."""


@torch.no_grad()
def figures(
    model: networks.SpikingNetwork, split: Split, progress: Progress = silent
) -> dict[str, Any]:
    """Empty for a network without learned neurons, and for one with ReLU.

    Keys: `leaks` (in 4096ths, as the integers have them) and `thresholds` of each layer in the
    order of the forward pass; `rounded_accuracy`, percent of the split with leaks rounded so;
    `activity`, spikes of a neuron over all timesteps, by layer; `operations`, as
    `energy.operations` has them.
    """
    layers = [module for module in model.modules() if isinstance(module, LearnedLIF)]
    if not layers or twin.is_twin(model):
        return {}
    values = [one.values() for one in layers]
    leaks = [round(one.leak * LEAK_ONE) for one in values]
    for layer, leak in zip(layers, leaks, strict=True):
        layer.leak.fill_(leak / LEAK_ONE)
    rounded = evaluate(model, split, progress=progress, what="validation, leaks rounded")
    for layer, value in zip(layers, values, strict=True):
        layer.leak.fill_(value.leak)
    images = split.images[:IMAGES]
    return {
        "leaks": leaks,
        "thresholds": [round(one.threshold, 6) for one in values],
        "rounded_accuracy": rounded["accuracy"],
        "activity": [round(one, 5) for one in energy.spike_activity(model, images)],
        "operations": {
            name: round(count, 1) for name, count in energy.operations(model, images).items()
        },
    }
