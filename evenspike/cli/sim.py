"""`evenspike sim`: run a network, or a trace of spikes, on the cycle model.

Every image is compared with the integer reference. The report goes into a folder of its own.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evenspike.cli import explore, terminal
from evenspike.cli.bar import Bar
from evenspike.cli.parser import batch_option, machine_options, parallel_options
from evenspike_core.errors import EvenspikeError
from evenspike_core.progress import Progress

if TYPE_CHECKING:
    from evenspike.flows.simulate import Run

MODEL = "vgg16"
IMAGES = 20
RTL_IMAGES = 2
"""Images that the RTL runs as well, where its simulator is built: seconds each."""


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument(
        "--model", help=f"a ticket, a run or a .safetensors file (default: {MODEL})"
    )
    parser.add_argument(
        "--images", type=int, help=f"how many (default: {IMAGES}, or all there are)"
    )
    machine_options(parser)
    batch_option(parser)
    parser.add_argument("--out", type=Path, default=Path("build/sim"), help="folder of the reports")
    parallel_options(parser)
    parser.add_argument(
        "--rtl", type=int, help=f"images that the RTL runs, where built (default: {RTL_IMAGES})"
    )
    parser.add_argument("--json", action="store_true", help="print the report's JSON, nothing else")
    trace = parser.add_argument_group("design exploration, instead of a model")
    trace.add_argument("--trace", type=Path, help=".npz with the spikes that come into each layer")
    trace.add_argument(
        "--layers", type=Path, help="TOML that describes the layers (docs/traces.md)"
    )
    trace.add_argument("--timesteps", type=int, help="of masks, or drawn (default: theirs; ARCH's)")
    trace.add_argument(
        "--density",
        help="percent of living weights: one number, or one a layer (default: for 12 layers that "
        "are not described, VGG-16's conv2 to conv13 at 98.2 %% sparsity: "
        "40.9,25.5,16,10,6.25,3.91,2.44,1.53,0.96,0.6,0.37,0.23)",
    )
    trace.add_argument(
        "--balanced",
        action="store_true",
        help="as many weights in each filter of a group of as many as PEs, as u-Ticket has",
    )
    trace.add_argument("--rate", type=float, help="draw the spikes too: percent of timesteps")
    trace.add_argument("--seed", type=int, help="of the drawn masks and spikes (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Run it; 1 where a spike differs."""
    if explore.asked(arguments):
        return explore.run(arguments)
    if arguments.seed is not None:
        raise EvenspikeError("--seed belongs to a trace: a model draws nothing")
    if arguments.rtl is not None and arguments.rtl < 0:
        raise EvenspikeError(f"--rtl {arguments.rtl}: 0 images or more")
    return _model(arguments)


def _model(arguments: argparse.Namespace) -> int:
    from evenspike.flows.images import images
    from evenspike.flows.models import check_name, load
    from evenspike.flows.prepare import pack
    from evenspike.flows.simulate import against_natural_order, simulate
    from evenspike_core.arch import preset
    from evenspike_core.files import check_folder

    began = time.perf_counter()
    arch = preset(arguments.arch)
    program = load(MODEL if arguments.model is None else arguments.model)
    with Bar() as progress:
        given = images(arguments.images, program, arguments.data, progress)
    if arguments.images is None:
        given = given[:IMAGES]
    check_name(program)
    folder = arguments.out / program.name
    check_folder(folder)
    for warning in arch.warnings():
        print(f"evenspike: {warning}", file=sys.stderr)
    with Bar() as progress:
        packed = pack(
            program, arch, mapping=arguments.mapping, batch=arguments.batch, progress=progress
        )
        prepared = time.perf_counter() - began
        found = simulate(
            packed,
            given,
            jobs=arguments.jobs or 0,
            backend=arguments.backend or "threading",
            progress=progress,
        )
        if arguments.mapping != "natural":
            found = against_natural_order(found)
        count = min(RTL_IMAGES if arguments.rtl is None else arguments.rtl, len(given))
        hint = ""
        if count:
            found, hint = _rtl(arguments, found, count, progress)
    found = replace(found, seconds={"prepare": prepared, **found.seconds})
    return terminal.show_run(found, folder, json_only=arguments.json, hint=hint)


def _rtl(
    arguments: argparse.Namespace, found: Run, count: int, progress: Progress
) -> tuple[Run, str]:
    """The run with what the RTL says about its first images, if its engine is built; and a line.

    Whatever the engine meets, the cycle model's run is worth its report.
    """
    try:
        from evenspike.flows import cosim
    except ModuleNotFoundError:
        usable = False
    else:
        usable = cosim.built(found.packed)
    if not usable:
        other = "" if arguments.arch == "packed" else f" ARCH={arguments.arch}"
        return found, (
            "RTL: not run, since its simulator is not built; "
            f"`make cosim MODEL={arguments.model or MODEL}{other}` builds it, once, and "
            "from then on it runs here, too"
        )
    try:
        found = cosim.with_rtl(found, count, jobs=arguments.jobs or 0, progress=progress)
    except EvenspikeError as error:
        return found, f"RTL: not run: {error}"
    except Exception as error:  # noqa: BLE001 - a broken engine may do anything
        return found, f"RTL: its simulator failed: {error!r}"
    return found, f"RTL: {cosim.sentence(found)}"
