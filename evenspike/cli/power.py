"""`evenspike power`: power of a part's netlist in a layer of a real image.

Every net switches as it did on the RTL; the figures are by block, beside those of the table of
actions, with busy and waiting cycles of a PE apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from evenspike.cli import terminal
from evenspike.cli.bar import Bar
from evenspike.cli.parser import machine_options


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument(
        "--model",
        default="vgg16-small",
        help="a ticket, a run or a .safetensors file (default: vgg16-small)",
    )
    parser.add_argument("--layer", help="its name (default: that with the most busy PE-cycles)")
    parser.add_argument("--part", default="pe", help="pe, apu or top (default: pe)")
    parser.add_argument("--pe", type=int, help="which PE (default: the one nearest to the mean)")
    parser.add_argument("--image", type=int, default=0, help="its place in the set (default: 0)")
    parser.add_argument(
        "--liberty", type=Path, help="standard cells (default: those of Debian's qflow-tech-osu018)"
    )
    parser.add_argument(
        "--clock", type=float, default=50.0, help="MHz at which powers are written (default: 50)"
    )
    machine_options(parser)
    parser.add_argument("--out", type=Path, default=Path("build/power"))
    parser.set_defaults(extras="hw,cosim")


def run(arguments: argparse.Namespace) -> int:
    """Measure it."""
    from evenspike.flows.power import power
    from evenspike.report.power import pages
    from evenspike_core.files import check_folder

    check_folder(arguments.out)
    with Bar() as progress:
        found = power(
            arguments.model,
            arguments.layer,
            arguments.part,
            arguments.arch,
            liberty=arguments.liberty,
            image=arguments.image,
            pe=arguments.pe,
            data=arguments.data,
            mapping=arguments.mapping,
            clock_mhz=arguments.clock,
            cache=arguments.out / "cache",
            progress=progress,
        )
    files = found.save(arguments.out)
    console = terminal.console()
    console.print(pages.table(found.result))
    console.print("written: " + ", ".join(map(str, files)), soft_wrap=True)
    return 0
