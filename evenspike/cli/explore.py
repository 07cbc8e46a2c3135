"""`evenspike sim --trace`: spikes from a file or drawn, on masks drawn at a density."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from evenspike.cli import terminal
from evenspike.report import contents
from evenspike.report import pages as reports
from evenspike_core import mapping, reference, workload
from evenspike_core.arch import Arch, preset
from evenspike_core.compare import Divergence, first_divergence
from evenspike_core.counters import LayerStatement
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Packed, pack
from evenspike_core.workload import Workload
from evenspike_sim.accelerator import Accelerator, LayerRun
from evenspike_sim.cost import layer_cost


def from_arguments(arguments: argparse.Namespace) -> Workload:
    """The workload that the options describe."""
    seed = 0 if arguments.seed is None else int(arguments.seed)
    if seed < 0:
        raise EvenspikeError(f"--seed {seed} is negative")
    if arguments.trace is None:
        if arguments.rate is None:
            raise EvenspikeError("--density needs --trace FILE, or --rate to draw the spikes")
        names: Sequence[str] = [f"conv{n + 2}" for n in range(len(workload.VGG16_SHAPES))]
        inputs = workload.draw_spikes(workload.VGG16_SHAPES, arguments.rate, seed)
    else:
        names, inputs = workload.read_trace(arguments.trace)
        if arguments.rate is not None:
            shapes = tuple((m.shape[0], m.shape[1], m.shape[2]) for m in inputs)
            inputs = workload.draw_spikes(shapes, arguments.rate, seed)
    return workload.build(names, inputs, _density(arguments.density), seed)


def _density(text: str | None) -> tuple[float, ...]:
    if text is None:
        return workload.FITTED_DENSITY
    try:
        return tuple(float(part) for part in text.replace("%", "").split(","))
    except ValueError as error:
        raise EvenspikeError(f"--density {text!r} is not numbers separated by commas") from error


def prepare(load: Workload, arch: Arch, *, natural: bool = False, rates: bool = True) -> Packed:
    """Map with the trace's own spikes as the calibration, and pack.

    rates: balance by the trace's firing rates; without, by weights and positions alone.
    """
    shares = [workload.active(masks) for masks in load.outputs] if rates else ()
    cost = layer_cost(arch, load.outputs)
    return pack(
        load.program, mapping.choose(load.program, arch, cost, shares, natural=natural), arch
    )


def run(load: Workload, packed: Packed) -> list[LayerRun]:
    """Every layer on its own array, one behind the other, with loads running ahead."""
    accelerator = Accelerator(packed)
    state = accelerator.fresh()
    return [
        accelerator.run_layer(index, [masks], state)
        for index, masks in enumerate(load.inputs, start=1)
    ]


def divergence(load: Workload, runs: Sequence[LayerRun]) -> Divergence | None:
    """The first difference from the reference, layer by layer on the same inputs."""
    for index, (masks, one) in enumerate(zip(load.inputs, runs, strict=True), start=1):
        wanted = reference.run_layer(load.program, index, {index - 1: masks}).masks
        found = first_divergence(
            [LayerStatement(one.name, one.cycles, wanted)],
            [contents.result(one)],
            ("reference", "model"),
        )
        if found is not None:
            return found
    return None


def assembled(
    load: Workload, packed: Packed, runs: Sequence[LayerRun], kind: str
) -> dict[str, Any]:
    """The report of a trace: no images, no predictions."""
    content = contents.contents(load.program, packed, 1, [runs], model="trace", mapping=kind)
    found = divergence(load, runs)
    content["bit_exact"] = found is None
    if found is not None:
        content["divergence"] = str(found)
    content["compared"] = {
        "spikes": sum(int(np.prod(run.masks.shape)) for run in runs) * load.program.timesteps,
        "layers": len(runs),
        "timesteps": load.program.timesteps,
    }
    content["accuracy"] = None
    content["predictions"] = []
    return content


def explore(arguments: argparse.Namespace) -> int:
    """The `sim` verb for a trace; returns the exit status."""
    console = terminal.console()
    if arguments.model is not None:
        raise EvenspikeError("--model and a trace (--trace, --rate, --density) exclude each other")
    for option in ("images", "data", "threads"):
        if getattr(arguments, option) is not None:
            raise EvenspikeError(f"--{option} belongs to a model, not to a trace")
    arch = preset(arguments.arch)
    load = from_arguments(arguments)
    folder = arguments.out / "trace"
    reports.check_folder(folder)
    began = time.perf_counter()
    with console.status("compiling the cycle model and mapping the layers (once: half a minute)"):
        packed = prepare(load, arch, natural=arguments.mapping == "natural")
    mapped = time.perf_counter()
    runs = run(load, packed)
    ended = time.perf_counter()
    content = assembled(load, packed, runs, arguments.mapping)
    content["seconds"] = {"prepare": mapped - began, "images": ended - mapped}
    reports.write(content, folder, None, None)
    console.print(reports.summary(content))
    console.print(f"report: {folder / 'report.html'} (.md, .json)", soft_wrap=True)
    return 0 if content["bit_exact"] else 1
