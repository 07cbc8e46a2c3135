"""`evenspike bitstream`: build a board's bitstream."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.table import Table

from evenspike.cli import terminal
from evenspike.cli.bar import Bar


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("--board", default="ulx3s-85f", help="(default: ulx3s-85f)")
    parser.add_argument("--arch", help="default: what fits the board")
    parser.add_argument("--words", type=int, help="64-bit words of the board's memory")
    parser.add_argument("--seeds", type=int, help="placements to try")
    parser.add_argument("--out", type=Path, default=Path("build/bitstream"))
    parser.add_argument(
        "--keep", type=Path, help="folder for the file and its entry in index.json: bitstreams"
    )
    parser.set_defaults(extras="hw,boards")


def run(arguments: argparse.Namespace) -> int:
    """Build it."""
    from evenspike.flows.synth import bitstream

    with Bar() as progress:
        found = bitstream(
            arguments.board,
            arch=arguments.arch,
            words=arguments.words,
            seeds=arguments.seeds,
            out=arguments.out,
            keep=arguments.keep,
            progress=progress,
        )
    console = terminal.console()
    console.print(table(found.report))
    target = arguments.out / f"{arguments.board}.json"
    console.print(f"written: {found.file}, {target}", soft_wrap=True)
    if found.kept:
        console.print(f"{arguments.keep}: {found.kept}", soft_wrap=True)
    return 0


def table(report: dict[str, Any]) -> Table:
    """What it takes of the device, and the clocks of all placements."""
    view = Table(box=None, pad_edge=False, header_style="dim", title_justify="left")
    view.title = (
        f"{report['board']} ({report['device']}), accelerator {report['arch']['preset']}: "
        f"{report['fmax_mhz']} MHz, runs at {report['clock_mhz']:g}"
    )
    for head in ("resource", "used", "of", "share"):
        view.add_column(head, justify="left" if head == "resource" else "right")
    for name, counts in report["resources"].items():
        used, available = counts["used"], counts["available"]
        view.add_row(name, f"{used:,}", f"{available:,}", f"{used / available:.1%}")
    clocks = ", ".join(f"{seed}: {mhz}" for seed, mhz in report["fmax_by_seed"].items())
    view.caption = f"MHz by seed of the placement: {clocks}"
    view.caption_justify = "left"
    return view
