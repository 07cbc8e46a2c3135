"""Conversion: thresholds with which a network's spikes stand for its ReLU's values.

A layer's threshold is a percentile of the currents that its neurons get, over all of them and some
images, the largest of the timesteps' own; layer by layer, as what comes in depends on the
thresholds in front.  At the end all are scaled down, so that a few timesteps see enough spikes
(AGC, section IV-A3, after DIET-SNN).  Nothing leaks while that is measured, nor behind it until it
is trained.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_train.kernels.learned_neuron import LearnedLIF
from evenspike_train.networks.base import SpikingNetwork

BATCH = 16
"""Images that are run together: their currents at 100 timesteps have to be held."""


@dataclass(frozen=True)
class Conversion:
    """How thresholds are evaluated; the numbers are the paper's, that of timesteps DIET-SNN's.

    percentile : of the currents, in percent.
    scale : factor on all thresholds, at the end.
    images : of the training set.
    timesteps : to run for. With few of them hardly a spike reaches the last layers, as a threshold
        that is not scaled yet is next to the largest current.
    """

    percentile: float = 99.7
    scale: float = 0.4
    images: int = 512
    timesteps: int = 100

    def __post_init__(self) -> None:
        if not 0.0 < self.percentile <= 100.0:
            raise ValueError(f"percentile must lie in (0, 100], not {self.percentile}")
        if self.scale <= 0.0:
            raise ValueError(f"scale must be positive, not {self.scale}")
        for name in ("images", "timesteps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


def percentile(values: Tensor, percent: float) -> float:
    """The smallest of the values that at least `percent` % of them do not exceed."""
    flat = values.flatten()
    rank = max(1, math.ceil(round(percent / 100 * flat.numel(), 6)))
    return float(flat.kthvalue(rank).values)


def check_convertible(model: SpikingNetwork) -> None:
    """Raise EvenspikeError, naming the module, for a network that thresholds cannot convert."""
    name = model.config.name
    for path, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - its only name
            raise EvenspikeError(
                f"{name}: cannot be converted: {path} is a batch norm, of which thresholds know "
                "nothing; the agc-... networks have none"
            )
        if isinstance(module, nn.MaxPool2d):
            raise EvenspikeError(
                f"{name}: cannot be converted: {path} is a max-pool, and the largest of some rates "
                "is not that of an OR of spikes; the agc-... networks have average pools"
            )
    if not any(isinstance(module, LearnedLIF) for module in model.modules()):
        raise EvenspikeError(
            f"{name}: cannot be converted: its neurons have no threshold of their own layer; those "
            "of the agc-... networks have"
        )
    if model.config.neuron.reset != "soft":
        raise EvenspikeError(
            f"{name}: cannot be converted: its neurons have a {model.config.neuron.reset} reset; "
            'what is above the threshold must stay (reset = "soft")'
        )


class _ReachedError(Exception):
    """A forward pass has come to the layer that is looked at: the rest of it is of no use."""


@torch.no_grad()
def evaluate_thresholds(model: SpikingNetwork, images: Tensor, how: Conversion) -> dict[str, float]:
    """Set the thresholds of a spiking network by these images; returns them by module.

    images : uint8 [B, C, H, W].

    The images go up to each layer once, `BATCH` at a time; a layer's level is the mean of its
    batches'.

    Raises EvenspikeError for a layer in which next to no current is above 0.
    """
    mode, steps = model.training, model.timesteps
    found: dict[str, float] = {}
    model.eval()
    layers = _layers(model, images[:1])
    model.timesteps = how.timesteps
    try:
        for name, layer in layers.items():
            level = _level(model, layer, images, how.percentile)
            if not level > 0.0:
                raise EvenspikeError(
                    f"{name}: {how.percentile} % of its currents are at most {level:.3g}; no "
                    "threshold turns them into spikes"
                )
            layer.leak.fill_(1.0)
            layer.threshold.fill_(level)
            found[name] = level * how.scale
    finally:
        model.train(mode)
        model.timesteps = steps
    for name, layer in layers.items():
        layer.threshold.fill_(found[name])
    return found


def _layers(model: SpikingNetwork, image: Tensor) -> dict[str, LearnedLIF]:
    """The layers of neurons by name, in the order in which a forward pass calls them."""
    found: dict[str, LearnedLIF] = {}
    hooks = [
        module.register_forward_pre_hook(lambda one, _, name=name: found.update({name: one}))
        for name, module in model.named_modules()
        if isinstance(module, LearnedLIF)
    ]
    try:
        model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _level(model: SpikingNetwork, layer: LearnedLIF, images: Tensor, percent: float) -> float:
    """The percentile of a layer's currents, with the thresholds in front of it as they are."""
    levels: list[float] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        current = inputs[0]
        if current.stride(0) == 0:
            current = current[:1]  # an image's, the same at every timestep
        levels.append(max(percentile(one.float(), percent) for one in current))
        raise _ReachedError

    hook = layer.register_forward_pre_hook(look)
    total = 0.0
    try:
        for part in images.split(BATCH):
            with suppress(_ReachedError):
                model(part)
            total += levels.pop() * len(part)
    finally:
        hook.remove()
    return layer.neuron.gain * total / len(images)
