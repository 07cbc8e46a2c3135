"""The runs behind the figures: read from sweeps, grouped, averaged over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenspike.report.schema import BOOL, COUNT, MAYBE, NUMBERS, TEXT, check_keys
from evenspike_core.documents import read_json
from evenspike_core.errors import EvenspikeError

SWEEP_FILE = "sweep.json"
RUNS_FILE = "runs.json"
"""The runs behind the pages of a folder, beside them: the runs' own folders may be elsewhere."""

_RECIPE = {
    **dict.fromkeys(("name", "digest", "made_from", "data", "network", "method"), TEXT),
    **dict.fromkeys(("seed", "train", "validation", "width", "timesteps", "pes", "place"), COUNT),
    "searches": BOOL,
    "images": {"final": COUNT},
}
_TRAINED = ("round", "images_seen", "sparsity", "utilization", "accuracy", "timesteps")
_RUN = {
    **dict.fromkeys(("name", "command", "sweep"), TEXT),
    **dict.fromkeys(("rounds", "sparsity", "pes"), MAYBE),
    "recipe": _RECIPE,
    "trained": [dict.fromkeys(_TRAINED, COUNT)],
    "pruned": [dict.fromkeys(("seconds", "images_seen"), COUNT)],
    "validation": [dict.fromkeys(("step", "of", "accuracy", "loss"), COUNT)],
    "early-time": [dict.fromkeys(("timesteps", "images_seen"), COUNT)],
    "finished": [dict.fromkeys(("validation_accuracy", "sparsity", "seconds"), COUNT)],
    "layers": [{"name": TEXT, "filters": NUMBERS, "weights": COUNT, "positions": COUNT}],
}
"""What every finished run has, as `evenspike sweep` lists it."""

_MEASURED = [
    f"{key}{assignment}"
    for key in ("hardware_utilization", "cycles", "energy_pj", "words_loaded")
    for assignment in ("", "_natural")
]
"""What a line `trained` has beside that, where it was measured."""

PES_MAX = 1 << 16


@dataclass(frozen=True)
class FinishedRun:
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


def read(folders: Iterable[Path]) -> tuple[list[FinishedRun], list[dict[str, str]]]:
    """The finished runs of several sweeps, and the others with what is known about them.

    Raises EvenspikeError for a folder without a sweep, a damaged list, and a run that two lists
    have with different recipes.
    """
    rows: dict[str, FinishedRun] = {}
    others: list[dict[str, str]] = []
    for folder in folders:
        path = folder / SWEEP_FILE
        for values in listed(path):
            name = values["name"]
            if values.get("state") != "finished":
                error = str(values.get("error") or "not finished")
                others.append({"name": name, "error": error})
                continue
            row = _finished(values, path)
            if name in rows and rows[name].recipe["digest"] != row.recipe["digest"]:
                raise EvenspikeError(f"{path}: {name}: another list has it with another recipe")
            rows.setdefault(name, row)
    return list(rows.values()), others


def merged(finished: Sequence[FinishedRun], path: Path) -> list[FinishedRun]:
    """The finished runs and those of earlier pages, which `path` keeps, unless made again since.

    Raises EvenspikeError for a damaged file.
    """
    if not path.is_file():
        return list(finished)
    rows = {values["name"]: _finished(values, path) for values in listed(path)}
    rows |= {str(row.values["name"]): row for row in finished}
    return list(rows.values())


def listed(path: Path) -> list[dict[str, Any]]:
    """The runs that a file of a sweep or of earlier pages lists, each under a name of its own.

    Raises EvenspikeError for a file that is missing or no such list.
    """
    runs = read_json(path, "list of runs", dict).get("runs")
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise EvenspikeError(f"{path}: not a readable list of runs: it has none")
    names = [run.get("name") for run in runs]
    if not all(isinstance(name, str) for name in names):
        raise EvenspikeError(f"{path}: not a readable list of runs: a run has no name")
    if len(set(names)) != len(names):
        raise EvenspikeError(f"{path}: not a readable list of runs: a name stands in it twice")
    return runs


def _finished(values: dict[str, Any], path: Path) -> FinishedRun:
    """Raise EvenspikeError for a finished run that lacks what every one has."""
    where = f"{path}: {values['name']}"
    check_keys(values, _RUN, where)
    for line in values["trained"]:
        measured = {key: line.get(key) for key in _MEASURED}
        check_keys(measured, dict.fromkeys(_MEASURED, MAYBE), f"{where}.trained")
    made_on = values.get("made_on") or {}
    check_keys(made_on, {}, f"{where}.made_on")
    check_keys(made_on.get("load"), MAYBE, f"{where}.made_on.load")
    pes = values["recipe"]["pes"]
    if not 1 <= pes <= PES_MAX:
        raise EvenspikeError(f"{where}.recipe.pes is {pes}, possible are 1 to {PES_MAX}")
    for key in ("finished", "trained", "layers"):
        if not values[key]:
            raise EvenspikeError(f"{where}: its list {key} is empty")
    return FinishedRun(values)


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
