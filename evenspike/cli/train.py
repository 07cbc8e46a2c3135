"""`evenspike train`: train and prune by a recipe; goes on with what is there.

At its end it exports the Program, if the network gives one.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenspike.cli import terminal
from evenspike.cli.bar import Bar
from evenspike.cli.parser import DATA_HELP
from evenspike_core.errors import EvenspikeError

if TYPE_CHECKING:
    from evenspike.flows.train import Trained


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("recipe", nargs="*", help="a shipped recipe, or a .toml file")
    parser.add_argument("--recipe", dest="file", help="the same, as an option")
    parser.add_argument("--bits", type=int, help="of quantised weights, instead of the recipe's")
    parser.add_argument(
        "--activity", type=float, help="factor of the firing rate in the loss, not the recipe's"
    )
    run_options(parser)


def run_options(parser: argparse.ArgumentParser) -> None:
    """What takes the place of a recipe's values, and where and on what a run trains."""
    parser.add_argument("--method", help="instead of the recipe's: imp, early-bird+early-time, ...")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument("--rounds", type=int, help="of the ladder, instead of the recipe's")
    parser.add_argument("--sparsity", type=float, help="to reach, instead of the recipe's")
    parser.add_argument("--pes", type=int, help="filters balanced together, not the recipe's")
    parser.add_argument("--run", type=Path, dest="folder", help="folder of the run; default: runs/")
    parser.add_argument("--data", type=Path, help=DATA_HELP)
    parser.add_argument("--device", help="torch device; default: a GPU if there is one")
    parser.add_argument(
        "--threads", type=int, default=0, help="CPU threads; default: torch's choice"
    )
    parser.set_defaults(extras="train", again="the same command goes on where it stopped")


def run(arguments: argparse.Namespace) -> int:
    """Train, and export."""
    names = [name for name in (*arguments.recipe, arguments.file) if name is not None]
    if len(names) != 1:
        raise EvenspikeError(f"train: {len(names)} recipes given; one is needed")
    from evenspike.flows.train import train

    with Bar() as bar:
        found = train(
            names[0],
            **given(arguments),
            bits=arguments.bits,
            activity=arguments.activity,
            progress=bar,
            say=bar.print,
        )
    report(found, arguments.data)
    return 0


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The values of `run_options`, as the flows name them."""
    names = ("folder", "method", "seed", "rounds", "sparsity", "pes", "data", "device", "threads")
    return {name: getattr(arguments, name) for name in names}


def report(found: Trained, data: Path | None) -> None:
    """Say what a run came to."""
    console = terminal.console()
    if not found.trained:
        text = "has finished, and nothing is trained; --run names another folder"
        console.print(f"{found.folder}: {text}", soft_wrap=True)
    if found.file is not None:
        tell(found, str(found.folder), data)
    else:
        console.print(
            f"{found.folder}: trained; it gives no Program: {found.reason}", soft_wrap=True
        )
        share = found.validation_accuracy
        console.print(f"{share:.2f} % on the images held out for validation", soft_wrap=True)


def tell(found: Trained, model: str, data: Path | None) -> None:
    """Say what there is, and what to do with it."""
    assert found.program is not None  # noqa: S101 - who asks has one
    console = terminal.console()
    if found.proof is not None:
        console.print(str(found.proof), soft_wrap=True)
    console.print(f"{found.file}: {found.accuracy:.2f} % on the test set, integers", soft_wrap=True)
    elsewhere = data is not None and found.program.provenance["dataset"] != "fmnist"
    own = ["--data", str(data)] if elsewhere else []
    command = shlex.join(["evenspike", "sim", "--model", model, *own])
    console.print(f"next: {command}", soft_wrap=True)
