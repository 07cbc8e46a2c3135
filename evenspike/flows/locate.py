"""Locate: where an inference on the cycle model and on the RTL part first, in the schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evenspike.flows.outcome import model_statement, timed_statement
from evenspike_core.compare import Divergence, first_divergence
from evenspike_core.counters import LayerStatement
from evenspike_core.pack import Descriptor, Packed
from evenspike_hw.engine.host import positions
from evenspike_hw.engine.results import LayerTrace
from evenspike_sim.accelerator import LayerRun
from evenspike_sim.collector import BIAS_READS

NAMES = ("model", "RTL")


def rtl_statement(trace: LayerTrace) -> LayerStatement:
    """All that the RTL says about a layer."""
    return timed_statement(trace, trace.states)


def difference(
    packed: Packed, model: Sequence[LayerRun], rtl: Sequence[LayerTrace]
) -> Divergence | None:
    """The first difference of an inference, with its place in the schedule, or None.

    Spikes and counters layer by layer; and the cycle in which each round's drain begins, which
    tells where in a layer the cycles part.
    """
    found = first_divergence(
        [model_statement(run) for run in model], [rtl_statement(trace) for trace in rtl], NAMES
    )
    rounds = (
        first_round(layer, run, trace, packed.arch.drain_latency)
        for layer, run, trace in zip(packed.layers, model, rtl, strict=True)
    )
    late = next((one for one in rounds if one is not None), None)
    if found is None:
        return late
    names = [layer.name for layer in packed.layers]
    if found.item == "mask":
        index = names.index(found.layer)
        return locate(packed.layers[index], rtl[index], found)
    if late is not None and late.layer == found.layer:
        text = f"{found.message}; {late.message}"
        return dataclasses.replace(found, message=text, cycle=late.cycle)
    end = sum(trace.cycles for trace in rtl[: names.index(found.layer) + 1])
    text = f"{found.message}; the RTL ends the layer in cycle {end}"
    return dataclasses.replace(found, message=text, cycle=end)


def first_round(
    layer: Descriptor, run: LayerRun, trace: LayerTrace, latency: int
) -> Divergence | None:
    """The first round of a layer whose drain begins in another cycle on the RTL, or None.

    latency: of the drain, from the read of a row to its spikes. The RTL says when each window is
    closed; the first of a round behind a bias and the positions of the window.
    """
    if layer.last:  # it closes no windows
        return None
    windows = positions(layer)[:: layer.pool**2]
    passes = windows[:, 0] // layer.slots
    tiles = _tile(layer, windows[:, 1], windows[:, 2])
    begins = np.flatnonzero(np.diff(passes, prepend=-1) | np.diff(tiles, prepend=-1))
    before = BIAS_READS + layer.pool**2 - 1 + latency
    if layer.host:  # the memory port sets its pace, which the cycles compare
        return None
    for at, begin in zip(begins.tolist(), run.drains, strict=True):
        found = int(trace.closed[at]) - before
        if found != begin:
            text = (
                f"layer {layer.name}, pass {passes[at]}, tile {tiles[at]}: the drain begins in "
                f"cycle {begin} in {NAMES[0]}, {found} in {NAMES[1]}"
            )
            return Divergence(layer.name, "drain", (begin, found), text, cycle=found)
    return None


def locate(layer: Descriptor, trace: LayerTrace, found: Divergence) -> Divergence:
    """A wrong spike with its pass, tile, slot and PE, and the cycle in which the RTL wrote it."""
    assert found.neuron is not None  # noqa: S101  (a mask has one)
    filter_, y, x = found.neuron
    block, pe = (int(n[0]) for n in np.nonzero(layer.blocks == filter_))
    side = layer.pool
    windows = positions(layer)[:: side**2] // np.array([1, side, side])
    at = int(np.flatnonzero((windows == (block, y, x)).all(axis=1))[0])
    cycle = int(trace.closed[at])
    tile = int(_tile(layer, np.array(y * side), np.array(x * side)))
    place = f"pass {block // layer.slots}, tile {tile}, PE {pe}, slot {block % layer.slots}"
    text = f"{found.message}; {place}, written by the RTL in cycle {cycle}"
    return dataclasses.replace(found, message=text, pe=pe, cycle=cycle)


def _tile(
    layer: Descriptor, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Number of the tile in its pass, row by row."""
    across = -(-layer.size[1] // layer.tile[1])
    return y // layer.tile[0] * across + x // layer.tile[1]
