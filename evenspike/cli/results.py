"""`evenspike results`: figures that compare the runs of sweeps.

With `--make RECIPE` the sweeps that `evenspike.report.comparison.plan` has for it are run first.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
from pathlib import Path

from evenspike.cli import sweep, terminal, train
from evenspike.cli.parser import DATA_HELP, Parser
from evenspike_core.errors import EvenspikeError

RUNS = Path("runs/sweep")
PAGES = Path("docs/results")
OWN_PAGES = Path("build/results")


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help="default: all, and an index")
    parser.add_argument(
        "--runs",
        type=Path,
        action="append",
        help="folder of a sweep, once for each (default: runs/sweep)",
    )
    parser.add_argument("--make", metavar="RECIPE", help="first run this recipe's sweeps there")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the pages (default: build/results; --make: docs/results)",
    )
    parser.add_argument("--jobs", type=int, help="of --make: runs at a time (default: 1)")
    parser.add_argument("--data", type=Path, help=f"of --make: {DATA_HELP}")
    parser.add_argument("--device", help="of --make: torch device")
    parser.set_defaults(extras="train", again="the same command goes on where it stopped")


def run(arguments: argparse.Namespace) -> int:
    """Draw them.  A run that fails leaves its row empty and is named in the index: no error."""
    from evenspike.flows.results import check_figures, results
    from evenspike.report.comparison.plan import STUDIES
    from evenspike_core.files import check_folder

    runs = arguments.runs or [RUNS]
    out = arguments.out or (OWN_PAGES if arguments.make is None else PAGES)
    check_figures(arguments.figures)
    if arguments.make is not None and arguments.make not in STUDIES:
        raise EvenspikeError(
            f"results: {arguments.make!r} has no plan; there are {', '.join(STUDIES)}"
        )
    if arguments.make is not None and len(runs) != 1:
        raise EvenspikeError(f"results: {len(runs)} folders of runs; --make takes one")
    if arguments.make is None:
        for key in ("jobs", "data", "device"):
            if getattr(arguments, key) is not None:
                raise EvenspikeError(f"results: --{key} goes with --make")
    else:
        importlib.import_module("torch")  # an error now, not after the folder is made
    check_folder(out)
    if arguments.make is not None:
        if STUDIES[arguments.make].companion:
            _companion(STUDIES[arguments.make].companion, arguments)
        for command in STUDIES[arguments.make].commands:
            _sweep(command, runs[0], arguments)
    found = results(runs, out, arguments.figures)
    console = terminal.console()
    console.print(f"{found.finished} finished runs, {found.others} others")
    console.print("written: " + ", ".join(map(str, found.files)), soft_wrap=True)
    return 0


def _companion(recipe: str, arguments: argparse.Namespace) -> None:
    """Train the run that a study's methods look at; one that has finished stays."""
    parser = Parser(prog="evenspike train")
    train.options(parser)
    train.run(parser.parse_args([recipe, *_given(arguments, "data", "device")]))


def _sweep(command: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Run one sweep of the plan, which is written as a command line."""
    words = [*shlex.split(command)[2:], "--out", str(folder)]
    words += _given(arguments, "jobs", "data", "device")
    parser = Parser(prog="evenspike sweep")
    sweep.options(parser)
    sweep.run(parser.parse_args(words))


def _given(arguments: argparse.Namespace, *keys: str) -> list[str]:
    """Those of these options that were given, as words of a command line."""
    values = {key: getattr(arguments, key) for key in keys}
    return [
        word
        for key, value in values.items()
        if value is not None
        for word in (f"--{key}", str(value))
    ]
