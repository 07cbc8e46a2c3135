"""`evenspike tables`: the ADMM paper's tables on MNIST, trained and set beside what it states."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from evenspike.cli import sweep, terminal
from evenspike.cli.bar import Bar
from evenspike.cli.parser import DATA_HELP


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help="II to VII, or bars (default: all)"
    )
    parser.add_argument(
        "--recipe", default="lenet5-mnist-short", help="default: lenet5-mnist-short"
    )
    parser.add_argument("--seeds", default="1-3", help="1-5, or 1,4,7 (default: 1-3)")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/admm"), help="folder of the runs (runs/admm)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("docs/results"), help="of the page (docs/results)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--data", type=Path, help=DATA_HELP)
    parser.add_argument("--device", help="torch device; default: a GPU if there is one")
    parser.set_defaults(extras="train", again="the same command goes on where it stopped")


def run(arguments: argparse.Namespace) -> int:
    """Train what is missing, and write the page; 1 if a run has failed."""
    from evenspike.flows.tables import tables

    console = terminal.console()
    with Bar() as bar:
        found = tables(
            arguments.tables,
            recipe=arguments.recipe,
            seeds=sweep.integers("seeds", arguments.seeds),
            folder=arguments.runs,
            out=arguments.out,
            jobs=arguments.jobs,
            data=arguments.data,
            device=arguments.device,
            progress=bar,
            done=lambda name, error: bar.print(f"{name}: {error or 'trained'}"),
        )
    for one in found.figure["bars"]:
        if one["measured"] is not None:
            met = "met" if one["met"] else "MISSED"
            text = f"{one['bar']}: {one['measured']:.2f}, {one['kind']} {one['limit']:g}: {met}"
            console.print(text, soft_wrap=True)
    console.print("written: " + ", ".join(map(str, found.files)), soft_wrap=True)
    for name, error in found.failed.items():
        print(f"evenspike: {name}: {error}", file=sys.stderr)
    return 1 if found.failed else 0
