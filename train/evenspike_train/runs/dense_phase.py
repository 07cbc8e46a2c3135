"""The dense phase of another run, taken over instead of trained again.

Runs of one recipe that differ only in what they do after the dense phase begin with the very same
network, down to the last bit: what is random in it depends on the seed alone.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from evenspike_core.errors import EvenspikeError
from evenspike_train import tickets
from evenspike_train.recipes import recipe as recipes
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.runs import checkpoint, run_state

FILE = "dense.pt"

_FIELDS: checkpoint.Fields = {
    "model": dict,
    "recipe": str,
    "images_seen": int,
    "seconds": (int, float),
}


def depends_on(recipe: Recipe) -> Hashable | None:
    """All that a recipe's dense phase depends on; None where a search goes on in it.

    Two runs with equal ones have equal dense phases.
    """
    method = tickets.build(recipe.method)
    searching = method.at_initialisation or method.watches_epochs or method.on_twin
    if searching or recipe.method.early_time or method.acts_in_steps:
        return None
    return (
        recipe.seed,
        recipe.data,
        recipe.augmentation,
        recipe.network,
        recipe.optimizer,
        recipe.dense,
        recipe.compute,
        recipe.method.snapshot,
    )


@dataclass(frozen=True)
class DensePhase:
    """The network at the end of a dense phase, and the snapshot taken on the way."""

    model: dict[str, Tensor]
    snapshot: dict[str, Tensor]
    images_seen: int
    seconds: float


def made_by(directory: Path) -> Recipe:
    """The recipe of the dense phase that the run in a directory has finished.

    Raises EvenspikeError, naming the file, for one that is damaged.
    """
    content = checkpoint.read(directory / FILE, _FIELDS, torch.device("cpu"))
    return recipes.parse(content["recipe"])


def read(
    directory: Path, recipe: Recipe, model: dict[str, Tensor], device: torch.device
) -> DensePhase:
    """The dense phase of the run in a directory, for a run of this recipe.

    `model`: a state dict of the run's network.

    Raises EvenspikeError, naming the file, for one that is damaged or of another dense phase.
    """
    path = directory / FILE
    content = checkpoint.read(path, _FIELDS, device)
    wanted = depends_on(recipe)
    if wanted is None or wanted != depends_on(recipes.parse(content["recipe"])):
        raise EvenspikeError(f"{path}: is no dense phase of the recipe {recipe.name}")
    snapshot = directory / run_state.SNAPSHOT
    found = DensePhase(
        content["model"],
        checkpoint.read(snapshot, {}, device),
        content["images_seen"],
        float(content["seconds"]),
    )
    checkpoint.check_tensors(f"{path}: model", found.model, model)
    checkpoint.check_tensors(str(snapshot), found.snapshot, model)
    return found
