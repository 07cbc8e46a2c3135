"""`evenspike cosim`: run a network on the RTL and on the cycle model.

Every spike, counter and cycle is compared; the first difference gets a waveform around it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from evenspike.cli import terminal
from evenspike.cli.bar import Bar
from evenspike.cli.parser import batch_option, machine_options

IMAGES = 10


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument(
        "--model", default="vgg16", help="a ticket, a run or a .safetensors file (default: vgg16)"
    )
    parser.add_argument(
        "--images", type=int, help=f"how many (default: {IMAGES}, or all there are)"
    )
    machine_options(parser)
    batch_option(parser)
    parser.add_argument("--out", type=Path, default=Path("build/cosim"))
    parser.add_argument("--jobs", type=int, default=0, help="images at a time (default: cores)")
    parser.add_argument("--pysim", action="store_true", help="time Amaranth's simulator, too")
    parser.set_defaults(extras="hw,cosim")


def run(arguments: argparse.Namespace) -> int:
    """Run it; 1 where anything differs."""
    from evenspike.flows.cosim import cosim, pysim_speed, sentence, waveform
    from evenspike.flows.images import images
    from evenspike.flows.models import check_name, load
    from evenspike.flows.prepare import pack
    from evenspike.report.contents import machine
    from evenspike_core.arch import preset
    from evenspike_core.files import check_folder, discard, write_json

    arch, program = preset(arguments.arch), load(arguments.model)
    given = images(arguments.images, program, arguments.data)
    if arguments.images is None:
        given = given[:IMAGES]
    check_name(program)
    check_folder(arguments.out)
    target = arguments.out / f"{program.name}.json"
    discard(target)  # a run that fails leaves no verdict of an earlier one
    console = terminal.console()
    with Bar() as progress:
        packed = pack(
            program, arch, mapping=arguments.mapping, batch=arguments.batch, progress=progress
        )
        found = cosim(packed, given, jobs=arguments.jobs, progress=progress)
        rtl = found.rtl
        assert rtl is not None  # noqa: S101 - what `cosim` is for
        content: dict[str, Any] = {
            "model": program.name,
            "arch": {"preset": arch.preset, "digest": arch.digest},
            "engine": rtl.engine,
            "images": rtl.images,
            "batch": packed.batch,
            "differences": rtl.differences,
            "bit_exact": found.bit_exact,
            "compared": {"spikes": rtl.spikes, "counters": rtl.counters},
            "rtl_cycles": rtl.cycles,
            "rtl_cycles_per_second": rtl.cycles / rtl.seconds,
            "latency_cycles": found.latency,
            "cycles_per_image": found.cycles,
            "seconds_per_image": rtl.seconds / rtl.images,
            "build_seconds": rtl.build_seconds,
            "machine": machine(),
        }
        if found.divergence is not None:
            content["first_difference"] = found.divergence
            console.print(found.divergence, soft_wrap=True)
        if rtl.first is not None and rtl.engine == "compiled":
            write_json(content, target)  # the verdict, whatever the waveform does
            index = found.outcomes[rtl.at or 0].index
            waves = waveform(found, arguments.out / f"{program.name}-image{index}.vcd")
            content["waveform"] = str(waves)
            console.print(f"waveform around it: {waves}", soft_wrap=True)
        slower = ""
        if arguments.pysim:
            progress("running the same design on Amaranth's own simulator", 0, None)
            speed = pysim_speed(packed, given.pixels[0])
            content["pysim_cycles_per_second"] = speed
            slower = f"; Amaranth's own simulator: {speed:,.0f} cycles a second"
    write_json(content, target)
    console.print(sentence(found) + slower, soft_wrap=True)
    console.print(f"written: {target}", soft_wrap=True)
    return 0 if found.bit_exact else 1
