"""``python -m evenspike_train.cli train | export``: run a recipe, or make a Program of a run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from evenspike.errors import EvenspikeError
from evenspike.program import Program
from evenspike_train import recipe as recipes
from evenspike_train.data import Dataset, load_dataset
from evenspike_train.export import export
from evenspike_train.recipe import Recipe
from evenspike_train.trainer import Trainer

CHECKPOINTS = Path(__file__).parent / "checkpoints"


def prepare(threads: int, device: str | None) -> torch.device:
    """Device to compute on, with the process set up for it."""
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if where.type == "cpu" and threads:
        torch.set_num_threads(threads)
        try:
            import numba  # noqa: PLC0415 - only the CPU kernels need it
        except ImportError:
            pass
        else:
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    # Denormal numbers would slow a CPU down a hundredfold and mean nothing here.
    torch.set_flush_denormal(True)
    return where


def _data(recipe: Recipe, folder: Path | None, device: torch.device) -> Dataset:
    return load_dataset(recipe.data.name, folder, recipe.data.validation, device)


def train(
    name: str, directory: Path, data: Path | None, threads: int = 0, device: str | None = None
) -> dict[str, Any]:
    """Train the recipe in `directory`, going on with what is there.

    A directory keeps the recipe it was started with; giving it another one is an error.
    """
    kept = directory / "recipe.toml"
    recipe = recipes.load(name)
    if kept.is_file():
        started = recipes.load(kept)
        if started.name != recipe.name:
            raise recipes.RecipeError(
                f"{directory}: holds a run of recipe {started.name!r}, not {recipe.name!r}"
            )
        recipe = started
    where = prepare(threads, device)
    return Trainer(recipe, _data(recipe, data, where), directory).run()


def export_run(
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
    command = f"python -m evenspike_train.cli train {recipe.name} --run runs/{recipe.name}"
    return export(directory, out, _data(recipe, data, where), command, notes)


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, and report a user's mistake in one line (exit status 2)."""
    parser = argparse.ArgumentParser(prog="evenspike-train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train and prune by a recipe; resumes a run")
    training.add_argument("recipe", help="file, or name of a shipped recipe")
    exporting = commands.add_parser("export", help="make a Program and its card of a finished run")
    exporting.add_argument("--out", type=Path, default=CHECKPOINTS, help="folder to write into")
    exporting.add_argument("--notes", default="", help="a sentence for the card")
    for sub in (training, exporting):
        sub.add_argument("--run", type=Path, required=True, help="directory of the run")
        sub.add_argument("--data", type=Path, help="folder with the data set's files")
        sub.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's choice")
        sub.add_argument("--device", help="torch device; default: a GPU if there is one")
    given = parser.parse_args(arguments)
    common = (given.data, given.threads, given.device)
    try:
        if given.command == "train":
            train(given.recipe, given.run, *common)
        else:
            program, path = export_run(given.run, given.out, *common, notes=given.notes)
            scores = program.provenance
            sys.stdout.write(f"{path}: {scores['integer_test_accuracy']:.2f} % on the test set\n")
    except EvenspikeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
