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
from evenspike_train.recipes.derive import NO_CHANGES, Changes, derive
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.runs import distributed, run_log
from evenspike_train.runs import export as exporting
from evenspike_train.runs.checkpoint import first_line
from evenspike_train.runs.hardware import Measure
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
    recipe = kept_recipe(derive(recipes.load(name), changes), directory)
    program = directory / f"{recipe.name}.safetensors"
    figures = finished(directory)
    if figures is not None:
        return Outcome(directory, program, figures, trained=False)
    where = prepare(threads, distributed.device_name(device))
    with distributed.joined(where) as team:
        if not team.leads:  # one process downloads what is not there yet
            team.check_same("data")
        content = load(recipe, data, where, progress)
        if team.leads:
            team.check_same("data")
        run = Trainer(recipe, content, directory, measure, dense, team, progress, say)
        return Outcome(directory, program, run.run(), trained=True)


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
    if dataclasses.replace(started, text="") != dataclasses.replace(recipe, text=""):
        raise recipes.RecipeError(
            f"{directory}: holds a run of another recipe ({kept}); use another directory"
        )
    return started


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
    shipped = (recipe.made_from or recipe.name).split(" ", 1)[0] in recipes.shipped()
    command = f"evenspike train {(recipe.made_from or recipe.name) if shipped else 'recipe.toml'}"
    content = load(recipe, data, where, progress)
    return exporting.export(directory, out, content, command, notes, progress)
