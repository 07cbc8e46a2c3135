"""`evenspike synth`: area, longest path and clock of a part of the RTL."""

from __future__ import annotations

import argparse
from pathlib import Path

from evenspike.cli import terminal
from evenspike.cli.bar import Bar
from evenspike.cli.parser import ARCH_HELP
from evenspike_core.errors import EvenspikeError


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument(
        "--part", default="pe", help="pe, apu, array, top, or a block (default: pe)"
    )
    parser.add_argument(
        "--target", default="generic", help="generic, ecp5, ice40, xilinx, gowin (default: generic)"
    )
    parser.add_argument("--arch", default="packed", help=ARCH_HELP)
    parser.add_argument("--liberty", type=Path, help="standard cells, instead of generic gates")
    parser.add_argument(
        "--route",
        action=argparse.BooleanOptionalAction,
        help="place and route, for the clock (default: on ecp5, of parts that are quick)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the placement (default: 1)")
    parser.add_argument("--study", action="store_true", help="what the design's choices cost")
    parser.add_argument("--docs", type=Path, help="Markdown file that the study is put into, too")
    parser.add_argument("--out", type=Path, default=Path("build/synth"))
    parser.set_defaults(extras="hw")


def run(arguments: argparse.Namespace) -> int:
    """Synthesise it."""
    if arguments.study:
        return _study(arguments)
    if arguments.docs is not None:
        raise EvenspikeError(f"--docs {arguments.docs}: only a study (--study) is put into a file")
    from evenspike.flows.synth import synth
    from evenspike.report.area import pages
    from evenspike_core.files import check_folder

    check_folder(arguments.out)
    with Bar() as progress:
        found = synth(
            arguments.part,
            arguments.target,
            arguments.arch,
            liberty=arguments.liberty,
            route=arguments.route,
            seed=arguments.seed,
            cache=arguments.out / "cache",
            progress=progress,
        )
    files = found.save(arguments.out)
    console = terminal.console()
    console.print(pages.table(found.result))
    if found.cached:
        seconds = found.result["seconds"]
        console.print(f"nothing has changed since it was synthesised ({seconds} s)")
    console.print("written: " + ", ".join(map(str, files)), soft_wrap=True)
    return 0


def _study(arguments: argparse.Namespace) -> int:
    from evenspike.flows.study import study
    from evenspike.report.area.study import tables

    with Bar() as progress:
        found = study(arguments.out, arguments.docs, progress)
    console = terminal.console()
    console.print(tables(found.figures))
    console.print(
        f"{found.syntheses} syntheses in {found.seconds} s, {found.cached} of them from the cache"
    )
    console.print("written: " + ", ".join(map(str, found.files)), soft_wrap=True)
    return 0
