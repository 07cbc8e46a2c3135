"""The runs behind the figures: read from sweeps, grouped, averaged over seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenspike_core.errors import EvenspikeError

SWEEP_FILE = "sweep.json"
RUNS_FILE = "runs.json"
"""The runs behind the pages of a folder, beside them: the runs' own folders may be elsewhere."""

_RECIPE = ("name", "digest", "made_from", "data", "train", "network", "width", "timesteps", "pes")
_LISTS = ("trained", "pruned", "validation", "finished", "layers")


@dataclass(frozen=True)
class Row:
    """A finished run, as `evenspike sweep` lists it."""

    values: dict[str, Any]

    @property
    def study(self) -> str:
        """The recipe that the run's own was made from."""
        return str(self.recipe["made_from"]).split(" ", 1)[0] or str(self.recipe["name"])

    @property
    def recipe(self) -> dict[str, Any]:
        found: dict[str, Any] = self.values["recipe"]
        return found

    @property
    def method(self) -> str:
        return str(self.values["method"] or self.recipe["method"])

    @property
    def seed(self) -> int:
        return int(self.recipe["seed"])

    @property
    def resized(self) -> bool:
        """Whether it has other rounds, another sparsity or other PEs than the recipe."""
        return any(self.values[key] is not None for key in ("rounds", "sparsity", "pes"))

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of one event, in order."""
        found: list[dict[str, Any]] = self.values[event]
        return found

    @property
    def layers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.values["layers"]
        return found

    @property
    def finished(self) -> dict[str, Any]:
        return self.lines("finished")[-1]


def read(folders: Iterable[Path]) -> tuple[list[Row], list[dict[str, str]]]:
    """The finished runs of several sweeps, and the others with what is known about them.

    Raises EvenspikeError for a folder without a sweep, a damaged list, and a run that two lists
    have with different recipes.
    """
    rows: dict[str, Row] = {}
    others: list[dict[str, str]] = []
    for folder in folders:
        path = folder / SWEEP_FILE
        for values in _listed(path):
            name = _text(values, "name", path)
            if values.get("state") != "finished":
                error = str(values.get("error") or "not finished")
                others.append({"name": name, "error": error})
                continue
            row = Row(values)
            _check(row, f"{path}: {name}")
            if name in rows and rows[name].recipe["digest"] != row.recipe["digest"]:
                raise EvenspikeError(f"{path}: {name}: another list has it with another recipe")
            rows.setdefault(name, row)
    return list(rows.values()), others


def merged(finished: Sequence[Row], path: Path) -> list[Row]:
    """With the runs of earlier pages, which `path` keeps, but for those made again since.

    Raises EvenspikeError for a damaged file.
    """
    if not path.is_file():
        return list(finished)
    rows: dict[str, Row] = {}
    for values in _listed(path):
        name = _text(values, "name", path)
        rows[name] = Row(values)
        _check(rows[name], f"{path}: {name}")
    rows |= {str(row.values["name"]): row for row in finished}
    return list(rows.values())


def _listed(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvenspikeError(f"{path}: no list of runs: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise EvenspikeError(f"{path}: is no list of runs: {error}") from error
    runs = content.get("runs") if isinstance(content, dict) else None
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise EvenspikeError(f"{path}: is no list of runs")
    return runs


def _text(values: dict[str, Any], key: str, path: Path) -> str:
    found = values.get(key)
    if not isinstance(found, str):
        raise EvenspikeError(f"{path}: a run without a {key}")
    return found


def _check(row: Row, where: str) -> None:
    """Raise EvenspikeError for a finished run that lacks what every one has."""
    recipe = row.values.get("recipe")
    if not isinstance(recipe, dict):
        raise EvenspikeError(f"{where}: has no recipe")
    for key in (*_RECIPE, "method", "seed", "images"):
        if key not in recipe:
            raise EvenspikeError(f"{where}: its recipe has no {key}")
    for key in ("method", "rounds", "sparsity", "pes", "command", "sweep"):
        if key not in row.values:
            raise EvenspikeError(f"{where}: has no {key}")
    for key in _LISTS:
        if not isinstance(row.values.get(key), list):
            raise EvenspikeError(f"{where}: has no list {key}")
    for key in ("finished", "trained", "layers"):
        if not row.values[key]:
            raise EvenspikeError(f"{where}: its list {key} is empty")


Spread = dict[str, float | int | None]


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean over seeds, with the sample's standard deviation where there are two or more.

    None where nothing was measured.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": statistics.fmean(known), "std": deviation, "n": len(known)}
