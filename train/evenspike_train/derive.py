"""A recipe with another method or seed: what `evenspike train --method` and `--seed` make of it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from evenspike_train import recipe as recipes
from evenspike_train.recipe import Recipe, RecipeError
from evenspike_train.tickets import METHODS, MethodConfig
from evenspike_train.tickets.config import idle, taken

_MODIFIERS: dict[str, dict[str, Any]] = {
    "early-time": {"early_time": True},
    "u-ticket": {"balance": "weights"},
    "cycle-aware": {"balance": "cycles"},
}
"""What may follow a method's name after a "+"."""


def suffix(method: str | None, seed: int | None) -> str:
    """What the name of a run gets appended: empty, "-imp-early-time", "-seed3" or both."""
    named = "" if method is None else "-" + method.replace("+", "-")
    return named + ("" if seed is None else f"-seed{seed}")


def derive(recipe: Recipe, method: str | None, seed: int | None) -> Recipe:
    """The recipe with that method and seed, under a name that says so, as a text of its own.

    Of the recipe's method table the new method keeps what it takes; the rest is dropped. One that
    prunes once gets the sparsity at which the recipe's ladder ends, where it names none.  A search
    with Early-Time begins with the network's timesteps.

    Parameters
    ----------
    method : a key of `METHODS`, then any of "+early-time", "+u-ticket", "+cycle-aware".

    Raises RecipeError for a method that there is not, or that does not fit the recipe.
    """
    if method is None and seed is None:
        return recipe
    options = "" if method is None else f" --method {method}"
    options += "" if seed is None else f" --seed {seed}"
    try:
        table = recipe.method if method is None else _exchanged(recipe.method, method)
        dense, rounds = recipe.dense, recipe.round
        if table.early_time:  # which chooses the timesteps of the search itself
            steps = recipe.network.timesteps
            dense, rounds = (dataclasses.replace(x, timesteps=steps) for x in (dense, rounds))
        changed = dataclasses.replace(
            recipe,
            dense=dense,
            round=rounds,
            name=recipe.name + suffix(method, seed),
            seed=recipe.seed if seed is None else seed,
            method=table,
            made_from=(recipe.made_from or recipe.name) + options,
        )
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(f"{recipe.name}{options}: {error}") from error
    return recipes.parse(dump(changed))


def _exchanged(old: MethodConfig, text: str) -> MethodConfig:
    name, *modifiers = text.split("+")
    if name not in METHODS:
        raise ValueError(f"method: name must be one of {sorted(METHODS)}, not {name!r}")
    values: dict[str, Any] = {key: getattr(old, key) for key in taken(name) - {"name"}}
    for modifier in modifiers:
        if modifier not in _MODIFIERS:
            raise ValueError(f"method: +{modifier}: there are +{', +'.join(_MODIFIERS)}")
        for key, value in _MODIFIERS[modifier].items():
            if key not in taken(name):
                raise ValueError(f"method: {name} has no option {key}, so not +{modifier}")
            values[key] = value
    if METHODS[name].prunes_once and not old.sparsity and not METHODS[old.name].prunes_once:
        values["sparsity"] = round(1 - (1 - old.rate) ** old.rounds, 6)
    made = MethodConfig(name=name, **values)
    defaults = {key: _default(key) for key in idle(made)}
    return dataclasses.replace(made, **defaults)


def _default(key: str) -> Any:
    return MethodConfig.__dataclass_fields__[key].default


def dump(recipe: Recipe) -> str:
    """TOML text of a recipe, so that ``parse(dump(recipe))`` is the same but for its text."""
    values = dataclasses.asdict(recipe)
    del values["text"]
    method = values["method"]
    keys = taken(recipe.method.name) - idle(recipe.method).keys()
    values["method"] = {
        key: value
        for key, value in method.items()
        if key == "name" or (key in keys and value != _default(key))
    }
    return "\n".join(_table("", values)).lstrip() + "\n"


def _table(path: str, values: dict[str, Any]) -> list[str]:
    lines = [f"\n[{path}]"] if path else []
    tables = []
    for key, value in values.items():
        if isinstance(value, dict):
            tables += _table(f"{path}.{key}" if path else key, value)
        else:
            # JSON's strings, numbers and booleans are TOML's.
            lines.append(f"{key} = {json.dumps(value)}")
    return lines + tables
