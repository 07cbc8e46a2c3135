"""`evenspike bitstream`: a board's bitstream, its clock and what it takes."""

from __future__ import annotations

import argparse
import shutil
from typing import Any

from rich.table import Table

from evenspike.cli import terminal
from evenspike.cli.synthesis import steps
from evenspike.report import pages as reports
from evenspike_core.arch import preset
from evenspike_core.errors import EvenspikeError
from evenspike_hw.board.boards import board
from evenspike_hw.board.build import build
from evenspike_hw.board.index import keep, read_index


def bitstream(arguments: argparse.Namespace) -> int:
    """The `bitstream` verb; returns the exit status."""
    console = terminal.console()
    design = board(arguments.board)
    arch = preset(arguments.arch or design.arch)
    words = design.words if arguments.words is None else arguments.words
    if words < 1:
        raise EvenspikeError(f"{words} words of memory, possible are 1 and more")
    seeds = design.seeds if arguments.seeds is None else arguments.seeds
    reports.check_folder(arguments.out)
    if arguments.keep is not None:
        if (arguments.arch, arguments.words, arguments.seeds) != (None, None, None):
            raise EvenspikeError(
                f"{arguments.keep} keeps the boards' own designs only: no ARCH, WORDS or SEEDS"
            )
        reports.check_folder(arguments.keep)
        read_index(arguments.keep)
    with steps(console, arguments.board) as progress:
        found = build(arguments.board, arch, words, seeds, arguments.out / "work", progress)
    file = arguments.out / found.file.name
    shutil.copyfile(found.file, file)
    target = arguments.out / f"{arguments.board}.json"
    reports.write_json(found.report, target)
    console.print(table(found.report))
    console.print(f"written: {file}, {target}", soft_wrap=True)
    if arguments.keep is not None:
        console.print(f"{arguments.keep}: {keep(found, arguments.keep)}", soft_wrap=True)
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
