"""`evenspike report`: write the pages of a report.json again.

The trace stays; the pictures of the images, which are not in the JSON, are gone from the page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from evenspike.cli import terminal


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("--out", type=Path, default=Path("build/sim/vgg16"), help="its folder")


def run(arguments: argparse.Namespace) -> int:
    """Read, render and write it; the trace stays."""
    from evenspike.report.pages import Report

    report = Report.load(arguments.out)
    report.save(arguments.out)
    terminal.console().print(report.summary())
    return 0
