"""The phases of a run: dense, a round for each pruning, final."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from evenspike_train.recipes.recipe import Recipe
from evenspike_train.recipes.tables import PhaseConfig
from evenspike_train.tickets import Method


@dataclass(frozen=True)
class Phase:
    """A named stretch of the run; `index` is 0 for dense, k for round k, last for final.

    In a fine-tuning the first is named "start": it is not dense.
    """

    name: str
    index: int
    config: PhaseConfig

    @property
    def final(self) -> bool:
        return self.name == "final"


def phases(recipe: Recipe, method: Method) -> list[Phase]:
    """In order; the masks are updated after each but the last.

    A method that prunes at initialisation passes no image before it does.
    """
    dense = recipe.dense
    if method.at_initialisation:
        dense = dataclasses.replace(dense, images=0)
    rounds = [Phase(f"round {k}", k, recipe.round) for k in range(1, method.rounds)]
    last = max(method.rounds, 1)
    first = "start" if recipe.start.digest else "dense"
    return [Phase(first, 0, dense), *rounds, Phase("final", last, recipe.final)]


def tried(recipe: Recipe) -> list[int]:
    """Numbers of timesteps with which a run may call its network."""
    phases = (recipe.dense, recipe.round, recipe.final)
    shortest = [recipe.method.early_timesteps or 2] if recipe.method.early_time else []
    return sorted({*(phase.timesteps for phase in phases), recipe.network.timesteps, *shortest})


def timesteps(phase: Phase, recipe: Recipe, method: Method, early: int | None) -> int:
    """Return the timesteps that a phase is trained with.

    `early` are those that Early-Time chose, if it has yet.
    """
    if phase.final:
        return phase.config.timesteps
    if method.on_twin:
        return 1  # without a memory nothing changes from one timestep to the next
    if recipe.method.early_time:
        return early or recipe.network.timesteps
    return phase.config.timesteps
