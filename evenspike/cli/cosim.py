"""`evenspike cosim`: a network on the RTL and on the cycle model, and the first difference."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.markup import escape

from evenspike.cli import terminal
from evenspike.cli.compare import compare, model_result
from evenspike.cli.simulate import bar, images_of, threads_of
from evenspike.flows import models
from evenspike.flows.prepare import prepare
from evenspike.report import contents
from evenspike.report import pages as reports
from evenspike_core import reference
from evenspike_core.arch import Arch, preset
from evenspike_core.compare import Divergence
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Packed
from evenspike_core.program import Program
from evenspike_hw.engine import compiled
from evenspike_hw.engine.interpreted import InterpretedSimulator, cycles_per_second
from evenspike_hw.engine.simulator import MemoryBehaviour, Simulator, Waves
from evenspike_sim.accelerator import Accelerator

IMAGES = 10
INTERPRETED_CYCLES = 20_000
"""Of an image, beyond which Amaranth's own simulator is no help: several minutes."""

PYSIM_CYCLES = 300
"""Of the same design, for the comparison of speeds."""

MARGIN = 2000
"""Cycles before and after a difference that its waveform shows."""


Engine = type[Simulator] | type[InterpretedSimulator]


@dataclass(frozen=True)
class Comparison:
    """One image on both. spikes, counters: values compared; cycles, seconds: of the RTL."""

    divergence: Divergence | None
    spikes: int
    counters: int
    cycles: int
    seconds: float


def run_image(
    program: Program,
    accelerator: Accelerator,
    simulator: Simulator | InterpretedSimulator,
    pixels: npt.NDArray[np.uint8],
    memory: MemoryBehaviour | None = None,
) -> Comparison:
    """One image on the cycle model and on the RTL."""
    packed = accelerator.packed
    currents = reference.host_currents(program, pixels)
    runs = accelerator.run(currents)
    began = time.perf_counter()
    traces = simulator.run(currents, memory)
    seconds = time.perf_counter() - began
    expected = [model_result(run) for run in runs]
    return Comparison(
        compare(packed, runs, traces),
        sum(r.masks.size * packed.timesteps for r in expected if r.masks is not None),
        sum(1 + sum(np.size(v) for v in r.counters.values()) for r in expected),
        sum(trace.cycles for trace in traces),
        seconds,
    )


def choose_engine(
    program: Program, packed: Packed, pixels: npt.NDArray[np.uint8], console: Console
) -> tuple[Engine, float]:
    """The compiled engine and the seconds that building it took; where it cannot be built,
    Amaranth's own simulator, if the network is small enough for it.
    """
    try:
        compiled.find_tools()
    except EvenspikeError as error:
        runs = Accelerator(packed).run(reference.host_currents(program, pixels))
        cycles = sum(run.cycles for run in runs)
        if cycles > INTERPRETED_CYCLES:
            raise EvenspikeError(
                f"{error}; Amaranth's own simulator does without, but would take too long for the "
                f"{cycles:,} cycles of an image (the limit is {INTERPRETED_CYCLES:,})"
            ) from error
        console.print(f"{error}. Until then Amaranth's own simulator serves, slowly.")
        return InterpretedSimulator, 0.0
    with console.status("building the RTL simulator (once for an Arch: about two minutes)"):
        return Simulator, compiled.build(packed.arch).seconds


def run_images(
    program: Program,
    packed: Packed,
    pixels: npt.NDArray[np.uint8],
    threads: int,
    title: str,
    engine: Engine = Simulator,
) -> list[Comparison]:
    """All images, `threads` at a time, each on an RTL of its own."""
    accelerator = Accelerator(packed)
    simulators: SimpleQueue[Simulator | InterpretedSimulator] = SimpleQueue()
    for _ in range(min(threads, len(pixels))):
        simulators.put(engine(packed))

    def one(item: npt.NDArray[np.uint8]) -> Comparison:
        simulator = simulators.get()
        try:
            return run_image(program, accelerator, simulator, item)
        finally:
            simulators.put(simulator)

    try:
        with bar(terminal.console()) as progress, ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(one, item) for item in pixels]
            found = [f.result() for f in progress.track(futures, description=escape(title))]
    finally:
        while not simulators.empty():
            simulators.get().close()
    return found


def cosim(arguments: argparse.Namespace) -> int:
    """The `cosim` verb; returns the exit status."""
    console = terminal.console()
    arch = preset(arguments.arch)
    program = models.load(arguments.model)
    if arguments.images is None:
        arguments.images = IMAGES
    pixels, _, indices = images_of(arguments, program)
    threads = threads_of(arguments)
    models.check_name(program)
    reports.check_folder(arguments.out)
    target = arguments.out / f"{program.name}.json"
    target.unlink(missing_ok=True)  # a run that fails leaves no verdict of an earlier one
    with console.status("compiling the cycle model and mapping the layers (once: half a minute)"):
        packed = prepare(program, arch, arguments.mapping == "natural")
    engine, seconds = choose_engine(program, packed, pixels[0], console)
    found = run_images(program, packed, pixels, threads, f"{program.name} on the RTL", engine)
    content = summary(program, arch, seconds, found)
    content["engine"] = "compiled" if engine is Simulator else "interpreted"
    for index, one in zip(indices, found, strict=True):
        if one.divergence is not None:
            content["first_difference"] = f"image {index}: {one.divergence}"
            console.print(content["first_difference"])
            waves = arguments.out / f"{program.name}-image{index}.vcd"
            if engine is Simulator:
                reports.write_json(content, target)  # the verdict, whatever the waveform does
                at = list(indices).index(index)
                content["waveform"] = _waveform(program, packed, pixels[at], one.divergence, waves)
                console.print(f"waveform around it: {waves}")
            break
    if arguments.pysim:
        with console.status("running the same design on Amaranth's own simulator"):
            content["pysim_cycles_per_second"] = cycles_per_second(
                packed, reference.host_currents(program, pixels[0]), PYSIM_CYCLES
            )
    reports.write_json(content, target)
    console.print(text(content))
    console.print(f"written: {target}", soft_wrap=True)
    return 1 if content["differences"] else 0


def _waveform(
    program: Program,
    packed: Packed,
    pixels: npt.NDArray[np.uint8],
    divergence: Divergence,
    target: Path,
) -> str:
    """The RTL's signals around a difference, as a VCD file."""
    at = divergence.cycle or 0
    with Simulator(packed, trace=True) as simulator:
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
        "machine": contents.machine(),
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
