"""Contents: from the tally of a run to the report's JSON: averages, and what follows from them."""

from __future__ import annotations

import dataclasses
import itertools
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from evenspike import __version__
from evenspike_core import metrics
from evenspike_core.arch import Arch
from evenspike_core.counters import STATES
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Descriptor, Packed
from evenspike_core.program import Layer, Program
from evenspike_sim import energy, energy_table
from evenspike_sim.tally import LayerTally, Tally

SUMMED = (
    *("cycles", "matched", "accumulations", "words_loaded", "bound_cycles", "dense_cycles"),
    *STATES,
)
"""Keys of a layer whose sums over the layers are in `totals`."""

COUNTED = ("words_loaded", "spikes_in", "spikes_out", "accumulations", "overflows")
"""Counters of a layer that its entry has under their own names."""


def now() -> str:
    """Date and time, UTC, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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


def contents(
    program: Program,
    packed: Packed,
    tally: Tally,
    *,
    model: str,
    mapping: str,
    command: str | None = None,
) -> dict[str, Any]:
    """The report's cycles, traffic and energy; the caller adds what it compared and predicted.

    Parameters
    ----------
    tally: of at least one image; its layers are those of the Program from some layer on.
    mapping: `cost` or `natural`. command: what made the run, None for a call from Python.

    Raises EvenspikeError for a tally without an image.
    """
    if not tally.images:
        raise EvenspikeError("report: no image has run, so there is nothing to report")
    arch, count = packed.arch, tally.images
    first = [layer.name for layer in program.layers].index(tally.layers[0].name)
    table = energy_table.load(arch)
    actions = dict.fromkeys(energy_table.ACTIONS, 0.0)
    layers = []
    for index, one in enumerate(tally.layers, start=first):
        layer_actions = {name: one.actions[name] / count for name in actions}
        for name, value in layer_actions.items():
            actions[name] += value
        entry = _layer(program.layers[index], packed.layers[index], one, count, arch)
        if packed.batch > 1:
            entry["images"] = packed.layers[index].images
        entry["energy_pj"] = energy.total_pj(energy.energy(layer_actions, table))
        layers.append(entry)
    by_action = energy.energy(actions, table)
    totals: dict[str, Any] = {key: sum(layer[key] for layer in layers) for key in SUMMED}
    cycles = totals["cycles"]
    totals["utilization"] = totals["busy"] / (arch.all_pes * cycles)
    totals["efficiency"] = totals["accumulations"] / (arch.adders * arch.all_pes * cycles)
    totals["speedup_over_dense"] = totals["dense_cycles"] / cycles
    totals["port_occupancy"] = totals["words_loaded"] / cycles
    totals["energy_pj"] = energy.total_pj(by_action)
    batch = packed.batch
    totals["latency_ms"] = batch * cycles / (arch.clock_mhz * 1e3)
    totals["frames_per_second"] = arch.clock_mhz * 1e6 / cycles
    paper = metrics.paper_metrics(program, arch.pes)
    return {
        "model": model,
        "version": __version__,
        "date": now(),
        "command": command,
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
        **({"batch": {"images": batch, "cycles": batch * cycles}} if batch > 1 else {}),
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
        "energy": {
            "by_action": by_action,
            "total_pj": totals["energy_pj"],
            "total_pj_range": energy.total_range(by_action),
        },
        "mapping": mapping,
        "machine": machine(),
    }


def natural_order(natural: Tally, mapped: float) -> dict[str, Any]:
    """The report's optional `natural_order`: the same images with filters in their order.

    natural: images on the natural mapping. mapped: cycles of one of the same images on the run's
    own mapping.
    """
    return {
        "images": natural.images,
        "cycles": natural.cycles,
        "mapped_cycles": mapped,
        "speedup": natural.cycles / mapped,
    }


def _layer(
    layer: Layer, descriptor: Descriptor, tally: LayerTally, images: int, arch: Arch
) -> dict[str, Any]:
    segment = layer.segments[0] if layer.segments else None
    mean = {state: tally.states[state] / images for state in STATES}
    average = {name: value / images for name, value in tally.counts.items()}
    cycles, busy = average["cycles"], float(np.sum(mean["busy"]))
    matched = tally.actions["select"] / images
    more = {"shortcut": _shortcuts(layer)} if len(layer.segments) > 1 else {}
    if layer.coding is not None:
        more["coding"] = layer.coding.value
    return {
        "name": layer.name,
        "shape": {
            "filters": layer.filters,
            "channels": layer.filters if segment is None else segment.channels,
            "kernel": None if segment is None else segment.kernel,
            "stride": None if segment is None else segment.stride,
            "height": layer.size[0],
            "width": layer.size[1],
            "pool": layer.pool,
            **more,
        },
        "tile": list(descriptor.tile),
        "filters_per_pass": descriptor.slots,
        "passes": len(descriptor.slots_used),
        "chunks": len(descriptor.chunks),
        "cycles": cycles,
        **{state: float(np.sum(value)) for state, value in mean.items()},
        "utilization": busy / (arch.all_pes * cycles),
        "matched": matched,
        "bound_cycles": metrics.least_cycles(matched, average["accumulations"], arch),
        "dense_cycles": _dense_cycles(layer, tally, images, arch),
        "per_pe": {state: value.tolist() for state, value in mean.items()},
        **{name: average[name] for name in COUNTED},
        "overflow": tally.overflow,
        "density": layer.nnz / layer.weights if layer.weights else None,
    }


def _dense_cycles(layer: Layer, tally: LayerTally, images: int, arch: Arch) -> float:
    """Least cycles of the layer on the same spikes, were no weight pruned.

    An identity shortcut has one weight for each channel, pruned or not. The first layer takes
    what it takes: it is the host's, and no weight of it is in the accelerator.
    """
    if layer.host:
        return tally.counts["cycles"] / images
    matched, accumulations = (
        sum(
            one if layer.is_identity(index) else one * layer.filters
            for index, one in enumerate(reached)
        )
        for reached in (tally.reached, tally.reached_spikes)
    )
    return metrics.least_cycles(matched / images, accumulations / images, arch)


def _shortcuts(layer: Layer) -> str:
    """The inputs behind the first: kernel and stride of each, or `identity`; as many times."""
    found = []
    for index, segment in enumerate(layer.segments[1:], start=1):
        stride = f"/{segment.stride}" if segment.stride != 1 else ""
        kernel = f"{segment.kernel}×{segment.kernel}{stride}"  # noqa: RUF001 (as in the tables)
        found.append("identity" if layer.is_identity(index) else kernel)
    each = [(text, len(list(same))) for text, same in itertools.groupby(found)]
    return " + ".join(text if times == 1 else f"{times} of {text}" for text, times in each)
