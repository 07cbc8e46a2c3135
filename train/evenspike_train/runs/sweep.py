"""Sweep: one recipe with every method, seed, ladder, sparsity and number of PEs that are asked for.

Each combination is a run of its own, in a folder of its own, that goes on where it stopped like
any other. A run that fails does not take the others with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from evenspike_core import backends
from evenspike_core.errors import EvenspikeError
from evenspike_core.progress import Progress, silent
from evenspike_train.recipes import recipe as recipes
from evenspike_train.recipes.derive import Changes, derive
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.runs import command, dense_phase, run_record
from evenspike_train.runs.checkpoint import first_line
from evenspike_train.runs.hardware import Measure
from evenspike_train.runs.watch import watched
from evenspike_train.tickets import fit
from evenspike_train.tickets.options import taken

RUNS = "runs"
"""Folder of the runs in a sweep's folder."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Axes:
    """The axes of a sweep; an empty one keeps the recipe's value."""

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    rounds: tuple[int, ...] = ()
    sparsities: tuple[float, ...] = ()
    pes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("methods", "seeds"):
            if not getattr(self, name):
                raise EvenspikeError(f"sweep: {name}: at least one is needed")
        for name, values in vars(self).items():
            twice = {value for value in values if values.count(value) > 1}
            if twice:
                raise EvenspikeError(f"sweep: {name}: {min(twice)} is given twice")


@dataclass(frozen=True)
class Run:
    """One combination: the recipe as given, what is changed, and what comes of it."""

    given: str
    changes: Changes
    recipe: Recipe

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.recipe.name

    @property
    def command(self) -> str:
        """The command that makes this run alone."""
        return f"evenspike train --recipe {self.given}{self.changes.options}"


def plan(given: str, axes: Axes) -> list[Run]:
    """The runs, each once.

    An axis that makes no difference to a method does not multiply its runs: `dense` has no rounds
    and no sparsity, and without a balance the number of PEs changes no mask.

    Raises EvenspikeError for a combination that there is not, and for an axis that makes no
    difference to any of the methods.
    """
    recipe = recipes.load(given)
    product = itertools.product(
        axes.methods,
        axes.seeds,
        axes.rounds or (None,),
        axes.sparsities or (None,),
        axes.pes or (None,),
    )
    runs: dict[Changes, Run] = {}
    for method, seed, rounds, sparsity, pes in product:
        first = derive(recipe, Changes(method, seed))
        command.check_begins(first, f"{given}, {method}")
        made = first.method
        prunes = "sparsity" in taken(made.name)
        changes = Changes(
            method,
            seed,
            rounds if prunes else None,
            sparsity if prunes else None,
            pes if made.balancing != "none" else None,
        )
        if changes not in runs:
            runs[changes] = Run(given, changes, derive(recipe, changes))
    for axis in ("rounds", "sparsities", "pes"):
        field = {"sparsities": "sparsity"}.get(axis, axis)
        if getattr(axes, axis) and all(getattr(one, field) is None for one in runs):
            raise EvenspikeError(
                f"sweep: {axis}: changes nothing in a run of {', '.join(axes.methods)}"
            )
    return list(runs.values())


def check_backend(name: str, jobs: int) -> None:
    """Raise EvenspikeError for a backend that is not there, or does not fit the number of jobs."""
    if name == "threading" and jobs > 1:
        raise EvenspikeError(
            f"backend: threading takes one job, not {jobs}: runs in one process would draw their "
            "first weights from the same random numbers"
        )
    backends.check(name)


def check(
    runs: Sequence[Run],
    folder: Path,
    data: Path | None,
    device: str | None,
    progress: Progress = silent,
) -> None:
    """Raise EvenspikeError for what would end a run before its first step.

    That is a data set that is not there, a dense phase too short for the method, and a folder that
    holds a run of another recipe.
    """
    for run in runs:
        command.kept_recipe(run.recipe, folder / RUNS / run.name)
    where = command.prepare(0, device)
    images = len(command.load(runs[0].recipe, data, where, progress).train)
    for run in runs:
        try:
            fit.check_data(run.recipe.method, run.recipe.dense.images, images)
        except EvenspikeError as error:
            raise EvenspikeError(f"{run.name}: {error}") from error


@dataclass(frozen=True)
class Task:
    """One run to be trained, with all that a worker needs, which may be on another machine.

    dense: folder of the run whose dense phase is taken over, if that one has got so far.
    """

    run: Run
    folder: Path
    dense: Path | None
    data: Path | None
    threads: int
    device: str | None
    measure: Measure | None


def execute(task: Task) -> str:
    """Train one run; an empty text, or what ended it."""
    dense = task.dense
    if dense is not None and not (dense / dense_phase.FILE).is_file():
        dense = None
    try:
        command.train(
            task.run.given,
            task.folder / RUNS / task.run.name,
            task.data,
            threads=task.threads,
            device=task.device,
            changes=task.run.changes,
            measure=task.measure,
            dense=dense,
        )
    except EvenspikeError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other runs go on
        return f"{type(error).__name__}: {first_line(error)}"
    return ""


def sweep(
    runs: Sequence[Run],
    folder: Path,
    *,
    jobs: int,
    backend: str,
    data: Path | None,
    device: str | None,
    measure: Measure | None,
    done: Callable[[Run, Row], None],
    progress: Progress = silent,
) -> dict[str, Row]:
    """Train what is not finished; a row for each run, by its name.

    Runs that begin with the same dense phase train it once, and the seconds of that count in each;
    one that a run of the folder has finished before is taken over, too, whatever its recipe's name.

    Parameters
    ----------
    jobs : runs at a time; each gets its share of this machine's cores as threads.
    done : called with each run and its row, as far as the backend says when one has ended.
    progress : is told how many images all runs together have passed, by their logs.
    """
    check_backend(backend, jobs)
    rows = {run.name: _record(folder / RUNS / run.name) for run in runs}
    waiting = {run.name: run for run in runs if rows[run.name]["state"] != run_record.FINISHED}
    leaders, begun = _leaders(runs), _begun(folder)

    def start(run: Run) -> Path | None:
        """The folder of the dense phase that a run takes over."""
        if leaders[run] is not run:
            return folder / RUNS / leaders[run].name
        earlier = begun.get(dense_phase.depends_on(run.recipe))
        return None if earlier == folder / RUNS / run.name else earlier

    def end(name: str, error: str) -> None:
        run = waiting.pop(name)
        row = _record(folder / RUNS / name)
        if error:
            row |= {"state": run_record.FAILED, "error": error}
        rows[name] = row
        done(run, row)

    with watched({folder / RUNS / run.name: run.recipe for run in runs}, progress):
        # Those that train a dense phase, then those that take it over.
        for first in (True, False):
            tasks = [
                Task(
                    run,
                    folder,
                    dense=start(run),
                    data=data,
                    threads=threads(jobs),
                    device=device,
                    measure=measure,
                )
                for run in waiting.values()
                if (leaders[run] is run) is first
            ]
            for name, error in _until_broken(tasks, backend, jobs):
                if name is not None:
                    end(name, error)
                    continue
                for lost in list(waiting):  # those that had not begun, too: the command goes on
                    end(lost, f"its worker is gone: {error}")
                return rows
    return rows


def _record(directory: Path) -> Row:
    """Return what a run's folder says; a damaged one has failed, and takes no other run with it."""
    try:
        return run_record.read(directory)
    except EvenspikeError as error:
        return {"state": run_record.FAILED, "error": str(error)}


def _until_broken(
    tasks: Sequence[Task], backend: str, jobs: int
) -> Iterator[tuple[str | None, str]]:
    """What the workers return; if one of them dies, (None, what is known about that) at last."""
    try:
        with backends.parallel(backend, jobs) as parallel:
            yield from parallel([_delayed(task) for task in tasks])
    except Exception as error:  # noqa: BLE001 - each backend has its own
        yield None, f"{type(error).__name__}: {first_line(error)}"


def _leaders(runs: Sequence[Run]) -> dict[Run, Run]:
    """Return, for each run, the one that trains its dense phase: the first with the same."""
    first: dict[Hashable, Run] = {}
    leaders = {}
    for run in runs:
        shared = dense_phase.depends_on(run.recipe)
        leaders[run] = run if shared is None else first.setdefault(shared, run)
    return leaders


def _begun(folder: Path) -> dict[Hashable, Path]:
    """The runs of a folder that have finished a dense phase, by all that it depends on."""
    found: dict[Hashable, Path] = {}
    for path in sorted((folder / RUNS).glob(f"*/{dense_phase.FILE}")):
        with suppress(EvenspikeError):  # a damaged run is no use to another
            shared = dense_phase.depends_on(dense_phase.made_by(path.parent))
            if shared is not None:
                found.setdefault(shared, path.parent)
    return found


def cores() -> int:
    """The number of cores that this process may use; LOKY_MAX_CPU_COUNT bounds it."""
    import joblib  # noqa: PLC0415 - of the extra, and only a sweep needs it

    return int(joblib.cpu_count())


def threads(jobs: int) -> int:
    """The number of threads of each run, with so many runs at a time."""
    return max(1, cores() // jobs)


def accelerator(device: str | None) -> str:
    """The name of the GPU that the runs train on; empty where they train on the CPU."""
    where = command.prepare(0, device)
    return torch.cuda.get_device_name(where) if where.type == "cuda" else ""


def _named(task: Task) -> tuple[str, str]:
    return task.run.name, execute(task)


def _delayed(task: Task) -> Any:
    import joblib  # noqa: PLC0415 - of the extra, and only a sweep needs it

    return joblib.delayed(_named)(task)
