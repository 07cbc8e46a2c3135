"""Finetune: a finished ticket trained on, and pruned further if it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evenspike.flows import models
from evenspike.flows.measure import measure
from evenspike.flows.train import Trained, exported
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program
from evenspike_core.progress import Progress, silent
from evenspike_train.recipes import recipe as recipes
from evenspike_train.recipes.derive import Changes
from evenspike_train.runs import command

RECIPE = "finetune"
"""The shipped recipe that is used where none is given."""


def finetune(
    source: str | Path | Program | None = None,
    folder: Path | str | None = None,
    *,
    recipe: str | Path = RECIPE,
    teacher: str | Path | Program | None = None,
    method: str | None = None,
    seed: int | None = None,
    rounds: int | None = None,
    sparsity: float | None = None,
    pes: int | None = None,
    data: Path | str | None = None,
    device: str | None = None,
    threads: int = 0,
    progress: Progress = silent,
    say: Callable[[str], None] | None = None,
) -> Trained:
    """Train a ticket on with its masks held; prune it further if `sparsity` or `method` says so.

    The same call goes on with what is in the folder, and leaves a run that has finished as it is.

    Parameters
    ----------
    source : a Program, its file, the name of a shipped ticket, or the folder of a finished run. A
        run goes on with its own weights and batch norm, a Program with a network rebuilt from its
        integers. Without one it is that of the recipe.
    folder : of the run; runs/NAME without one.
    recipe : with the schedule; of its tables, `network` and the name and held-out images of `data`
        are the source's. A recipe other than the shipped one gives its name to the result.
    teacher : likewise a source, of a network from whose answers is learned, too; the recipe's, if
        it names one.
    method, seed, rounds, sparsity, pes : in place of the recipe's. A sparsity alone prunes with the
        source's own balance.
    data, device, threads, progress, say : as in `train`.

    Raises EvenspikeError, before anything is trained, for a source that cannot be trained on, a
    teacher of other classes or data, a sparsity below the source's, and a folder of another run.
    """
    named, named_teacher = recipes.sources(recipe)
    if source is None and not named:
        raise EvenspikeError(f"finetune: no ticket is given, and {recipe} names none")
    begin, called = _find(named if source is None else source)
    teacher = named_teacher or None if teacher is None else teacher
    try:
        learned, learned_called = (None, "") if teacher is None else _find(teacher)
    except EvenspikeError as error:
        raise EvenspikeError(f"teacher: {error}") from error
    changes = Changes(method, seed, rounds, sparsity, pes)
    name = ""
    if str(recipe) == RECIPE:
        own = begin.name if isinstance(begin, Program) else begin.resolve().name
        name = f"{own}-finetuned{changes.suffix}"
    place = models.RUNS / (name or Path(recipe).stem + changes.suffix)
    place = place if folder is None else Path(folder)
    done = command.finetune(
        begin,
        called,
        str(recipe),
        place,
        None if data is None else Path(data),
        teacher=learned,
        teacher_called=learned_called,
        threads=threads,
        device=device,
        changes=changes,
        name=name,
        measure=measure,
        progress=progress,
        say=say,
    )
    return exported(place, done, data, device, threads, progress)


def _find(source: str | Path | Program) -> tuple[Program | Path, str]:
    """A Program, or the folder of a finished run where it has its own weights; and its name."""
    if isinstance(source, Program):
        return source, source.name
    if str(source) in models.shipped():  # which wins, as everywhere
        return models.load(source), str(source)
    for place in (Path(source), models.RUNS / str(source)):
        if (place / "recipe.toml").is_file():
            if not (place / "ticket.pt").is_file():
                raise EvenspikeError(f"{place}: this run has not finished")
            return place, str(source)
    return models.load(source), str(source)
