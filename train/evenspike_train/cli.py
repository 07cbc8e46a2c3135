"""``python -m evenspike_train.cli train RECIPE``: run a recipe, or go on with a run."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from evenspike_train import recipe as recipes
from evenspike_train.data import load_dataset
from evenspike_train.trainer import Trainer


def train(name: str, directory: Path, data: Path | None, threads: int, device: str | None) -> dict:
    """Train the recipe in `directory`, resuming what is there."""
    kept = directory / "recipe.toml"
    recipe = recipes.load(kept if kept.is_file() else name)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if where.type == "cpu" and threads:
        torch.set_num_threads(threads)
    # Denormal numbers would slow a CPU down a hundredfold and mean nothing here.
    torch.set_flush_denormal(True)
    dataset = load_dataset(recipe.data.name, data, recipe.data.validation, where)
    return Trainer(recipe, dataset, directory).run()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="evenspike-train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sub = commands.add_parser("train", help="train and prune by a recipe; resumes what is there")
    sub.add_argument("recipe", help="file, or name of a shipped recipe")
    sub.add_argument("--run", type=Path, required=True, help="directory of the run")
    sub.add_argument("--data", type=Path, help="folder with the data set's files")
    sub.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's choice")
    sub.add_argument("--device", help="torch device; default: a GPU if there is one")
    given = parser.parse_args(arguments)
    train(given.recipe, given.run, given.data, given.threads, given.device)


if __name__ == "__main__":
    main()
