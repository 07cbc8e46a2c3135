"""Mask update: prune at the end of a phase, rewind, and start the next with a fresh optimiser."""

from __future__ import annotations

import torch

from evenspike_train.data import Stream, generator_for
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.runs.distributed import Team
from evenspike_train.runs.run_state import RunState
from evenspike_train.tickets import Probe
from evenspike_train.tickets import masks as weight_masks
from evenspike_train.tickets.base import WeightMasks
from evenspike_train.tickets.u_ticket import layer_mean_evenness


@torch.no_grad()
def update_masks(
    recipe: Recipe, state: RunState, team: Team, number: int, probe: Probe
) -> dict[str, float]:
    """Prune (and balance) after phase `number - 1`; returns figures for the log.

    Raises EvenspikeError where a layer is left without a weight.
    """
    model, method = state.model, state.method
    weights = weight_masks.originals(model)
    generator = generator_for(recipe.seed, Stream.MASK, number)
    before = weight_masks.read(model)
    last = number == method.rounds
    report = method.update(weights, before, state.carried, generator, last, probe)
    team.follow(report.masks, report.carried)
    weight_masks.check_living(report.masks, f"round {number}")
    weight_masks.write(model, report.masks)
    state.carried = report.carried
    rewind(recipe, state, before, report.masks)
    state.remake_optimizer(number)
    return {
        "round": number,
        "sparsity": weight_masks.sparsity(report.masks),
        "evenness": layer_mean_evenness(report.masks, recipe.method.pes),
        **report.figures,
    }


def rewind(recipe: Recipe, state: RunState, before: WeightMasks, after: WeightMasks) -> None:
    """Weights to start the next phase with, as the recipe says."""
    config, snapshot = recipe.method, state.snapshot
    if not state.method.rewinds:
        return
    if config.rewind == "weights":
        kept = {k: v for k, v in snapshot.items() if not k.endswith(".mask")}
        state.model.load_state_dict(kept, strict=False)
    for name, original in weight_masks.originals(state.model).items():
        recovered = after[name] & ~before[name]
        if config.recover == "zero":
            original.data[recovered] = 0.0
        elif config.recover == "snapshot":
            key = f"{name}.parametrizations.weight.original"
            original.data[recovered] = snapshot[key][recovered]
        # Pruned weights are left to the weight decay: they may be recovered as "kept".
