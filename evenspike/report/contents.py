"""Contents: from the cycle model's runs to the report's JSON; sums, averages, definitions."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evenspike_core import metrics
from evenspike_core.counters import STATES, LayerStatement
from evenspike_core.pack import Descriptor, Packed
from evenspike_core.program import Layer, Program
from evenspike_sim import energy
from evenspike_sim.accelerator import LayerRun

Runs = Sequence[LayerRun]


def machine() -> str:
    """Processor, cores and Python: what a time depends on."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


def result(run: LayerRun) -> LayerStatement:
    """What is compared with the reference: spikes, or logits of the last layer."""
    last = run.logits is not None
    return LayerStatement(run.name, run.cycles, None if last else run.masks, run.logits)


def contents(
    program: Program,
    packed: Packed,
    first: int,
    images: Sequence[Runs],
    *,
    model: str,
    mapping: str,
) -> dict[str, Any]:
    """The report's cycles, traffic and energy; the caller adds what it compared and predicted.

    first: index in the Program of the first layer that ran. images: the runs of each image.
    """
    arch, count = packed.arch, len(images)
    table = energy.load(clock_mhz=arch.clock_mhz)
    actions = dict.fromkeys(energy.ACTIONS, 0.0)
    layers = []
    for position, runs in enumerate(zip(*images, strict=True)):
        descriptor = packed.layers[first + position]
        layer_actions = {
            name: sum(run.actions.get(name, 0) for run in runs) / count for name in energy.ACTIONS
        }
        for name, value in layer_actions.items():
            actions[name] += value
        entry = _layer(program, first + position, descriptor, runs, arch.pes)
        entry["energy_pj"] = energy.total_pj(energy.energy(layer_actions, table))
        layers.append(entry)
    by_action = energy.energy(actions, table)
    totals = {
        key: sum(layer[key] for layer in layers)
        for key in ("cycles", "accumulations", "words_loaded", *STATES)
    }
    cycles = totals["cycles"]
    totals["utilization"] = totals["busy"] / (arch.pes * cycles)
    totals["efficiency"] = totals["accumulations"] / (arch.timesteps * arch.pes * cycles)
    totals["energy_pj"] = energy.total_pj(by_action)
    totals["latency_ms"] = cycles / (arch.clock_mhz * 1e3)
    paper = metrics.paper_metrics(program, arch.pes)
    return {
        "model": model,
        "arch": {**dataclasses.asdict(arch), "digest": arch.digest},
        "engine": "model",
        "program": {
            "digest": program.digest(),
            "nnz": program.nnz,
            "weights": program.weights,
            "sparsity": program.sparsity,
            "provenance": {k: v for k, v in program.provenance.items() if k != "activity"},
        },
        "images": count,
        "totals": totals,
        "paper_convention": {
            "work": paper.work,
            "idle": paper.idle,
            "latency": paper.latency,
            "utilization": {
                "layer_mean": paper.layer_mean,
                "parameter_weighted": paper.parameter_weighted,
                "pooled": paper.pooled,
            },
        },
        "layers": layers,
        "energy": {"by_action": by_action, "total_pj": totals["energy_pj"]},
        "mapping": mapping,
        "machine": machine(),
    }


def _layer(
    program: Program, index: int, descriptor: Descriptor, runs: Runs, pes: int
) -> dict[str, Any]:
    layer = program.layers[index]
    segment = layer.segments[0]
    mean = {state: sum(getattr(run, state) for run in runs) / len(runs) for state in STATES}
    cycles = sum(run.cycles for run in runs) / len(runs)

    shortcuts = {"shortcut": _shortcut(layer)} if len(layer.segments) > 1 else {}

    def average(name: str) -> float:
        return float(sum(getattr(run, name) for run in runs) / len(runs))

    return {
        "name": layer.name,
        "shape": {
            "filters": layer.filters,
            "channels": segment.channels,
            "kernel": segment.kernel,
            "stride": segment.stride,
            "height": layer.size[0],
            "width": layer.size[1],
            "pool": layer.pool,
            **shortcuts,
        },
        "tile": list(descriptor.tile),
        "filters_per_pass": descriptor.slots,
        "passes": len(descriptor.slots_used),
        "chunks": len(descriptor.chunks),
        "cycles": cycles,
        **{state: float(np.sum(value)) for state, value in mean.items()},
        "utilization": float(np.sum(mean["busy"])) / (pes * cycles),
        "per_pe": {state: np.asarray(value).tolist() for state, value in mean.items()},
        "words_loaded": average("words_loaded"),
        "spikes_in": average("spikes_in"),
        "spikes_out": average("spikes_out"),
        "accumulations": average("accumulations"),
        "overflows": average("overflows"),
        "overflow": any(
            bool(run.accumulator_overflow.any() or run.membrane_overflow.any()) for run in runs
        ),
        "density": layer.nnz / layer.weights,
    }


def _shortcut(layer: Layer) -> str:
    """The second input of a residual layer: its kernel and stride, or `identity`."""
    if layer.is_identity(1):
        return "identity"
    segment = layer.segments[1]
    stride = f"/{segment.stride}" if segment.stride != 1 else ""
    return f"{segment.kernel}×{segment.kernel}{stride}"  # noqa: RUF001 (as in the report's tables)
