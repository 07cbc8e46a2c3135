"""Compact: a Program without the channels that make no difference.

A channel that no weight reads can go, with its filter; a filter without weights whose bias is not
positive never fires, and can go, with the channel.  Each may set free others in front and behind,
so it is repeated until nothing changes.  Every spike that is left, and every output, stays what it
was: what goes added 0 to every sum.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from evenspike_core.program import Layer, Program, Segment

Kept = npt.NDArray[np.bool_]


def compact(program: Program) -> Program:
    """The Program with fewer filters; the same one where none can go.

    A layer keeps one filter at least, and all where it adds another's spikes as they are (an
    identity pairs its channels with its filters), or is what is so added. Its weights before
    pruning, and so its sparsity, are those of the smaller network.
    """
    kept = _kept(program)
    if all(one.all() for one in kept):
        return program
    layers = []
    for index, layer in enumerate(program.layers):
        segments = tuple(_smaller(one, kept, kept[index]) for one in layer.segments)
        layers.append(replace(layer, segments=segments, bias=layer.bias[kept[index]]))
    return replace(program, layers=tuple(layers))


def _kept(program: Program) -> list[Kept]:
    """Which filters of each layer stay."""
    layers = program.layers
    tied = {
        index
        for at, layer in enumerate(layers)
        for number, segment in enumerate(layer.segments)
        if layer.is_identity(number)
        for index in (at, segment.source)
    }
    kept = [np.ones(layer.filters, dtype=np.bool_) for layer in layers]
    free = [
        index
        for index, layer in enumerate(layers)
        if index not in tied and not layer.last and layer.segments
    ]
    while True:
        before = [one.copy() for one in kept]
        for index in free:
            alive = kept[index] & _read(layers, kept, index) & ~_silent(layers, kept, index)
            if not alive.any():  # a layer is not taken away whole
                alive[int(kept[index].argmax())] = True
            kept[index] = alive
        if all(np.array_equal(one, two) for one, two in zip(before, kept, strict=True)):
            return kept


def _read(layers: tuple[Layer, ...], kept: list[Kept], index: int) -> Kept:
    """Channels of a layer's spikes that a weight of a filter that stays reads."""
    read = np.zeros(layers[index].filters, dtype=np.bool_)
    for at, layer in enumerate(layers):
        for segment in layer.segments:
            if segment.source == index:
                read |= (segment.weights[kept[at]] != 0).any(axis=(0, 2, 3))
    return read


def _silent(layers: tuple[Layer, ...], kept: list[Kept], index: int) -> Kept:
    """Filters of a layer that no weight drives, and that their bias does not bring to fire."""
    layer = layers[index]
    silent: Kept = layer.bias <= 0
    for segment in layer.segments:
        weights = segment.weights
        if segment.source >= 0:
            weights = weights[:, kept[segment.source]]
        silent = silent & ~(weights != 0).any(axis=(1, 2, 3))
    return silent


def _smaller(segment: Segment, kept: list[Kept], filters: Kept) -> Segment:
    """A segment of the filters and channels that stay, and their share of its dense weights.

    Of a grouped convolution that share is not even: it is never less than what is alive.
    """
    before = segment.weights.shape
    weights = segment.weights[filters]
    if segment.source >= 0:
        weights = weights[:, kept[segment.source]]
    pairs = before[0] * before[1]
    share = segment.dense * weights.shape[0] * weights.shape[1] // pairs
    dense = max(share, int(np.count_nonzero(weights)))
    return replace(segment, weights=np.ascontiguousarray(weights), dense=dense)
