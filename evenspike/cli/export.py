"""`evenspike export`: turn a trained run into a Program."""

from __future__ import annotations

import argparse
from pathlib import Path

from evenspike.cli import train
from evenspike.cli.bar import Bar
from evenspike.cli.parser import DATA_HELP


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("--run", type=Path, dest="folder", required=True, help="folder of the run")
    parser.add_argument("--data", type=Path, help=DATA_HELP)
    parser.add_argument(
        "--out", type=Path, help="folder for the Program and its card; default: the run's"
    )
    parser.add_argument("--notes", default="", help="a sentence for the card")
    parser.set_defaults(extras="train")


def run(arguments: argparse.Namespace) -> int:
    """Export it."""
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
