"""Loss, learning rate and optimiser: what a training step needs besides the network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from evenspike_core.errors import EvenspikeError
from evenspike_train.recipes.tables import OptimizerConfig, PhaseConfig
from evenspike_train.tickets import masks as weight_masks

DROPS = {"tenths": (0.1, (0.625, 0.75, 0.875)), "halves": (0.5, (0.6, 0.8, 0.9))}
"""Schedules of steps: the factor, and the shares of a phase after which it is applied."""


def of_phase(config: OptimizerConfig, phase: PhaseConfig) -> OptimizerConfig:
    """The optimiser of a phase: the run's, but for what the phase says itself."""
    return dataclasses.replace(
        config, name=phase.optimizer or config.name, schedule=phase.schedule or config.schedule
    )


def learning_rate(config: OptimizerConfig, peak: float, progress: float) -> float:
    """Learning rate at `progress` in [0, 1) of a phase."""
    if config.schedule in DROPS:
        factor, places = DROPS[config.schedule]
        return float(peak * factor ** sum(progress >= place for place in places))
    if config.schedule == "onecycle" and progress < config.warmup:
        return peak * (0.04 + 0.96 * progress / config.warmup)
    if config.schedule == "onecycle":
        progress = (progress - config.warmup) / (1 - config.warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Optimiser in which only the prunable weights decay, not batch norm and biases."""
    decayed = list(weight_masks.originals(model).values())
    ids = {id(p) for p in decayed}
    others = [p for p in model.parameters() if id(p) not in ids]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if config.name == "adam":
        return torch.optim.AdamW(groups, lr=0.1, betas=(config.momentum, 0.99), fused=True)
    return torch.optim.SGD(
        groups, lr=0.1, momentum=config.momentum, nesterov=config.nesterov, fused=True
    )


def loss_of(kind: str, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """The loss that a recipe names (`tables.LOSSES`); logits [T, B, classes]."""
    if kind == "rate":
        return rate_loss(logits, labels)
    return loss_per_timestep(logits, labels, smoothing)


def rate_loss(spikes: Tensor, labels: Tensor) -> Tensor:
    """Squared distance of the output's firing rates and the label's one-hot, mean of the batch.

    ADMM, Eq. 3; spikes [T, B, classes].
    """
    rates = spikes.float().mean(0)
    wanted = functional.one_hot(labels, rates.shape[1]).to(rates.dtype)
    return (wanted - rates).square().sum(1).mean()


def mean_rate(spikes: list[Tensor]) -> Tensor:
    """Mean firing rate, per neuron and timestep, of the spikes of several layers.

    R of ADMM, Eq. 15: each neuron counts the same, whatever layer it is of.
    """
    return torch.stack([one.float().sum() for one in spikes]).sum() / sum(
        one.numel() for one in spikes
    )


def momentum_of(
    optimizer: torch.optim.Optimizer, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The momentum of each layer's weights: SGD's buffer, or Adam's mean by its deviation.

    Raises EvenspikeError for an optimiser that keeps none.
    """
    found = {}
    for name, weight in weights.items():
        state = optimizer.state.get(weight, {})
        buffer = state.get("momentum_buffer")
        if buffer is None and "exp_avg" in state:
            buffer = state["exp_avg"] / (state["exp_avg_sq"].sqrt() + 1e-8)
        if buffer is None:
            raise EvenspikeError(f"optimizer: keeps no momentum of {name}, by which it would grow")
        found[name] = buffer
    return found


def loss_per_timestep(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean over timesteps of the cross-entropy of each; logits [T, B, classes]."""
    steps = logits.shape[0]
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.repeat(steps), label_smoothing=smoothing
    )
