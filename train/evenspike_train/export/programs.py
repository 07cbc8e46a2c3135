"""A network as a `Program`: in training or finished; and what the mapper is told about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from evenspike_core.data import DATA_SETS
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import TIMESTEPS_MAX, Program
from evenspike_core.progress import Progress, silent
from evenspike_train import networks
from evenspike_train.export.integer import quantised_forward
from evenspike_train.export.quantize import quantise
from evenspike_train.recipes.recipe import Recipe

ACTIVITY_IMAGES = 256
"""Training images over which the firing rates for the mapper are measured."""


def impossible(recipe: Recipe) -> str:
    """Why no Program can be made of what the recipe trains; empty where one can."""
    data, steps = DATA_SETS[recipe.data.name], recipe.network.timesteps
    if data.frames:
        return (
            f"{data.name} has frames of events, another input at each timestep; a Program holds "
            "networks of still images, whose first layer the host computes once"
        )
    if steps > TIMESTEPS_MAX:
        return f"the network has {steps} timesteps; a Program holds {TIMESTEPS_MAX} at most"
    return ""


def check_possible(recipe: Recipe) -> None:
    """Raise EvenspikeError where no Program can be made of what the recipe trains."""
    reason = impossible(recipe)
    if reason:
        raise EvenspikeError(f"{recipe.name}: cannot be exported: {reason}")


def make_program(
    recipe: Recipe, model: networks.SpikingNetwork, provenance: Mapping[str, Any]
) -> Program:
    """The integer network; a balanced mask stays balanced to the last weight.

    Raises EvenspikeError where there can be none.
    """
    check_possible(recipe)
    quantised = quantise(model, keep_living=recipe.method.balancing != "none")
    return Program(
        name=recipe.name,
        timesteps=recipe.network.timesteps,
        shape=(recipe.network.in_channels, networks.IMAGE_SIZE, networks.IMAGE_SIZE),
        layers=quantised.layers,
        provenance={**provenance, "weights_rounded_to_zero": sum(quantised.lost.values())},
    )


@torch.no_grad()
def activity(
    program: Program, images: Tensor, progress: Progress = silent, batch: int = 32
) -> dict[str, list[float]]:
    """Share of active neurons (at least one spike) of each channel, by layer: for the mapper.

    images: uint8 [B, C, 32, 32], of the training set; the mapper must not know the test set.
    """
    sums: dict[str, Tensor] = {}
    for number, part in enumerate(images.split(batch)):
        progress("activity of the integer network", number * batch, len(images))
        spikes = quantised_forward(program, part).spikes
        for layer, fired in zip(program.layers, spikes, strict=False):
            share = fired.amax(0).mean((2, 3)).sum(0).to(torch.float64)
            sums[layer.name] = sums.get(layer.name, torch.zeros_like(share)) + share
    return {
        name: [round(float(value), 4) for value in total / len(images)]
        for name, total in sums.items()
    }
