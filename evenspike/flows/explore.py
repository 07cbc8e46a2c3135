"""Explore: spikes from a file, from arrays or drawn, on masks drawn at a density."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evenspike.flows import mappings
from evenspike.flows.figures import Figures
from evenspike.flows.outcome import model_statement, untimed
from evenspike.report.accuracy import accuracy
from evenspike.report.contents import contents
from evenspike.report.pages import Report
from evenspike_core import reference, workload
from evenspike_core.arch import Arch, as_arch
from evenspike_core.compare import Divergence, first_divergence
from evenspike_core.counters import LayerStatement
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Packed, pack
from evenspike_core.recording import Arrays, read_trace
from evenspike_core.topology import Topology, read_layers
from evenspike_core.trace import Span, perfetto
from evenspike_core.workload import Workload, draw, draw_spikes
from evenspike_sim.accelerator import Accelerator, LayerRun
from evenspike_sim.tally import Tally

TIMESTEPS = Arch().timesteps
"""Of drawn spikes, where nothing is stated."""


def trace(
    source: Path | str | Arrays | None = None,
    *,
    layers: Path | str | Mapping[str, Any] | None = None,
    density: float | Sequence[float] | None = None,
    rate: float | None = None,
    balanced: bool = False,
    pes: int = Arch().pes,
    seed: int = 0,
    timesteps: int | None = None,
) -> Workload:
    """Spikes of a trace on drawn masks, ready to be mapped onto an Arch (`prepare`) and run.

    source: an `.npz` file, or its arrays by name (`evenspike_core.recording`); None draws spikes
        for the network of `layers`, or for a VGG-16.
    layers: TOML file that describes the network (docs/traces.md), or its content; without, each
        array feeds the next layer.
    density: percent of living weights, one number or one for each layer; by default VGG-16's
        (`workload.FITTED_DENSITY`).
    rate: draw the spikes, too: percent of timesteps in which a neuron fires.
    balanced: every filter of `pes` consecutive filters gets the same number of weights, as in
        u-Ticket.
    seed: of the draws; 0 or more.
    timesteps: T; without, what the trace says, or 4 of drawn spikes.

    Raises EvenspikeError naming what is no trace, no network, or out of range.
    """
    if pes < 1:
        raise EvenspikeError(f"{pes} PEs, at least 1 is needed")
    if source is not None:
        found = read_trace(source, layers, timesteps)
        if rate is not None:
            found = draw_spikes(found.topology, found.timesteps, rate, seed)
    elif rate is not None:
        topology = workload.VGG16 if layers is None else _described(layers)
        found = draw_spikes(topology, TIMESTEPS if timesteps is None else timesteps, rate, seed)
    else:
        raise EvenspikeError("no trace, and no rate to draw spikes at")
    return draw(found, density, balanced=pes if balanced else 0, seed=seed)


def _described(layers: Path | str | Mapping[str, Any]) -> Topology:
    """The network of a description, which has to state its input's shape."""
    known, shape = read_layers(layers)
    where = "layers" if isinstance(layers, Mapping) else layers
    if shape is None:
        raise EvenspikeError(
            f"{where}: states no `input = [channels, height, width]`; without a trace it has to"
        )
    try:
        return Topology(shape, known)
    except EvenspikeError as error:
        raise EvenspikeError(f"{where}: {error}") from error


def prepare(load: Workload, arch: Arch, *, mapping: str = "cost", rates: bool = True) -> Packed:
    """Map with the trace's own spikes as the calibration, and pack.

    mapping: "cost" or "natural". rates: balance by the trace's firing rates; without, by weights
    and positions alone.

    Raises EvenspikeError for an Arch of several clusters: a trace is that of one image.
    """
    if arch.clusters > 1:
        raise EvenspikeError(
            f"Arch clusters is {arch.clusters}, each of which takes an image of its own, and a "
            "trace has one; possible is 1"
        )
    shares = load.active if rates else ()
    found = mappings.choose(load.program, arch, load.outputs, shares, natural=mapping == "natural")
    return pack(load.program, found, arch, mapping)


@dataclass(frozen=True, eq=False, repr=False)
class Exploration(Figures):
    """A workload on the cycle model: no images, and no predictions.

    divergence: where it first differs from the integer reference, layer by layer on the same
    inputs; None if it does not.
    """

    load: Workload
    packed: Packed
    tally: Tally
    divergence: Divergence | None
    spans: tuple[Span, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        proof = "bit-exact" if self.bit_exact else str(self.divergence)
        return (
            f"<Exploration on {self.packed.arch.preset}: {len(self.load.layers)} layers, "
            f"{self.cycles:,.0f} cycles, utilization {self.utilization:.3f}, {proof}>"
        )

    @property
    def bit_exact(self) -> bool:
        """Whether every spike is the reference's."""
        return self.divergence is None

    def report(self, command: str | None = None) -> Report:
        """The run as a report that can be saved and shows itself in a notebook."""
        found = dict(self._contents)
        nnz, weights = (
            sum(getattr(one, key) for one in self.load.layers) for key in ("nnz", "weights")
        )
        found["program"] = found["program"] | {
            "nnz": nnz,
            "weights": weights,
            "sparsity": 1 - nnz / weights,
        }
        found["command"] = command
        found["bit_exact"] = self.bit_exact
        if self.divergence is not None:
            found["divergence"] = str(self.divergence)
        program = self.load.program
        found["compared"] = {
            "spikes": sum(int(np.prod(one.output)) for one in self.load.layers) * program.timesteps,
            "layers": len(self.load.layers),
            "timesteps": program.timesteps,
        }
        found["predictions"] = []
        found |= accuracy([])
        found["seconds"] = dict(self.seconds)
        return Report(found, (), perfetto(self.spans))

    @cached_property
    def _contents(self) -> dict[str, Any]:
        return contents(
            self.load.program,
            self.packed,
            self.tally,
            model="trace",
            mapping=self.packed.mapping,
        )


def explore(
    load: Workload,
    arch: Arch | str = "packed",
    *,
    mapping: str = "cost",
    rates: bool = True,
) -> Exploration:
    """Run every layer on its own spikes, one behind the other, with loads running ahead.

    load: of `trace`. mapping, rates: as in `prepare`.

    Raises EvenspikeError for a workload that the Arch cannot run.
    """
    machine = as_arch(arch)
    began = time.perf_counter()
    packed = prepare(load, machine, mapping=mapping, rates=rates)
    mapped = time.perf_counter()
    spans: list[Span] = []
    runs = layer_runs(load, packed, spans)
    seconds = {"prepare": mapped - began, "images": time.perf_counter() - mapped}
    tally = Tally()
    tally.add(runs)
    return Exploration(load, packed, tally, difference(load, runs), tuple(spans), seconds)


def layer_runs(load: Workload, packed: Packed, spans: list[Span] | None = None) -> list[LayerRun]:
    """What each layer did. spans: collects what happened when, for a timeline."""
    accelerator = Accelerator(packed)
    state = accelerator.fresh()
    return [
        accelerator.run_layer(index, masks, state, spans)
        for index, masks in enumerate(load.inputs, start=1)
    ]


def difference(load: Workload, runs: Sequence[LayerRun]) -> Divergence | None:
    """The first difference from the reference, layer by layer on the same inputs."""
    given = dict(enumerate(load.outputs))
    for index, one in enumerate(runs, start=1):
        wanted = reference.run_layer(load.program, index, given).masks
        found = first_divergence(
            [LayerStatement(one.name, 0, wanted)],
            untimed([model_statement(one)]),
            ("reference", "model"),
        )
        if found is not None:
            return found
    return None
