"""Training and export as the command line has them: run a recipe, make a Program of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from evenspike_core.data import DATA_SETS
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program
from evenspike_core.progress import Progress, silent
from evenspike_train.data import Dataset, load_dataset
from evenspike_train.export.programs import check_possible, impossible, noise, unfollowable
from evenspike_train.lowering.proof import Proof
from evenspike_train.networks.source import names_a_source
from evenspike_train.recipes import recipe as recipes
from evenspike_train.recipes.derive import NO_CHANGES, Changes, continue_from, derive
from evenspike_train.recipes.recipe import Begun, Recipe
from evenspike_train.recipes.tables import StartConfig, TeacherConfig
from evenspike_train.runs import distributed, run_log
from evenspike_train.runs import export as exporting
from evenspike_train.runs.checkpoint import first_line
from evenspike_train.runs.hardware import Measure
from evenspike_train.runs.start import Start, check_teacher, from_program, from_run
from evenspike_train.runs.trainer import Trainer

THREADS_MAX = 1024


def prepare(threads: int, device: str | None) -> torch.device:
    """Device to compute on, with the process set up for it.

    Raises EvenspikeError for a number of threads that cannot be, and for a device that is
    unknown, missing, or unable to compute a gradient.
    """
    if not 0 <= threads <= THREADS_MAX:
        raise EvenspikeError(
            f"threads: {threads}; 0 (torch's choice) to {THREADS_MAX} are possible"
        )
    try:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise EvenspikeError(f"device {device!r} is not known to torch") from error
    try:
        probe = torch.ones(1, device=where, requires_grad=True)
        probe.square().sum().backward()
        probe.tolist()
    except Exception as error:  # each device is missing in its own way
        raise EvenspikeError(
            f"device {device!r}: torch cannot train on it here: {first_line(error)}"
        ) from error
    # A current rounded to TF32's 10 bits flips spikes, and a flipped spike changes every layer
    # after it: what is measured and exported has to be float32.  bf16 training is not touched.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if threads or where.type == "cpu":
        set_threads(threads or torch.get_num_threads())
    # Denormal numbers would slow a CPU down a hundredfold and mean nothing here.
    torch.set_flush_denormal(True)
    return where


def load(
    recipe: Recipe, folder: Path | None, device: torch.device, progress: Progress = silent
) -> Dataset:
    """Return the recipe's data on the device."""
    given = recipe.data
    return load_dataset(given.name, folder, given.validation, device, given.train, progress)


def set_threads(count: int) -> None:
    """As many threads for torch and for the compiled kernels.

    Numba starts a thread for every core, whatever OMP_NUM_THREADS says, and sets OpenMP's number to
    that, torch's convolutions included: it has to come first.
    """
    try:
        import numba  # noqa: PLC0415 - only the CPU kernels need it
    except ImportError:
        pass
    else:
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    torch.set_num_threads(count)


@dataclass(frozen=True)
class Outcome:
    """A finished run.

    Parameters
    ----------
    folder : of the run.
    program : the file of its Program, which `export` writes.
    figures : of its ticket.
    trained : whether it was trained now; otherwise it had finished before.
    """

    folder: Path
    program: Path
    figures: Mapping[str, Any]
    trained: bool


def train(
    name: str,
    directory: Path,
    data: Path | None,
    threads: int = 0,
    device: str | None = None,
    changes: Changes = NO_CHANGES,
    measure: Measure | None = None,
    dense: Path | None = None,
    progress: Progress = silent,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Train the recipe, with the changes made to it, in `directory`; go on with what is there.

    A run that has finished is left as it is.

    `measure` tells what a round's network costs on the accelerator; `dense` is another run, whose
    dense phase a new one takes over; `progress` and `say` are the Trainer's.
    """
    asked = derive(recipes.load(name), changes)
    check_begins(asked, name)
    where = _Where(directory, data, threads, device, measure, progress, say)
    return _trained(asked, where, dense=dense)


@dataclass(frozen=True)
class _Where:
    """What runs of every kind are given besides a recipe, as `train` has it."""

    directory: Path
    data: Path | None
    threads: int
    device: str | None
    measure: Measure | None
    progress: Progress
    say: Callable[[str], None] | None


def _trained(asked: Recipe, where: _Where, **more: Any) -> Outcome:
    """The run of a recipe, from its beginning or from where it stopped; more: the Trainer's."""
    recipe = kept_recipe(asked, where.directory)
    program = where.directory / f"{recipe.name}.safetensors"
    figures = finished(where.directory)
    if figures is not None:
        return Outcome(where.directory, program, figures, trained=False)
    device = prepare(where.threads, distributed.device_name(where.device))
    with distributed.joined(device) as team:
        if not team.leads:  # one process downloads what is not there yet
            team.check_same("data")
        content = load(recipe, where.data, device, where.progress)
        if team.leads:
            team.check_same("data")
        run = Trainer(
            recipe,
            content,
            where.directory,
            where.measure,
            team=team,
            progress=where.progress,
            say=where.say,
            **more,
        )
        return Outcome(where.directory, program, run.run(), trained=True)


def check_begins(recipe: Recipe, name: str) -> None:
    """Raise EvenspikeError for a recipe that a run cannot begin with, without a ticket."""
    if recipe.for_ticket:
        raise EvenspikeError(f"{name}: is a recipe for a ticket: evenspike finetune takes it")
    if recipe.teacher.source:
        raise EvenspikeError(f"{name}: names a teacher, which evenspike finetune alone listens to")


def finetune(
    source: Program | Path,
    called: str,
    recipe: str,
    directory: Path,
    data: Path | None,
    *,
    teacher: Program | Path | None = None,
    teacher_called: str = "",
    threads: int = 0,
    device: str | None = None,
    changes: Changes = NO_CHANGES,
    name: str = "",
    measure: Measure | None = None,
    progress: Progress = silent,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Train a finished ticket on, in `directory`, going on with what is there.

    Parameters
    ----------
    source : a Program, or the folder of a finished run. called: as the user named it.
    recipe : its name or file: the schedule and, if it prunes further, the method.
    teacher, teacher_called : likewise, of the network to learn from.
    name : of the run; the recipe's, with the changes, without one.
    changes : as in `derive.continue_from`. The others are those of `train`.

    Raises EvenspikeError, before anything is trained, for a source that cannot be trained on, and
    for a teacher that does not fit it.
    """
    begin = _start_of(source)
    given = TeacherConfig()
    learned: Start | None = None
    if teacher is not None:
        learned = _start_of(teacher)
        check_teacher(teacher_called, learned, begin)
        given = TeacherConfig(source=teacher_called, digest=learned.digest)
    beginning = StartConfig(
        called, begin.digest, round(begin.sparsity, 6), begin.accuracy, begin.tested
    )
    schedule = recipes.load(recipe, Begun(beginning, begin.recipe))
    made = continue_from(schedule, begin.recipe, given, changes, name, Path(recipe).stem)
    where = _Where(directory, data, threads, device, measure, progress, say)
    return _trained(made, where, start=begin, teacher=None if learned is None else learned.model)


def _start_of(source: Program | Path) -> Start:
    return from_program(source) if isinstance(source, Program) else from_run(source)


def finished(directory: Path) -> Mapping[str, Any] | None:
    """Figures of the ticket of a run that has ended; None for any other folder.

    Raises EvenspikeError for a log that is damaged.
    """
    ended = exporting.read_history(directory / run_log.FILE, ("finished",))
    return ended[-1] if ended and (directory / "ticket.pt").is_file() else None


def kept_recipe(recipe: Recipe, directory: Path) -> Recipe:
    """The recipe as the run in `directory` has it, or as given where there is none yet.

    A directory keeps the recipe it was started with; giving it another one is an error, as the
    result would be neither's.
    """
    kept = directory / "recipe.toml"
    if not kept.is_file():
        return recipe
    started = recipes.load(kept)
    if _digested(started) != _digested(recipe):
        raise recipes.RecipeError(
            f"{directory}: holds a run of another recipe ({kept}); use another directory"
        )
    return started


def _digested(recipe: Recipe) -> Recipe:
    """The recipe without its text, and without names of what has a digest."""
    start = dataclasses.replace(recipe.start, source="")
    teacher = dataclasses.replace(recipe.teacher, source="")
    return dataclasses.replace(recipe, text="", start=start, teacher=teacher)


def unexportable(directory: Path) -> str:
    """Return why the finished run in a folder gives no Program; empty where it does."""
    recipe = recipes.load(directory / "recipe.toml")
    reason = impossible(recipe)
    if reason or not names_a_source(recipe.network.name):
        return reason
    model = exporting.load_ticket(directory).model
    return unfollowable(model, noise(model, DATA_SETS[recipe.data.name].side))


def export(
    directory: Path,
    out: Path,
    data: Path | None,
    threads: int = 0,
    device: str | None = None,
    notes: str = "",
    progress: Progress = silent,
) -> tuple[Program, Path, Proof]:
    """Write the Program and the card of a finished run into `out`; also returns the proof."""
    where = prepare(threads, device)
    recipe = recipes.load(directory / "recipe.toml")
    check_possible(recipe)
    made_from = recipe.made_from or recipe.name
    made_from = made_from if made_from.split(" ", 1)[0] in recipes.shipped() else "recipe.toml"
    command = f"evenspike train {made_from}"
    if recipe.start.digest:
        taught = f" --teacher {recipe.teacher.source}" if recipe.teacher.digest else ""
        command = f"evenspike finetune {recipe.start.source} --recipe {made_from}{taught}"
    content = load(recipe, data, where, progress)
    return exporting.export(directory, out, content, command, notes, progress)
