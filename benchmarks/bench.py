"""`make bench`: the figures that the project promises, measured on this machine.

`build/bench/trace.json`: a VGG-16 at the densities fitted to the paper, with the loss between its
cycles and the bound of perfect balance, class by class. `build/bench/speed.json`: seconds and
memory of one image, seconds of mapping and packing, and that results do not depend on the number of
threads. `--sweep` varies the open choices of the design one at a time: `build/bench/sweep.json`.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

from evenspike.cli import terminal
from evenspike.cli.parser import Parser
from evenspike.flows import explore, models
from evenspike.flows.images import SHIPPED, images
from evenspike.flows.prepare import pack
from evenspike.report import contents
from evenspike_core import reference, workload
from evenspike_core.arch import Arch, preset
from evenspike_core.counters import STATES
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import check_folder, write_json
from evenspike_core.mapping import BIAS_WORDS
from evenspike_core.pack import Packed
from evenspike_core.program import Program
from evenspike_core.workload import Workload
from evenspike_sim.accelerator import Accelerator, LayerRun
from evenspike_sim.loader import load_pass

RATE = 7.0
"""Percent of neurons that fire at a timestep, where no trace is given and spikes are drawn."""

RESNET19 = Path(__file__).with_name("resnet19.toml")
RESNET19_DENSITY = 2.0
"""Percent of living weights, in each layer."""

SWEEP: dict[str, tuple[dict[str, Any], ...]] = {
    "FIFO depth": tuple({"fifo_depth": n} for n in (4, 16, 32, 64, 128, 256)),
    "header words of a half": tuple({"header_words": n} for n in (96, 128, 160, 192, 224, 256)),
    "fetches on their way": tuple({"match_depth": n} for n in (2, 4, 8, 16)),
    "weights a cycle": tuple({"issue": n} for n in (1, 2)),
    "lanes": tuple({"lane_depth": n} for n in (8, 16, 32, 64)),
    "table, blocks of a chunk": tuple({"chunk_blocks": n} for n in (1, 2, 4, 8, 16, 32)),
    "memory latency": tuple({"memory_latency": n, "stream_depth": 2 * n} for n in (4, 16, 64)),
    "slots": tuple({"slots": n} for n in (1, 4, 16, 64)),
    "PEs": tuple({"pes": n, "spike_entries": 8192 * 16 // n} for n in (4, 8, 16, 32)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; 1 where a result is not what the reference says."""
    parser = Parser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--trace", type=Path, help="real VGG-16 spikes; default: drawn ones")
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--arch", default="packed", help="preset, and fields that differ from it")
    parser.add_argument("--images", type=int, default=10, help="images for the timing")
    parser.add_argument("--sweep", action="store_true", help="also vary the design's open choices")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    try:
        return bench(parser.parse_args(argv))
    except EvenspikeError as error:
        print(f"evenspike: {error}", file=sys.stderr)
        return 2


def bench(arguments: argparse.Namespace) -> int:
    """Run what the options ask for."""
    console = terminal.console()
    if arguments.images < 1:
        raise EvenspikeError(f"--images {arguments.images}: at least 1")
    program, load = models.load(arguments.model), _workload(arguments.trace)
    arch = preset(arguments.arch)
    check_folder(arguments.out)
    console.print(contents.machine())
    trace = trace_bench(load, arch, str(arguments.trace or f"drawn at {RATE} %"))
    write_json(trace, arguments.out / "trace.json")
    _print_trace(console, trace)
    residual = residual_bench(arch)
    write_json(residual, arguments.out / "resnet19.json")
    console.print(
        f"ResNet-19 ({residual['trace']}): {residual['cycles']:,} cycles, utilization "
        f"{residual['utilization']:.3f}, spikes equal to the reference: {residual['bit_exact']}"
    )
    if arguments.sweep:
        rows = sweep(load)
        content = {"machine": contents.machine(), "rows": rows}
        write_json(content, arguments.out / "sweep.json")
        _print_sweep(console, rows)
    speed = speed_bench(program, arguments.images, arch)
    write_json(speed, arguments.out / "speed.json")
    console.print(
        f"{speed['model']}: {speed['seconds_per_image']:.2f} s an image on one thread "
        f"({speed['cycles_per_second'] / 1e6:.2f} M cycles/s), reference "
        f"{speed['reference_seconds_per_image']:.2f} s, peak {speed['peak_rss_mb']:.0f} MB, "
        f"results independent of threads: {speed['thread_independent']}; mapped and packed in "
        f"{speed['pack_cpu_seconds']:.2f} s of CPU, again in {speed['pack_again_cpu_seconds']:.2f}"
    )
    exact = trace["bit_exact"] and residual["bit_exact"]
    return 0 if exact and speed["thread_independent"] else 1


def _workload(path: Path | None) -> Workload:
    return explore.trace(path, rate=RATE if path is None else None)


def trace_bench(load: Workload, arch: Arch, source: str) -> dict[str, Any]:
    """Cycles of the trace under each mapping, and what separates the best from the bound."""
    best = explore.explore(load, arch)
    content = best.to_dict()
    single = dataclasses.replace(arch, preset="single", slots=1)
    others = {
        "balanced by weights, not by rates": explore.explore(load, arch, rates=False),
        "natural": explore.explore(load, arch, mapping="natural"),
        "one filter per PE and pass, natural": explore.explore(load, single, mapping="natural"),
    }
    states = {state: float(best.pes[state].sum()) / arch.pes for state in STATES}
    bound = content["totals"]["bound_cycles"]
    return {
        "machine": content["machine"],
        "trace": source,
        "arch": content["arch"],
        "density": list(workload.FITTED_DENSITY),
        "cycles": int(best.cycles),
        "utilization": best.utilization,
        "efficiency": content["totals"]["efficiency"],
        "bit_exact": best.bit_exact,
        "bound": bound,
        "above_bound": {"adders unfilled": states.pop("busy") - bound, **states},
        "encoding": encodings(best.packed),
        "other_mappings": {name: int(other.cycles) for name, other in others.items()},
        "layers": content["layers"],
    }


def residual_bench(arch: Arch) -> dict[str, Any]:
    """Cycles of ResNet-19's convolutions, with their strides and shortcuts, on drawn spikes."""
    load = explore.trace(None, layers=RESNET19, rate=RATE, density=RESNET19_DENSITY)
    run = explore.explore(load, dataclasses.replace(arch, spike_entries=1 << 15))
    content = run.to_dict()
    return {
        "machine": content["machine"],
        "trace": f"drawn at {RATE} %, weights at {RESNET19_DENSITY} %",
        "arch": content["arch"],
        "cycles": int(run.cycles),
        "utilization": run.utilization,
        "bit_exact": run.bit_exact,
        "layers": content["layers"],
    }


def encodings(image: Packed) -> dict[str, float]:
    """16-bit units of the whole weight stream, tiles not counted twice, under two encodings.

    tokens: as packed, count words and padding included. headers: what the scratchpad holds (a
    16-bit header with slot and WSP for each non-empty kernel), a presence bit a channel, the
    biases, the same counts and padding.
    """
    packed = headers = 0
    for descriptor in image.layers:
        for number, (_, words) in enumerate(descriptor.passes):
            packed += 4 * words * image.arch.port_lanes
            for order, chunk in enumerate(load_pass(image, descriptor, number)):
                last = order == len(descriptor.chunks) - 1
                weights = np.array([int((w != 0).sum()) for w in chunk.weights])
                kernels = chunk.kernel_start[:, -1] * chunk.header_units
                units = weights + kernels + -(-(chunk.end - chunk.start) // 16)
                units = units + (BIAS_WORDS * descriptor.slots if last else 0)
                headers += 4 * int((-(-units // 4)).sum()) + image.arch.pes // 2
    return {"tokens": packed, "headers": headers}


def sweep(load: Workload) -> list[dict[str, Any]]:
    """One parameter at a time; the mapper chooses anew for each."""
    rows = []
    for title, variants in SWEEP.items():
        for variant in variants:
            arch = dataclasses.replace(Arch(), preset="custom", **variant)
            run = explore.explore(load, arch)
            rows.append(
                {
                    "choice": title,
                    **variant,
                    "cycles": int(run.cycles),
                    "utilization": run.utilization,
                }
            )
    return rows


def speed_bench(program: Program, count: int, arch: Arch) -> dict[str, Any]:
    """Seconds of one image, compiled; digests of all counters with one and with several threads."""
    accelerator = Accelerator(pack(program, arch))
    if program.provenance.get("dataset", SHIPPED) == SHIPPED:
        pixels = images(count, program).pixels
    else:
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (count, *program.shape)).astype(np.uint8)
    inputs = [reference.encode(program, one) for one in pixels]
    accelerator.run(inputs[0])
    before = time.perf_counter()
    alone = [accelerator.run(one) for one in inputs]
    seconds = (time.perf_counter() - before) / len(inputs)
    before = time.perf_counter()
    for one in pixels:
        reference.run(program, one)
    slow = (time.perf_counter() - before) / len(inputs)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(accelerator.run, inputs))
    cycles = sum(_cycles(runs) for runs in alone) / len(alone)
    return {
        "machine": contents.machine(),
        "model": program.name,
        "images": len(inputs),
        "seconds_per_image": seconds,
        "reference_seconds_per_image": slow,
        "cycles_per_image": cycles,
        "cycles_per_second": cycles / seconds,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "thread_independent": digest(alone) == digest(together),
        **pack_bench(program),
    }


def pack_bench(program: Program) -> dict[str, float]:
    """CPU seconds from a Program to its memory words, kernels compiled: mapped, and as kept."""
    seconds = {}
    with (
        TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, {"XDG_CACHE_HOME": folder}),
    ):
        pack(program, mapping="natural")  # loads the compiled kernels
        for name in ("pack_cpu_seconds", "pack_again_cpu_seconds"):
            before = time.process_time()
            pack(program)
            seconds[name] = time.process_time() - before
    return seconds


def digest(images: Sequence[Sequence[LayerRun]]) -> str:
    """SHA-256 over every spike, logit and counter."""
    sha = hashlib.sha256()
    for runs in images:
        for run in runs:
            for field in dataclasses.fields(run):
                value = getattr(run, field.name)
                sha.update(
                    value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
                )
    return sha.hexdigest()


def _cycles(runs: Sequence[LayerRun]) -> int:
    return sum(run.cycles for run in runs)


def _print_trace(console: Console, trace: dict[str, Any]) -> None:
    console.print(
        f"trace ({trace['trace']}): {trace['cycles']:,} cycles, utilization "
        f"{trace['utilization']:.3f}, spikes equal to the reference: {trace['bit_exact']}"
    )
    console.print(f"  bound of perfect balance: {trace['bound']:,.0f}")
    for state, cycles in trace["above_bound"].items():
        console.print(f"  + {state}: {cycles:,.0f}")
    sizes = trace["encoding"]
    console.print(
        f"  weight stream: {sizes['tokens']:,} 16-bit units; with a header for each kernel "
        f"{sizes['headers']:,}"
    )
    for name, cycles in trace["other_mappings"].items():
        console.print(f"  {name}: {cycles:,} cycles")


def _print_sweep(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    table = Table("choice", "value", "cycles", "utilization")
    for row in rows:
        value = next(v for k, v in row.items() if k not in ("choice", "cycles", "utilization"))
        table.add_row(row["choice"], str(value), f"{row['cycles']:,}", f"{row['utilization']:.3f}")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
