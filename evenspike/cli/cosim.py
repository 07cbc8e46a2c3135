"""`evenspike cosim`: a network on the RTL and on the cycle model, and the first difference."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.markup import escape

from evenspike import events, reference
from evenspike import report as reports
from evenspike.arch import Arch, preset
from evenspike.cli import assemble, models
from evenspike.cli.simulate import bar, images_of, prepare, threads_of
from evenspike.pack import Image
from evenspike.program import Program
from evenspike.report_schema import STATES
from evenspike_hw import compiled
from evenspike_hw.host import positions
from evenspike_hw.interpreted import cycles_per_second
from evenspike_hw.results import LayerTrace
from evenspike_hw.simulator import MemoryBehaviour, Simulator, Waves
from evenspike_sim.accelerator import Accelerator, LayerRun

IMAGES = 10
PYSIM_CYCLES = 300
"""Of the same design, for the comparison of speeds."""

MARGIN = 2000
"""Cycles before and after a difference that its waveform shows."""

NAMES = ("model", "RTL")


@dataclass(frozen=True)
class Comparison:
    """One image on both. spikes, counters: values compared; cycles, seconds: of the RTL."""

    divergence: events.Divergence | None
    spikes: int
    counters: int
    cycles: int
    seconds: float


def model_result(run: LayerRun) -> events.LayerResult:
    """All that the cycle model says about a layer and the RTL must say, too."""
    counters: dict[str, events.Value] = {state: getattr(run, state) for state in STATES}
    counters["accumulator overflow"] = run.accumulator_overflow.astype(np.int64)
    counters["membrane overflow"] = run.membrane_overflow.astype(np.int64)
    last = run.logits is not None
    return events.LayerResult(
        run.name, run.cycles, None if last else run.masks, run.logits, counters
    )


def rtl_result(trace: LayerTrace) -> events.LayerResult:
    counters: dict[str, events.Value] = dict(trace.states)
    counters["accumulator overflow"] = trace.accumulator_overflow.astype(np.int64)
    counters["membrane overflow"] = trace.membrane_overflow.astype(np.int64)
    last = trace.logits is not None
    return events.LayerResult(
        trace.name, trace.cycles, None if last else trace.masks, trace.logits, counters
    )


def compare(
    image: Image, model: Sequence[LayerRun], rtl: Sequence[LayerTrace]
) -> events.Divergence | None:
    """The first difference of an inference, with its place in the schedule, or None."""
    found = events.first_divergence(
        [model_result(run) for run in model], [rtl_result(trace) for trace in rtl], NAMES
    )
    return None if found is None else locate(image, rtl, found)


def locate(image: Image, rtl: Sequence[LayerTrace], found: events.Divergence) -> events.Divergence:
    """The divergence with where and when the RTL came to it: pass, tile, PE and cycle."""
    names = [layer.name for layer in image.layers]
    index = names.index(found.layer)
    ends = np.cumsum([trace.cycles for trace in rtl])
    if found.item != "mask" or found.neuron is None:
        span = f"the layer runs from cycle {ends[index] - rtl[index].cycles + 1} to {ends[index]}"
        return dataclasses.replace(
            found, message=f"{found.message}; {span} on the RTL", cycle=int(ends[index])
        )
    layer = image.layers[index]
    filter_, y, x = found.neuron
    block, pe = (int(n[0]) for n in np.nonzero(layer.blocks == filter_))
    windows = positions(layer)[:: layer.pool**2] // np.array([1, layer.pool, layer.pool])
    at = int(np.flatnonzero((windows == (block, y, x)).all(axis=1))[0])
    cycle = int(rtl[index].closed[at])
    across = -(-layer.size[1] // layer.tile[1])
    tile = y * layer.pool // layer.tile[0] * across + x * layer.pool // layer.tile[1]
    place = f"pass {block // layer.slots}, tile {tile}, PE {pe}, slot {block % layer.slots}"
    text = f"{found.message}; {place}, written by the RTL in cycle {cycle}"
    return dataclasses.replace(found, message=text, pe=pe, cycle=cycle)


def run_image(
    program: Program,
    accelerator: Accelerator,
    simulator: Simulator,
    pixels: npt.NDArray[np.uint8],
    memory: MemoryBehaviour | None = None,
) -> Comparison:
    """One image on the cycle model and on the RTL."""
    image = accelerator.image
    currents = reference.host_currents(program, pixels)
    runs = accelerator.run(currents)
    began = time.perf_counter()
    traces = simulator.run(currents, memory)
    seconds = time.perf_counter() - began
    expected = [model_result(run) for run in runs]
    return Comparison(
        compare(image, runs, traces),
        sum(r.masks.size * image.timesteps for r in expected if r.masks is not None),
        sum(1 + sum(np.size(v) for v in r.counters.values()) for r in expected),
        sum(trace.cycles for trace in traces),
        seconds,
    )


def run_images(
    program: Program, image: Image, pixels: npt.NDArray[np.uint8], threads: int, title: str
) -> list[Comparison]:
    """All images, `threads` at a time, each on an RTL of its own."""
    accelerator = Accelerator(image)
    simulators: SimpleQueue[Simulator] = SimpleQueue()
    for _ in range(min(threads, len(pixels))):
        simulators.put(Simulator(image))

    def one(item: npt.NDArray[np.uint8]) -> Comparison:
        simulator = simulators.get()
        try:
            return run_image(program, accelerator, simulator, item)
        finally:
            simulators.put(simulator)

    with bar(assemble.console()) as progress, ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(one, item) for item in pixels]
        found = [f.result() for f in progress.track(futures, description=escape(title))]
    while not simulators.empty():
        simulators.get().close()
    return found


def cosim(arguments: argparse.Namespace) -> int:
    """The `cosim` verb; returns the exit status."""
    console = assemble.console()
    arch = preset(arguments.arch)
    program = models.load(arguments.model)
    if arguments.images is None:
        arguments.images = IMAGES
    pixels, _, indices = images_of(arguments, program)
    threads = threads_of(arguments)
    models.check_name(program)
    reports.check_folder(arguments.out)
    target = arguments.out / f"{program.name}.json"
    with console.status("compiling the cycle model and mapping the layers (once: half a minute)"):
        image = prepare(program, arch, arguments.mapping == "natural")
    with console.status("building the RTL simulator (once for an Arch: about two minutes)"):
        built = compiled.build(arch)
    found = run_images(program, image, pixels, threads, f"{program.name} on the RTL")
    content = summary(program, arch, built.seconds, found)
    for index, one in zip(indices, found, strict=True):
        if one.divergence is not None:
            content["first_difference"] = f"image {index}: {one.divergence}"
            console.print(content["first_difference"])
            waves = arguments.out / f"{program.name}-image{index}.vcd"
            content["waveform"] = _waveform(
                program, image, pixels[list(indices).index(index)], one.divergence, waves
            )
            console.print(f"waveform around it: {waves}")
            break
    if arguments.pysim:
        with console.status("running the same design on Amaranth's own simulator"):
            content["pysim_cycles_per_second"] = cycles_per_second(
                image, reference.host_currents(program, pixels[0]), PYSIM_CYCLES
            )
    reports.write_json(content, target)
    console.print(text(content))
    console.print(f"written: {target}", soft_wrap=True)
    return 1 if content["differences"] else 0


def _waveform(
    program: Program,
    image: Image,
    pixels: npt.NDArray[np.uint8],
    divergence: events.Divergence,
    target: Path,
) -> str:
    """The RTL's signals around a difference, as a VCD file."""
    at = divergence.cycle or 0
    with Simulator(image, trace=True) as simulator:
        simulator.run(
            reference.host_currents(program, pixels),
            waves=Waves(target, max(0, at - MARGIN), at + MARGIN),
        )
    return str(target)


def summary(
    program: Program, arch: Arch, build_seconds: float, found: Sequence[Comparison]
) -> dict[str, Any]:
    cycles, seconds = sum(c.cycles for c in found), sum(c.seconds for c in found)
    return {
        "model": program.name,
        "arch": {"preset": arch.preset, "digest": arch.digest},
        "images": len(found),
        "differences": sum(c.divergence is not None for c in found),
        "compared": {
            "spikes": sum(c.spikes for c in found),
            "counters": sum(c.counters for c in found),
        },
        "rtl_cycles": cycles,
        "rtl_cycles_per_second": cycles / seconds,
        "seconds_per_image": seconds / len(found),
        "build_seconds": build_seconds,
        "machine": assemble.machine(),
    }


def text(content: dict[str, Any]) -> str:
    verdict = f"{content['differences']} of {content['images']} images differ"
    compared = content["compared"]
    pysim = content.get("pysim_cycles_per_second")
    slower = f"; Amaranth's own simulator: {pysim:,.0f} cycles a second" if pysim else ""
    return (
        f"{content['model']}: {verdict}; compared {compared['spikes']:,} spikes and "
        f"{compared['counters']:,} counters over {content['rtl_cycles']:,} RTL cycles, "
        f"{content['rtl_cycles_per_second']:,.0f} a second, "
        f"{content['seconds_per_image']:.1f} s an image{slower}"
    )
