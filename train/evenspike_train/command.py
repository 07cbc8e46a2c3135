"""What `evenspike train` and `evenspike export` do: run a recipe, make a Program of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from evenspike.errors import EvenspikeError
from evenspike.program import Program
from evenspike_train import distributed
from evenspike_train import export as exporting
from evenspike_train import recipe as recipes
from evenspike_train.checkpoint import first_line
from evenspike_train.data import Dataset, load_dataset
from evenspike_train.derive import derive
from evenspike_train.recipe import Recipe
from evenspike_train.trainer import Trainer

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
    if where.type == "cpu":
        set_threads(threads or torch.get_num_threads())
    # Denormal numbers would slow a CPU down a hundredfold and mean nothing here.
    torch.set_flush_denormal(True)
    return where


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


def _data(recipe: Recipe, folder: Path | None, device: torch.device) -> Dataset:
    return load_dataset(recipe.data.name, folder, recipe.data.validation, device)


def train(
    name: str,
    directory: Path,
    data: Path | None,
    threads: int = 0,
    device: str | None = None,
    method: str | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Train the recipe in `directory`, going on with what is there.

    `method` and `seed` take the place of the recipe's (`derive`).  A directory keeps the recipe it
    was started with; giving it another one is an error, as the result would be neither's.
    """
    kept = directory / "recipe.toml"
    recipe = derive(recipes.load(name), method, seed)
    if kept.is_file():
        started = recipes.load(kept)
        if dataclasses.replace(started, text="") != dataclasses.replace(recipe, text=""):
            raise recipes.RecipeError(
                f"{directory}: holds a run of another recipe ({kept}); use another directory"
            )
        recipe = started
    where = prepare(threads, distributed.device_name(device))
    with distributed.joined(where) as team:
        if not team.leads:  # one process downloads what is not there yet
            team.check_same("data")
        content = _data(recipe, data, where)
        if team.leads:
            team.check_same("data")
        return Trainer(recipe, content, directory, team).run()


def export(
    directory: Path,
    out: Path,
    data: Path | None,
    threads: int = 0,
    device: str | None = None,
    notes: str = "",
) -> tuple[Program, Path]:
    """Program and card of a finished run, into `out`."""
    where = prepare(threads, device)
    recipe = recipes.load(directory / "recipe.toml")
    command = f"evenspike train {recipe.made_from or recipe.name}"
    return exporting.export(directory, out, _data(recipe, data, where), command, notes)
