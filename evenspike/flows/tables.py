"""Tables: those of the ADMM paper on MNIST, trained, tested and set beside what the paper states.

Each cell is a run of its own, in a folder of its own; those of a seed begin with one dense network.
What is finished is not trained again, so the same call goes on where it stopped, and each call adds
to the record what it has made.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenspike.report.comparison import line_plot, page
from evenspike.report.compression import figure
from evenspike.report.contents import machine
from evenspike_core.documents import read_json
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import check_folder, write_files
from evenspike_core.progress import Progress, silent
from evenspike_core.published_admm import DENSE, Point
from evenspike_train.recipes import recipe as recipes
from evenspike_train.recipes.derive import Changes, derive
from evenspike_train.runs import command, distributions, run_record, sweep
from evenspike_train.runs.verdict import verdict_of

RECIPE = "lenet5-mnist-short"
RUNS = Path("runs/admm")
NAME = "admm-mnist"
"""Of the record and its page."""

LAYER = "fc1"
"""The layer whose weights the plots show: it has most of them."""

EVOLUTION: Point = (0.0, 2, 0.0)
PRUNED: Point = (0.75, 0, 0.0)
QUIET: Point = (0.0, 0, 0.01)
"""The runs that Figures 4 and 6, 5, and 7 look into."""

RATED = 100
"""Test images on which the firing rate of each neuron is taken."""

Cell = dict[str, Any]


@dataclass(frozen=True)
class Tabled:
    """figure: the page's JSON. failed: what ended each run without a ticket. files: written."""

    figure: dict[str, Any]
    failed: dict[str, str]
    files: tuple[Path, ...]


def tables(
    names: Sequence[str] = (),
    *,
    recipe: str = RECIPE,
    seeds: Sequence[int] = (1, 2, 3),
    folder: Path | str = RUNS,
    out: Path | str = Path("docs/results"),
    jobs: int = 1,
    data: Path | str | None = None,
    device: str | None = None,
    progress: Progress = silent,
    done: Callable[[str, str], None] = lambda *_: None,
) -> Tabled:
    """Train what the tables lack, measure each ticket on the test set, and write the page.

    Parameters
    ----------
    names : "II" to "VII", or "bars" for the runs of which a loss must not be passed; all tables
        without one.
    recipe : of LeNet-5 on MNIST, with the method admm; each run takes its numbers from the table.
    folder : of the runs. out : of the record, the page and its plots.
    done : called with the name of each run that has ended, and what ended it if it has failed.

    Raises EvenspikeError for a table that there is not, and for what would end a run before its
    first step. A run that fails leaves its cell empty.
    """
    for name in names:
        if name not in (*figure.TABLES, "bars"):
            known = ", ".join((*figure.TABLES, "bars"))
            raise EvenspikeError(f"tables: there is no table {name!r}; there are {known}")
    if jobs < 1 or not seeds:
        raise EvenspikeError(f"tables: {jobs} jobs, {len(seeds)} seeds; at least 1 of each")
    place, target = Path(folder), Path(out)
    files = None if data is None else Path(data)
    _check(recipe)
    wanted = figure.cells(names or tuple(figure.TABLES))
    runs = {
        (method, point, seed): _run(recipe, method, point, seed)
        for method, point in wanted
        for seed in seeds
    }
    check_folder(target)
    check_folder(place)
    # The dense network of each seed first: the others begin with its dense phase.
    ordered = sorted(runs.values(), key=lambda run: run.recipe.method.name != "dense")
    sweep.check(ordered, place, files, device, progress)
    rows = sweep.sweep(
        ordered,
        place,
        jobs=jobs,
        backend="loky" if jobs > 1 else "threading",
        data=files,
        device=device,
        measure=None,
        done=lambda run, row: done(run.name, row["error"]),
        progress=progress,
    )
    where = command.prepare(0, device)
    images = command.load(recipes.load(recipe), files, where)
    record = target / f"{NAME}.json"
    kept = {cell["name"]: cell for cell in _earlier(record, recipe)}
    shapes: dict[str, Any] = read_json(record, "record", dict).get("shapes", {}) if kept else {}
    for (method, point, seed), run in runs.items():
        row = rows[run.name]
        if row["state"] != "finished":
            continue
        run_folder = place / sweep.RUNS / run.name
        verdict = verdict_of(run_folder, images, progress)
        kept[run.name] = {
            "name": run.name,
            "method": method,
            "point": list(point),
            "seed": seed,
            "command": run.command,
            "accuracy": verdict["accuracy"],
            "rate": verdict["firing_rate"],
            "living": verdict["living"],
            "validation_accuracy": row["finished"][-1]["validation_accuracy"],
            "seconds": row["finished"][-1]["seconds"],
            "recipe_digest": row["recipe"]["digest"],
        }
        if seed == min(seeds):
            shapes |= _shapes(run_folder, method, point, images.test.images[:RATED])
    made = figure.made(list(kept.values()), shapes, _facts(recipe, names, seeds))
    contents: dict[str, str | bytes] = {
        record.name: json.dumps(made, indent=1) + "\n",
        f"{NAME}.md": page.render(NAME, made),
    }
    drawn = map(line_plot.render, made["plots"])
    contents |= dict(zip(page.plots(NAME, made), drawn, strict=True))
    written = write_files(contents, target)
    failed = {name: row["error"] for name, row in rows.items() if row["error"]}
    return Tabled(made, failed, tuple(written))


def _check(recipe: str) -> None:
    """Raise EvenspikeError for a recipe of which the paper has no table."""
    given = recipes.load(recipe)
    network, method = given.network.name, given.method.name
    if (network, method) != ("lenet5", "admm"):
        raise EvenspikeError(
            f"tables: {recipe} trains {network} with {method}; the tables are of lenet5 with admm"
        )


def _run(recipe: str, method: str, point: Point, seed: int) -> sweep.Run:
    """One cell of a table; raises EvenspikeError for a recipe that cannot have it."""
    sparsity, bits, activity = point
    changes = Changes(method, seed, activity=activity)
    if method != "dense":
        changes = dataclasses.replace(changes, sparsity=sparsity, bits=bits)
    return sweep.Run(recipe, changes, derive(recipes.load(recipe), changes))


def _shapes(folder: Path, method: str, at: Point, images: Any) -> dict[str, Any]:
    """What the plots of distributions need of a run, by their names; of most runs nothing."""
    if method == "admm" and at == EVOLUTION:
        evolution = distributions.updates(folder, LAYER)
        return {"evolution": evolution, "quantised": distributions.weights(folder, LAYER)}
    if method == "admm" and at == PRUNED:
        return {"pruned": distributions.weights(folder, LAYER)}
    if method == "dense" and at in (DENSE, QUIET):
        return {"rates" if at == DENSE else "quiet rates": distributions.rates(folder, images)}
    return {}


def _earlier(record: Path, recipe: str) -> Iterable[Cell]:
    """The cells of an earlier call, if they are of the same recipe, as it is today."""
    if not record.is_file():
        return ()
    found = read_json(record, "record", dict)
    cells: Iterable[Cell] = found.get("cells", ()) if found.get("recipe") == recipe else ()
    return [cell for cell in cells if _digest(recipe, cell) == cell.get("recipe_digest")]


def _digest(recipe: str, cell: Cell) -> str:
    """That of the recipe by which a cell would be made today."""
    sparsity, bits, activity = cell["point"]
    run = _run(recipe, cell["method"], (sparsity, bits, activity), cell["seed"])
    return run_record.digest(run.recipe)


def _facts(recipe: str, names: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """What a reader must know to make the runs again."""
    given = recipes.load(recipe)
    tables = "".join(f" {name}" for name in names)
    return {
        "recipe": recipe,
        "network": f"{given.network.name}, width {given.network.width}",
        "timesteps": given.network.timesteps,
        "data": given.data.name,
        "training_images": given.data.train or "all that are not held out",
        "held_out": given.data.validation,
        "passed": {name: getattr(given, name).images for name in ("dense", "round", "final")},
        "commands": [
            f"evenspike tables{tables} --recipe {recipe} --seeds {','.join(map(str, seeds))}"
        ],
        "machine": machine(),
    }


__all__ = ["DENSE", "Tabled", "tables"]
