"""`evenspike export`: turn a trained run into a Program."""

from __future__ import annotations

import argparse
from pathlib import Path

from evenspike.cli import terminal, train
from evenspike.cli.bar import Bar
from evenspike.cli.parser import DATA_HELP


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("--run", type=Path, dest="folder", help="folder of the run")
    parser.add_argument("--checkpoint", type=Path, help="or a file of weights; with --recipe")
    parser.add_argument("--recipe", help="that says which network the weights are of")
    parser.add_argument("--data", type=Path, help=DATA_HELP)
    parser.add_argument(
        "--out", type=Path, help="folder for the Program and its card; default: the run's"
    )
    parser.add_argument("--notes", default="", help="a sentence for the card")
    parser.set_defaults(extras="train")


def run(arguments: argparse.Namespace) -> int:
    """Export it."""
    if (arguments.folder is None) == (arguments.checkpoint is None):
        arguments.parser.error("give --run, or --checkpoint with --recipe")
    if (arguments.recipe is None) != (arguments.checkpoint is None):
        arguments.parser.error("--checkpoint and --recipe go together")
    if arguments.checkpoint is not None:
        return _checkpoint(arguments)
    from evenspike.flows.train import export

    with Bar() as bar:
        found = export(
            arguments.folder,
            arguments.out,
            data=arguments.data,
            notes=arguments.notes,
            progress=bar,
        )
    train.tell(found, str(found.file), arguments.data)
    return 0


def _checkpoint(arguments: argparse.Namespace) -> int:
    """Weights of a file, proved on a few images like any network that is imported."""
    from evenspike.flows.imports import import_checkpoint

    found = import_checkpoint(arguments.checkpoint, arguments.recipe, data=arguments.data)
    console = terminal.console()
    console.print(str(found.proof), soft_wrap=True)
    file = found.save(arguments.out or Path("build/import"))
    console.print(f"wrote {file}", soft_wrap=True)
    return 0
