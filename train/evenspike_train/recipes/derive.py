"""A recipe with another method, seed, ladder or number of PEs: what the options of a run make."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from evenspike_train.recipes import recipe as recipes
from evenspike_train.recipes.recipe import Recipe, RecipeError
from evenspike_train.recipes.tables import TeacherConfig
from evenspike_train.tickets import MethodConfig, fit, known
from evenspike_train.tickets.options import idle, own_of, taken

_MODIFIERS: dict[str, dict[str, Any]] = {
    "early-time": {"early_time": True},
    "early-time-2": {"early_time": True, "early_timesteps": 2},
    "u-ticket": {"balance": "weights"},
    "cycle-aware": {"balance": "cycles"},
    "late-rewinding": {"rewind": "weights"},
}
"""What may follow a method's name after a "+"."""


@dataclass(frozen=True)
class Changes:
    """What takes the place of a recipe's values; None leaves them as they are.

    Parameters
    ----------
    method : the name of a method, then any of "+early-time", "+early-time-2", "+late-rewinding",
        "+u-ticket", "+cycle-aware".
    rounds : prunings of the ladder.  The sparsity to reach becomes the one at which this ladder
        ends, where the recipe names one or the method prunes once.
    sparsity : to be reached.  The ladder gets as many rounds as that needs, unless `rounds` says.
    pes : filters that are balanced together.
    bits : of quantised weights, of a method that has them.
    activity : factor of the firing rate in the loss, behind the dense phase.
    """

    method: str | None = None
    seed: int | None = None
    rounds: int | None = None
    sparsity: float | None = None
    pes: int | None = None
    bits: int | None = None
    activity: float | None = None

    @property
    def options(self) -> str:
        """As the command line has them: " --method imp --seed 3"."""
        given = dataclasses.asdict(self).items()
        return "".join(f" --{key} {value}" for key, value in given if value is not None)

    @property
    def suffix(self) -> str:
        """What the name of a run gets appended: empty, "-imp-early-time", "-seed3" or both."""
        named = "" if self.method is None else "-" + self.method.replace("+", "-")
        others = dataclasses.replace(self, method=None)
        given = dataclasses.asdict(others).items()
        return named + "".join(f"-{key}{value}" for key, value in given if value is not None)


NO_CHANGES = Changes()


def derive(recipe: Recipe, changes: Changes) -> Recipe:
    """The recipe with these changes, under a name that says so, as a text of its own.

    Of the recipe's method table the new method keeps what it takes; the rest is dropped. One that
    prunes once gets the sparsity at which the recipe's ladder ends, where it names none.  A search
    with Early-Time begins with the network's timesteps.

    Raises RecipeError for a method that there is not, that does not fit the recipe, or that has no
    use for a change.
    """
    if changes == NO_CHANGES:
        return recipe
    try:
        if changes.activity is not None and not 0 <= changes.activity < math.inf:
            raise ValueError(f"activity must be finite and not negative: {changes.activity}")
        table = recipe.method
        if changes.method is not None:
            table = _exchanged(table, changes.method)
        table = _resized(table, recipe.method, changes)
        dense, rounds, final = recipe.dense, recipe.round, recipe.final
        if changes.activity is not None:
            rounds, final = (
                dataclasses.replace(x, activity=changes.activity) for x in (rounds, final)
            )
        if table.early_time:  # which chooses the timesteps of the search itself
            steps = recipe.network.timesteps
            dense, rounds = (dataclasses.replace(x, timesteps=steps) for x in (dense, rounds))
        changed = dataclasses.replace(
            recipe,
            dense=dense,
            round=rounds,
            final=final,
            name=recipe.name + changes.suffix,
            seed=recipe.seed if changes.seed is None else changes.seed,
            method=table,
            made_from=(recipe.made_from or recipe.name) + changes.options,
        )
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(f"{recipe.name}{changes.options}: {error}") from error
    return recipes.parse(dump(changed))


def continue_from(
    recipe: Recipe,
    begun: Recipe,
    teacher: TeacherConfig,
    changes: Changes = NO_CHANGES,
    name: str = "",
    called: str = "",
) -> Recipe:
    """The recipe of a fine-tuning, with the method that the changes and the ticket ask for.

    Parameters
    ----------
    recipe : completed with the ticket (`recipe.parse`).
    begun : the recipe that made the ticket: its balance and its PEs are kept.
    teacher : its `source` is empty where there is none.
    changes : as in `derive`. A sparsity makes of "held" the method "u-ticket" where the ticket was
        balanced, else "imp".
    name : of the run; the recipe's own without one.
    called : the recipe's file, which has another name than the run if that replaces a ticket.

    Raises RecipeError for what does not go together.
    """
    try:
        table = _continued(recipe, begun, changes)
        changed = dataclasses.replace(
            recipe,
            name=name or recipe.name + changes.suffix,
            seed=recipe.seed if changes.seed is None else changes.seed,
            method=table,
            teacher=dataclasses.replace(
                recipe.teacher, source=teacher.source, digest=teacher.digest
            ),
            made_from=(called or recipe.name) + changes.options,
        )
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(f"{recipe.name}{changes.options}: {error}") from error
    return recipes.parse(dump(changed))


def _continued(recipe: Recipe, begun: Recipe, changes: Changes) -> MethodConfig:
    """The method of a fine-tuning."""
    table = dataclasses.replace(recipe.method, pes=begun.method.pes)
    method, sparsity = changes.method, recipe.start.sparsity
    if table.name == "held":
        balancing = begun.method.balancing
        if method is None and changes.sparsity is not None:
            method = {"weights": "u-ticket", "cycles": "cycle-aware"}.get(balancing, "imp")
        # A short schedule keeps the weights; that the ticket is balanced is handed on.
        table = dataclasses.replace(table, rewind="learning-rate", balance=balancing)
    if method is not None:
        held, table = table.name == "held", _exchanged(table, method)
        aimless = changes.sparsity is None and changes.rounds is None
        if held and aimless and known(table.name).from_start and "rounds" in taken(table.name):
            raise ValueError("how far? give a sparsity, or rounds")
    if changes.sparsity is not None:
        fit.check_further(changes.sparsity, sparsity)
    return _resized(table, recipe.method, changes, sparsity)


def _resized(
    table: MethodConfig, old: MethodConfig, changes: Changes, start: float = 0.0
) -> MethodConfig:
    """The method with other rounds, sparsity or PEs; the ladder is `old`'s, the recipe's.

    start : sparsity that there is before the first round.
    """
    values: dict[str, Any] = {}
    if changes.pes is not None:
        values["pes"] = changes.pes
    if changes.bits is not None:
        if "bits" not in table.own:
            raise ValueError(f"method: {table.name} does not quantise, so it takes no bits")
        values["own"] = {**table.own, "bits": changes.bits}
    takes = taken(table.name)
    _check_pruning(table.name, old.name, changes)
    if changes.rounds is not None:
        if "rounds" in takes:
            values["rounds"] = changes.rounds
        if old.sparsity or "rounds" not in takes:
            values["sparsity"] = round(1 - (1 - start) * (1 - old.rate) ** changes.rounds, 6)
    if changes.sparsity is not None:
        values["sparsity"] = changes.sparsity
        if "rounds" in takes and changes.rounds is None and start < changes.sparsity < 1:
            # A ladder that ends a little below is trimmed to it; that is no round of its own.
            exact = math.log((1 - changes.sparsity) / (1 - start)) / math.log(1 - table.rate)
            values["rounds"] = max(1, math.ceil(exact - 1e-3))
            if start:  # a ladder of its own, which ends where it is to
                left = (1 - changes.sparsity) / (1 - start)
                values["rate"] = round(1 - left ** (1 / values["rounds"]), 6)
    return dataclasses.replace(table, **values)


def _check_pruning(name: str, old: str, changes: Changes) -> None:
    """Raise ValueError for rounds or a sparsity that a method has no use for.

    old : the recipe's method, whose ladder says how far so many rounds go.
    """
    takes = taken(name)
    for key in ("rounds", "sparsity"):
        if getattr(changes, key) is not None and "sparsity" not in takes:
            raise ValueError(f"method: {name} does not prune, so it takes no {key}")
    if changes.rounds is not None and "rounds" not in takes and "rate" not in taken(old):
        raise ValueError(f"method: {name} climbs no ladder, so it takes no rounds")


def _exchanged(old: MethodConfig, text: str) -> MethodConfig:
    name, *modifiers = text.split("+")
    method = known(name)
    values: dict[str, Any] = {key: getattr(old, key) for key in taken(name) - {"name"}}
    for modifier in modifiers:
        if modifier not in _MODIFIERS:
            raise ValueError(f"method: +{modifier}: there are +{', +'.join(_MODIFIERS)}")
        for key, value in _MODIFIERS[modifier].items():
            if key not in taken(name):
                raise ValueError(f"method: {name} has no option {key}, so not +{modifier}")
            values[key] = value
    if method.prunes_once and not old.sparsity and not known(old.name).prunes_once:
        values["sparsity"] = round(1 - (1 - old.rate) ** old.rounds, 6)
    made = MethodConfig(name=name, own=own_of({"name": name, **old.own}), **values)
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
    } | dict(recipe.method.own)
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
