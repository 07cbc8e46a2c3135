"""`evenspike compare`: networks on a grid of machines.

A table, a plot and a JSON of cycles, utilization, energy and area: `--arch "packed,pes=4|8|16"`
with `--set fifo_depth=16,64` is a grid of six machines.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from evenspike.cli import terminal
from evenspike.cli.bar import Bar
from evenspike.cli.parser import INPUTS_HELP, parallel_options
from evenspike_core.errors import EvenspikeError


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("--model", default="vgg16-small", help="tickets, runs or files: a,b")
    parser.add_argument(
        "--arch", default="packed", help="presets and fields with their values: packed,pes=4|8|16"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE,...",
        help="another field of the Arch, once for each: fifo_depth=16,64",
    )
    parser.add_argument("--images", type=int, help="how many (default: 5, or all there are)")
    parser.add_argument("--data", type=Path, help=INPUTS_HELP)
    parser.add_argument("--mapping", default="cost", choices=("cost", "natural"))
    parallel_options(parser, "loky")
    parser.add_argument("--out", type=Path, default=Path("build/compare"))
    parser.add_argument("--json", action="store_true", help="print the JSON, nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Compare them; 1 where a spike differs from the reference."""
    from evenspike.flows.compare import compare, grid
    from evenspike.flows.models import load
    from evenspike.report.machines import table
    from evenspike_core.files import check_folder

    programs = [load(name) for name in arguments.model.split(",")]
    archs = grid(arguments.arch, _fields(arguments.set))
    check_folder(arguments.out)
    with Bar() as progress:
        found = compare(
            programs,
            archs,
            arguments.images,
            mapping=arguments.mapping,
            jobs=arguments.jobs or 0,
            backend=arguments.backend or "loky",
            folder=arguments.data,
            progress=progress,
        )
    files = found.save(arguments.out)
    if arguments.json:
        print(json.dumps(found.to_dict()))
    else:
        console = terminal.console()
        console.print(table(found.to_dict()))
        console.print("written: " + ", ".join(map(str, files)), soft_wrap=True)
    return 0 if found.bit_exact else 1


def _fields(texts: list[str]) -> dict[str, list[str]]:
    """{"fifo_depth": ["16", "64"]} of "fifo_depth=16,64"."""
    found: dict[str, list[str]] = {}
    for text in texts:
        field, sign, values = text.partition("=")
        if not sign or not all(values.split(",")):
            raise EvenspikeError(f"--set {text!r} is not FIELD=VALUE,...")
        if field in found:
            raise EvenspikeError(f"--set {field}: given twice")
        found[field] = values.split(",")
    return found
