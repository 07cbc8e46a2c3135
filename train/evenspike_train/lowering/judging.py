"""Judging: a layer of a Program on the module's own spikes, and how far it is from the module."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from evenspike_core import reference
from evenspike_core.program import Coding, Layer, Program, Readout
from evenspike_train.lowering.evaluate import currents
from evenspike_train.lowering.network import FloatLayer, Network
from evenspike_train.lowering.pooling import pooled

FAR = 0.1
"""How far off a drive may be, as `coarse` has it; `benchmarks.imports` says how far they are."""

_OFF = 0.01
"""Part of the largest number of its class by which an output may be off."""


@dataclass(frozen=True)
class Judged:
    """What differs in a layer; the fields are those of `LayerProof`."""

    spikes: int
    bits: int
    either: int
    wrong: int
    error: float
    filter: int


def encoded(
    network: Network, program: Program
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64] | None, bool]:
    """Spikes and currents of the encoder, [T, B, ...]."""
    steps = program.timesteps
    planes = [
        reference.timestep_planes(reference.encode(program, one), steps) for one in network.inputs
    ]
    spikes = np.stack(planes, 1) != 0
    if program.encoder.coding is not Coding.DIRECT:
        return spikes, None, False
    frames = [reference.host_currents(program, one) for one in network.inputs]
    drives = np.stack(frames, 1).astype(np.float64)
    return spikes, pooled(drives) if program.encoder.pool_first else drives, False


def run_layer(
    network: Network,
    program: Program,
    index: int,
    masks: list[list[npt.NDArray[np.unsignedinteger[Any]]] | None],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64], bool, npt.NDArray[np.int64] | None]:
    """Spikes, drives and logits of a layer on the module's own spikes."""
    layer = program.layers[index]
    spikes, drives, logits, overflow = [], [], [], False
    for b in range(len(network.inputs)):
        sources = {segment.source for segment in layer.segments}
        inputs = {source: one[b] for source in sources if (one := masks[source]) is not None}
        out = reference.run_layer(program, index, inputs)
        overflow = overflow or out.overflow
        drives.append(out.psum + layer.bias.astype(np.int64)[:, None, None])
        if out.masks is not None:
            spikes.append(reference.timestep_planes(out.masks, program.timesteps) != 0)
        if out.logits is not None:
            logits.append(out.logits)
    return (
        np.stack(spikes, 1) if spikes else np.zeros(0, dtype=np.bool_),
        np.stack(drives, 1).astype(np.float64),
        overflow,
        np.stack(logits) if logits else None,
    )


def judge_spikes(
    layer: FloatLayer,
    spikes: npt.NDArray[np.bool_],
    drives: npt.NDArray[np.float64] | None,
    exponent: int,
) -> Judged:
    """A layer of neurons, spike by spike."""
    said = cast("npt.NDArray[np.bool_]", layer.spikes)
    wrong = spikes != said
    error = 0.0
    if drives is not None and layer.drives is not None and math.isfinite(layer.neuron.threshold):
        off = np.abs(np.ldexp(drives, -exponent) - layer.drives).max(initial=0)
        error = float(off) / layer.neuron.threshold
    return Judged(
        int(np.count_nonzero(said)),
        wrong.size,
        int(np.count_nonzero(spikes | said)),
        int(np.count_nonzero(wrong)),
        error,
        int(wrong.sum(axis=(0, 1, 3, 4)).argmax()) if wrong.any() else -1,
    )


def coarse(
    network: Network, index: int, drives: npt.NDArray[np.float64], exponent: int
) -> tuple[float, int]:
    """How far off rounding puts the drives of a layer's worst filter, and which that is.

    In thresholds, or in the filter's largest drive where that is larger. A filter that is silent on
    the examples shows here alone that nothing is left of its weights. What a module of little
    precision differs by is no rounding: drives far off are compared with those that the weights
    say.
    """
    layer = network.layers[index]
    theta = layer.neuron.threshold
    if layer.drives is None or not math.isfinite(theta):
        return 0.0, -1
    found = np.ldexp(drives, -exponent)
    largest = np.maximum(np.abs(layer.drives).max(axis=(0, 1, 3, 4)), theta)
    off = np.abs(found - layer.drives).max(axis=(0, 1, 3, 4)) / largest
    if off.max() > FAR:
        said = currents(network, index)
        said = pooled(said) if layer.pool_first else said
        off = np.minimum(off, np.abs(found - said).max(axis=(0, 1, 3, 4)) / largest)
    return float(off.max()), int(off.argmax())


def judge_output(
    network: Network,
    layer: FloatLayer,
    integers: Layer,
    logits: npt.NDArray[np.int64],
    exponent: int,
) -> Judged:
    """A read-out: counts to the spike, sums and membranes to a hundredth of their class's largest.

    Behind a softmax only the order is known: the class of each example.
    """
    outputs = network.outputs
    if network.ranks:
        classes = outputs.argmax(1)
        wrong = logits.argmax(1) != classes
        guilty = int(classes[wrong][0]) if wrong.any() else -1
        return Judged(0, 0, wrong.size, int(wrong.sum()), float(wrong.any()), guilty)
    if integers.readout is Readout.COUNT:
        off = np.abs(logits - outputs)
        return Judged(
            round(outputs.sum()),
            outputs.size * network.timesteps,
            round(np.maximum(logits, outputs).sum()),
            math.ceil(off.sum() - 1e-6),
            float(off.max(initial=0)),
            int(off.sum(0).argmax()) if off.any() else -1,
        )
    off = np.abs(np.ldexp(logits.astype(np.float64), -exponent) - outputs)
    allowed = _OFF * np.maximum(np.abs(outputs).max(0), _largest_number(layer))
    wrong = off > allowed
    largest = float(np.abs(outputs).max(initial=0)) or 1.0
    guilty = int(wrong.sum(0).argmax()) if wrong.any() else -1
    error = float(off.max(initial=0)) / largest
    return Judged(0, 0, wrong.size, int(wrong.sum()), error, guilty)


def _largest_number(layer: FloatLayer) -> npt.NDArray[np.float64]:
    """The largest |weight| or |bias| of each filter.

    An output that is small by chance is not held to a hundredth of itself.
    """
    found: npt.NDArray[np.float64] = np.abs(layer.bias)
    for segment in layer.segments:
        found = np.maximum(found, np.abs(segment.weight).max(axis=(1, 2, 3)))
    return found
