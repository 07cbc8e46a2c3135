"""What a power-of-two scale for each filter would gain over one for each layer.

    python -m benchmarks.filter_scales RUN [IMAGES]

RUN is the folder of a finished `evenspike train`. For each layer that spikes, on the spikes that
the trained network itself gave in the layer before: the share of its spike bits that rounding
changes, and the living weights that become zero, at the layer's one scale and at the finest that
each filter could have, with thresholds of its own. What is measured needs a machine that has a
threshold a filter, which this one has not.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from evenspike.flows.images import images
from evenspike_core.fixed import pack_masks
from evenspike_core.program import Program
from evenspike_train.export.programs import follow
from evenspike_train.export.quantize import _layer, _scale, quantise
from evenspike_train.lowering import FloatLayer, Network
from evenspike_train.lowering.judging import run_layer
from evenspike_train.runs.export import load_ticket

IMAGES = 10

Found = tuple[int, int]
"""Bits that differ, and living weights that became zero."""


def only(layer: FloatLayer, filters: Sequence[int]) -> FloatLayer:
    """The layer with no weight in any other of its filters."""
    kept = np.isin(np.arange(layer.filters), filters)
    each = kept[:, None, None, None]
    segments = tuple(
        replace(segment, weight=segment.weight * each, mask=segment.mask & each)
        for segment in layer.segments
    )
    return replace(layer, segments=segments, bias=layer.bias * kept)


def rounded(network: Network, program: Program, index: int, filters: Sequence[int]) -> Found:
    """What rounding does to these filters of a layer, at the finest scale that fits all of them."""
    layer = network.layers[index]
    integers, lost, _ = _layer(only(layer, filters), network.timesteps, keep_living=False)
    layers = [*program.layers]
    layers[index] = integers
    masks = [
        None
        if one.spikes is None
        else [pack_masks(image) for image in np.moveaxis(one.spikes, 1, 0)]
        for one in network.layers
    ]
    spikes, _, _, _ = run_layer(network, replace(program, layers=tuple(layers)), index, masks)
    wrong = spikes != cast("npt.NDArray[np.bool_]", layer.spikes)
    return int(np.count_nonzero(wrong[:, :, filters])), lost


def scales(layer: FloatLayer, timesteps: int) -> dict[int, list[int]]:
    """Filters by the exponent of the finest scale that each could have."""
    found: dict[int, list[int]] = defaultdict(list)
    for number in range(layer.filters):
        found[_scale(only(layer, [number]), timesteps)[0]].append(number)
    return found


def measure(network: Network) -> None:
    """Print a line for each layer that spikes, and the sum."""
    quantised = quantise(network)
    program = Program(network.name, network.timesteps, network.shape, quantised.layers, {})
    print("layer      spike bits  scales     differ: layer    filter     to zero: layer  filter")
    sums = np.zeros(5, dtype=np.int64)
    for index, layer in enumerate(network.layers):
        if layer.coding is not None or layer.readout is not None or layer.spikes is None:
            continue
        by_scale = scales(layer, network.timesteps)
        one = rounded(network, program, index, [*range(layer.filters)])
        each = np.sum(
            [rounded(network, program, index, filters) for filters in by_scale.values()], axis=0
        )
        row = (layer.spikes.size, one[0], int(each[0]), one[1], int(each[1]))
        sums += row
        span = f"2^{min(by_scale)}-2^{max(by_scale)}"
        print(
            f"{layer.name:8} {row[0]:12,}  {span:10} {row[1]:13,} {row[2]:9,} {row[3]:15,} "
            f"{row[4]:7,}"
        )
    print(f"{'all':8} {sums[0]:12,} {'':11} " + "{:13,} {:9,} {:15,} {:7,}".format(*sums[1:]))


def main(arguments: Sequence[str]) -> int:
    """Measure a run's ticket on the first images of its data set."""
    ticket = load_ticket(Path(arguments[0]))
    count = int(arguments[1]) if len(arguments) > 1 else IMAGES
    pixels = images(count, ticket.recipe.data.name, None).pixels
    measure(follow(ticket.model, torch.from_numpy(np.asarray(pixels)), ticket.recipe.name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
