"""`evenspike reproduce`: the u-Ticket paper's tables and figures, measured and set beside it.

Networks with masks that are fitted to the paper's, in its convention and on the cycle model; each
row has a verdict.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from evenspike.cli import terminal
from evenspike.cli.bar import Bar
from evenspike.cli.parser import parallel_options


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument(
        "--out", type=Path, default=Path("build"), help="folder of reproduce.json (build)"
    )
    parser.add_argument(
        "--docs",
        type=Path,
        help="folder of paper.md and its plots (docs/results; with --quick that of --out)",
    )
    parser.add_argument("--ratio", type=float, help="E_d / E_l of Eq. 3 (default: 4.75, fitted)")
    parser.add_argument("--power", type=Path, help="JSON with a measured E_d / E_l")
    parser.add_argument(
        "--quick", action="store_true", help="narrow networks and few runs, to see that it works"
    )
    parallel_options(parser, "loky")
    parser.set_defaults(again="the same command goes on where it stopped")


def run(arguments: argparse.Namespace) -> int:
    """Measure, write, and say how many rows agree."""
    from evenspike.flows.reproduce import reproduce

    with Bar() as bar:
        found = reproduce(
            arguments.out,
            arguments.docs or (arguments.out if arguments.quick else Path("docs/results")),
            quick=arguments.quick,
            ratio=arguments.ratio,
            power=arguments.power,
            jobs=arguments.jobs or 0,
            backend=arguments.backend or "loky",
            progress=bar,
        )
    console = terminal.console()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in found.verdicts.items())
    console.print(f"rows: {counts}; {found.seconds / 60:.1f} minutes")
    console.print("written: " + ", ".join(map(str, found.files)), soft_wrap=True)
    runs = [*found.record["runs"], *(run for one in found.record["tickets"] for run in one["runs"])]
    wrong = [one for one in runs if not one.get("bit_exact")]
    for one in wrong:
        why = one.get("error", "its spikes are not the reference's")
        print(f"evenspike: {one['arch']}, {one.get('network', 'ticket')}: {why}", file=sys.stderr)
    return 1 if wrong else 0
