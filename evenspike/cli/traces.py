"""`evenspike traces`: the spikes of one image, and the masks, for other people's simulators.

`npz` is what `evenspike sim --trace` reads; docs/peers.md says what the others are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from evenspike.cli import terminal
from evenspike.cli.parser import INPUTS_HELP
from evenspike_core.errors import EvenspikeError
from evenspike_core.exchange import FORMATS


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("--model", help="a ticket, a run or a .safetensors file (default: vgg16)")
    parser.add_argument("--image", type=int, help="which of its images, from 0 (default: 0)")
    parser.add_argument("--data", type=Path, help=INPUTS_HELP)
    parser.add_argument("--trace", type=Path, help="or the .npz of a trace, in another format")
    parser.add_argument(
        "--layers", type=Path, help="of --trace: TOML that describes the layers (docs/traces.md)"
    )
    parser.add_argument("--timesteps", type=int, help="of --trace: of its masks")
    parser.add_argument("--format", default="npz", choices=FORMATS, help="default: npz")
    parser.add_argument(
        "--out", type=Path, default=Path("build/traces"), help="folder (default: build/traces)"
    )
    parser.set_defaults(extras="train")


def run(arguments: argparse.Namespace) -> int:
    """Write them."""
    from evenspike.flows.images import images
    from evenspike.flows.models import load
    from evenspike.flows.traces import of_trace, record, write

    if arguments.trace is None:
        for name in ("layers", "timesteps"):
            if getattr(arguments, name) is not None:
                raise EvenspikeError(f"--{name} belongs to --trace")
        program = load("vgg16" if arguments.model is None else arguments.model)
        given = images(None, program, arguments.data)
        found = record(program, arguments.image or 0, given)
    else:
        for name in ("model", "image", "data"):
            if getattr(arguments, name) is not None:
                raise EvenspikeError(f"--{name} and --trace exclude each other")
        found = of_trace(arguments.trace, arguments.layers, arguments.timesteps)
    written = write(found, arguments.format, arguments.out)
    console = terminal.console()
    console.print(f"{found.name}: {written.layers} layers, {written.spikes:,} spikes into them")
    if written.left_out:
        names = ", ".join(written.left_out)
        console.print(f"left out, since averages come into them: {names}", soft_wrap=True)
    console.print("written: " + ", ".join(map(str, written.files)), soft_wrap=True)
    return 0
