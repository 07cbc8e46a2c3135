"""`evenspike finetune`: train a finished ticket on; goes on with what is there.

At its end it exports the Program.
"""

from __future__ import annotations

import argparse

from evenspike.cli import train
from evenspike.cli.bar import Bar


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument(
        "source",
        nargs="?",
        help="a shipped ticket, a Program's file, or a run's folder; default: the recipe's",
    )
    parser.add_argument(
        "--recipe", default="finetune", help="a shipped recipe, or a .toml file (default: finetune)"
    )
    parser.add_argument("--teacher", help="a network to learn from, named like the source")
    train.run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train on, and export."""
    from evenspike.flows.finetune import finetune

    with Bar() as bar:
        found = finetune(
            arguments.source,
            recipe=arguments.recipe,
            teacher=arguments.teacher,
            **train.given(arguments),
            progress=bar,
            say=bar.print,
        )
    train.report(found, arguments.data)
    return 0
