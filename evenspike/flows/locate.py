"""Locate: where an inference on the cycle model and on the RTL part first, in the schedule."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

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
        first_round(packed, layer, run, trace)
        for layer, run, trace in zip(packed.layers, model, rtl, strict=True)
    )
    late = next((one for one in rounds if one is not None), None)
    if found is None:
        return late
    names = [layer.name for layer in packed.layers]
    if found.item == "mask":
        index = names.index(found.layer)
        return locate(packed, packed.layers[index], rtl[index], found)
    if late is not None and late.layer == found.layer:
        text = f"{found.message}; {late.message}"
        return dataclasses.replace(found, message=text, cycle=late.cycle)
    end = sum(trace.cycles for trace in rtl[: names.index(found.layer) + 1])
    text = f"{found.message}; the RTL ends the layer in cycle {end}"
    return dataclasses.replace(found, message=text, cycle=end)


def first_round(
    packed: Packed, layer: Descriptor, run: LayerRun, trace: LayerTrace
) -> Divergence | None:
    """The first round of a layer whose drain begins in another cycle on the RTL, or None.

    The RTL says when each window is closed; the first of a round behind a bias and the positions of
    the window, and the latency of the drain, from the read of a row to its spikes.
    """
    if layer.last:  # it closes no windows
        return None
    if layer.host:  # the memory port sets its pace, which the cycles compare
        return None
    arch, inner = packed.arch, layer.pool**2 - 1
    rounds = _rounds(packed, layer)
    windows = _windows(layer)
    for (at, first, part, group), begin in zip(rounds, run.drains, strict=True):
        carries = group < packed.groups - 1
        before = BIAS_READS + arch.step_cycles
        before += inner * arch.position_cycles(last=False, carries=carries)
        found = int(trace.closed[at]) - before - arch.lif_latency - 1
        if found != begin:
            block, y, x = (int(n) for n in windows[first])
            place = f"pass {block // layer.slots}, tile {_tile(layer, y, x)}, group {group}"
            if packed.batch > 1:
                place += f", images {part * layer.images} to {(part + 1) * layer.images - 1}"
            text = (
                f"layer {layer.name}, {place}: the drain begins in "
                f"cycle {begin} in {NAMES[0]}, {found} in {NAMES[1]}"
            )
            return Divergence(layer.name, "drain", (begin, found), text, cycle=found)
    return None


def locate(packed: Packed, layer: Descriptor, trace: LayerTrace, found: Divergence) -> Divergence:
    """A wrong spike with its pass, tile, group, slot and PE, or its block and lane of the input,
    and the cycle in which the RTL wrote it.
    """
    assert found.neuron is not None  # noqa: S101  (a mask has one)
    assert found.timestep is not None  # noqa: S101
    filter_, y, x = found.neuron
    block, pe = (int(n[0]) for n in np.nonzero(layer.blocks == filter_))
    side, windows = layer.pool, _windows(layer)
    first = windows // np.array([1, side, side])
    window = int(np.flatnonzero((first == (block, y, x)).all(axis=1))[0])
    group = found.timestep // packed.arch.timesteps
    part, image = (found.image, 0) if layer.host else divmod(found.image, layer.images)
    rounds = [
        one for one in _rounds(packed, layer) if one[2:] == (part, group) and one[1] <= window
    ]
    at, start, _, _ = rounds[-1]
    ends = [one for one in [*_begins(layer), len(_windows(layer))] if one > start]
    cycle = int(trace.closed[at + image * (ends[0] - start) + window - start])
    place = f"block {block}, group {group}, lane {pe}"
    if not layer.host:
        tile, slot = _tile(layer, y * side, x * side), block % layer.slots
        place = f"pass {block // layer.slots}, tile {tile}, group {group}, PE {pe}, slot {slot}"
    text = f"{found.message}; {place}, written by the RTL in cycle {cycle}"
    return dataclasses.replace(found, message=text, pe=pe, cycle=cycle)


def _windows(layer: Descriptor) -> npt.NDArray[np.int64]:
    """Block, y and x of the first position of each window of a map, in drain order."""
    return positions(layer)[:: layer.pool**2]


def _rounds(packed: Packed, layer: Descriptor) -> list[tuple[int, int, int, int]]:
    """Of each round in order: its first window of all that the layer closes, the same window
    among those of a map, its part of the batch and its group.

    The parts and groups of a pass and tile follow each other, and in a round its images; the input
    comes image by image and group by group.
    """
    images = 1 if layer.host else layer.images
    found, at = [], 0
    for begin, end in itertools.pairwise([*_begins(layer), len(_windows(layer))]):
        for part, group in itertools.product(range(packed.batch // images), range(packed.groups)):
            found.append((at, begin, part, group))
            at += images * (end - begin)
    return found


def _begins(layer: Descriptor) -> list[int]:
    """The first window of each pass and tile among those of a map; the input has one of all."""
    windows = _windows(layer)
    passes, tiles = windows[:, 0] // layer.slots, _tile(layer, windows[:, 1], windows[:, 2])
    changes = np.diff(passes, prepend=-1) | np.diff(tiles, prepend=-1)
    return [0] if layer.host else [int(n) for n in np.flatnonzero(changes)]


def _tile(layer: Descriptor, y: Any, x: Any) -> Any:
    """Number of the tile in its pass, row by row."""
    across = -(-layer.size[1] // layer.tile[1])
    return y // layer.tile[0] * across + x // layer.tile[1]
