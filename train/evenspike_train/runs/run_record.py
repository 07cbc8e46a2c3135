"""A run's folder as plain JSON: the figures of its log and the filters of its ticket."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from evenspike_core.data import DATA_SETS
from evenspike_core.errors import EvenspikeError
from evenspike_train.export.programs import follow, noise
from evenspike_train.recipes import recipe as recipes
from evenspike_train.runs import export
from evenspike_train.tickets import known
from evenspike_train.tickets import masks as weight_masks
from evenspike_train.tickets.balance import balanced_layers

FINISHED, FAILED, MISSING = "finished", "failed", "missing"

EVENTS = (
    "trained",
    "pruned",
    "validation",
    "epoch",
    "updated",
    "early-time",
    "converted",
    "finished",
)
"""Lines of the log that are figures."""


def read(directory: Path) -> dict[str, Any]:
    """The run as a JSON object.

    Keys: `state` ("finished" or "missing"), `error` (empty), `recipe` (None before it has begun;
    else its name, digest and what a comparison must know), a list for each of `EVENTS`, and
    `layers` of the finished ticket.

    Raises EvenspikeError for a log or a ticket that is damaged.
    """
    found: dict[str, Any] = {"state": MISSING, "error": "", "recipe": None}
    kept = directory / "recipe.toml"
    if kept.is_file():
        found["recipe"] = _facts(recipes.load(kept))
    history = export.read_history(directory / "log.jsonl", EVENTS)
    found |= {event: [line for line in history if line["event"] == event] for event in EVENTS}
    found["layers"] = []
    if found["finished"]:
        found["state"] = FINISHED
        found["layers"] = layers(directory)
    return found


def _facts(recipe: recipes.Recipe) -> dict[str, Any]:
    """Return what a page says about the recipe."""
    return {
        "name": recipe.name,
        "digest": digest(recipe),
        "made_from": recipe.made_from,
        "seed": recipe.seed,
        "data": recipe.data.name,
        "train": recipe.data.train,
        "validation": recipe.data.validation,
        "network": recipe.network.name,
        "width": recipe.network.width,
        "timesteps": recipe.network.timesteps,
        "method": recipe.method.name,
        "place": known(recipe.method.name).place,
        "searches": known(recipe.method.name).searches,
        "balance": recipe.method.balancing,
        "early_time": recipe.method.early_time,
        "rewind": recipe.method.rewind,
        "rounds": recipe.method.rounds,
        "sparsity": recipe.method.sparsity,
        "bits": int(recipe.method.own.get("bits", 0)),
        "activity": recipe.final.activity,
        "pes": recipe.method.pes,
        "images": {phase: getattr(recipe, phase).images for phase in ("dense", "round", "final")},
    }


def digest(recipe: recipes.Recipe) -> str:
    """The first 16 hex digits of a SHA-256 over a recipe's text."""
    return hashlib.sha256(recipe.text.encode()).hexdigest()[:16]


def layers(directory: Path) -> list[dict[str, Any]]:
    """The convolutions of a finished ticket that the paper's convention counts, in order.

    Each with its `name`, `weights` (of the dense layer), output `positions` before pooling, and
    the living weights of each of its `filters`. None of a twin with ReLU.
    """
    ticket = export.load_ticket(directory)
    if ticket.recipe.network.activation == "relu":
        return []  # it is not for the machine
    masks = weight_masks.read(ticket.model)
    counted = set(balanced_layers(masks))
    side = DATA_SETS[ticket.recipe.data.name].side
    found = []
    for layer in follow(ticket.model, noise(ticket.model, side)).layers:
        for module in layer.modules:
            if module not in counted:
                continue
            mask = masks[module]
            found.append(
                {
                    "name": layer.name if len(layer.segments) == 1 else module,
                    "weights": mask.numel(),
                    "positions": layer.size[0] * layer.size[1],
                    "filters": mask.flatten(1).sum(1).tolist(),
                }
            )
    if not found:
        raise EvenspikeError(f"{directory}: its network has no convolution that is counted")
    return found
