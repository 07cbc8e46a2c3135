"""`evenspike verilog`: Verilog of the accelerator, with what a design around it has to know."""

from __future__ import annotations

import argparse
from pathlib import Path

from evenspike.cli import terminal
from evenspike.cli.bar import Bar
from evenspike.cli.parser import ARCH_HELP


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("--arch", default="packed", help=ARCH_HELP)
    parser.add_argument("--out", type=Path, default=Path("build/verilog"))
    parser.set_defaults(extras="hw")


def run(arguments: argparse.Namespace) -> int:
    """Write it."""
    from evenspike.flows.verilog import verilog

    with Bar() as progress:
        files = verilog(arguments.arch, arguments.out, progress)
    console = terminal.console()
    console.print("written: " + ", ".join(map(str, files)), soft_wrap=True)
    return 0
