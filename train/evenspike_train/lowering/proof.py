"""Proof: the module and the integers on the same inputs, layer by layer.

Each layer is judged on right inputs: the spikes that the module itself gave in the layer before.
Errors that are carried on multiply, and would say nothing about the layer in which they are seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from evenspike_core import reference
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import LEAK_ONE, pack_masks
from evenspike_core.program import Coding, Layer, Program, Readout
from evenspike_train.lowering.evaluate import currents
from evenspike_train.lowering.network import FloatLayer, Network
from evenspike_train.lowering.neurons import NeuronModel

LIMIT = 0.01
"""Largest share of a layer's spike bits that may differ."""

_FLOAT_NOISE = 1e-3
"""Largest difference, in thresholds, that the module's own precision may explain."""


@dataclass(frozen=True)
class LayerProof:
    """What rounding did to one layer.

    spikes: that the module gave. bits: of all neurons and timesteps.
    different: share of the bits that differ; of a read-out without spikes, share of the outputs
        that are off by more than a hundredth of the largest one.
    overflow: whether an accumulator or membrane saturated.
    lost, living: weights that became zero, of those that live.
    error: largest difference of a drive, in thresholds; of a read-out, in its largest output.
    filter: the one with most bits that differ, -1 for none. cause: in words, where it is too much.
    """

    name: str
    spikes: int
    bits: int
    different: float
    overflow: bool
    lost: int
    living: int
    error: float
    filter: int
    cause: str = ""


@dataclass(frozen=True)
class Proof:
    """What rounding did to a network, on `images` examples.

    changed: how many of them got another class from the integers alone, from layer to layer.
    """

    name: str
    images: int
    layers: tuple[LayerProof, ...]
    changed: int
    limit: float

    def __str__(self) -> str:
        rows = [("layer", "spikes", "differ", "largest error", "weights to zero", "saturated")]
        rows += [
            (
                one.name,
                f"{one.spikes:,}" if one.bits else "-",
                f"{one.different:.4%}",
                f"{one.error:.2g}",
                f"{one.lost:,} of {one.living:,}",
                "yes" if one.overflow else "no",
            )
            for one in self.layers
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                text.ljust(width) if i == 0 else text.rjust(width)
                for i, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        silent = [one.name for one in self.layers if one.bits and not one.spikes]
        if silent:
            lines.append(
                f"no spike in {', '.join(silent)}: the examples prove nothing of what is behind"
            )
        lines.append(f"{self.changed} of {self.images} examples get another class")
        return "\n".join(lines)

    def check(self) -> None:
        """Raise EvenspikeError, naming layer, filter and cause, where a layer differs too much."""
        for one in self.layers:
            if one.different > self.limit:
                raise EvenspikeError(
                    f"{self.name}: layer {one.name}: the integers differ from the module in "
                    f"{one.different:.2%} of its {'spikes' if one.bits else 'outputs'} (limit "
                    f"{self.limit:.2%}), most in filter {one.filter}: {one.cause}"
                )


def prove(
    network: Network,
    program: Program,
    exponents: dict[str, int],
    lost: dict[str, int],
    limit: float = LIMIT,
) -> Proof:
    """Run the Program's layers on the module's own spikes, and say what differs.

    exponents, lost: of each layer, as `quantise` gives them.
    """
    masks = [
        None
        if layer.spikes is None
        else [pack_masks(one) for one in np.moveaxis(layer.spikes, 1, 0)]
        for layer in network.layers
    ]
    found = []
    for index, (layer, integers) in enumerate(zip(network.layers, program.layers, strict=True)):
        living = sum(int(segment.mask.sum()) for segment in layer.segments)
        exponent, gone = exponents[layer.name], lost[layer.name]
        if integers.host:
            spikes, drives, overflow = _encoded(network, program)
            logits = None
        else:
            spikes, drives, overflow, logits = _run(network, program, index, masks)
        if logits is not None:
            judged = _judge_output(network, layer, integers, logits, exponent)
        else:
            judged = _judge_spikes(layer, spikes, drives, exponent)
        name, fired, bits, different, error, filter_ = judged
        cause = ""
        if different > limit:
            cause = _cause(network, index, integers, exponent, gone, living, overflow)
        found.append(
            LayerProof(name, fired, bits, different, overflow, gone, living, error, filter_, cause)
        )
    changed = 0
    for pixels, outputs in zip(network.inputs, network.outputs, strict=True):
        changed += reference.run(program, pixels).prediction != int(outputs.argmax())
    return Proof(program.name, len(network.inputs), tuple(found), changed, limit)


def _encoded(
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
    return spikes, _largest(drives) if program.encoder.pool_first else drives, False


def _largest(maps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The largest of each 2x2 window of maps [..., height, width]."""
    *front, height, width = maps.shape
    found: npt.NDArray[np.float64] = maps.reshape(*front, height // 2, 2, width // 2, 2).max(
        axis=(-3, -1)
    )
    return found


def _run(
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


Judged = tuple[str, int, int, float, float, int]


def _judge_spikes(
    layer: FloatLayer,
    spikes: npt.NDArray[np.bool_],
    drives: npt.NDArray[np.float64] | None,
    exponent: int,
) -> Judged:
    wrong = spikes != cast("npt.NDArray[np.bool_]", layer.spikes)
    by_filter = wrong.sum(axis=(0, 1, 3, 4))
    error = 0.0
    if drives is not None and layer.drives is not None and math.isfinite(layer.neuron.threshold):
        off = np.abs(np.ldexp(drives, -exponent) - layer.drives).max(initial=0)
        error = float(off) / layer.neuron.threshold
    guilty = int(by_filter.argmax()) if wrong.any() else -1
    return (
        layer.name,
        int(np.count_nonzero(np.asarray(layer.spikes))),
        wrong.size,
        float(wrong.mean()),
        error,
        guilty,
    )


def _judge_output(
    network: Network,
    layer: FloatLayer,
    integers: Layer,
    logits: npt.NDArray[np.int64],
    exponent: int,
) -> Judged:
    """A read-out: counts to the spike, sums and membranes to a hundredth of the largest."""
    outputs = network.outputs
    if network.ranks:
        wrong = logits.argmax(1) != outputs.argmax(1)
        classes = outputs.argmax(1)
        guilty = int(classes[wrong][0]) if wrong.any() else -1
        return layer.name, 0, 0, float(wrong.mean()), float(wrong.any()), guilty
    if integers.readout is Readout.COUNT:
        off = np.abs(logits - outputs)
        bits = outputs.size * network.timesteps
        guilty = int(off.sum(0).argmax()) if off.any() else -1
        fired = int(outputs.sum())
        return layer.name, fired, bits, float(off.sum()) / bits, float(off.max(initial=0)), guilty
    off = np.abs(np.ldexp(logits.astype(np.float64), -exponent) - outputs)
    largest = float(np.abs(outputs).max(initial=0)) or 1.0
    guilty = int(off.sum(0).argmax()) if off.any() else -1
    different = float((off > 0.01 * largest).mean())
    return layer.name, 0, 0, different, float(off.max(initial=0)) / largest, guilty


def _cause(
    network: Network,
    index: int,
    integers: Layer,
    exponent: int,
    lost: int,
    living: int,
    overflow: bool,
) -> str:
    """Why a layer differs, in words: what it computes, its neurons, or what rounding took."""
    layer = network.layers[index]
    if overflow:
        return "an accumulator saturates"
    theta = layer.neuron.threshold if math.isfinite(layer.neuron.threshold) else 1.0
    if layer.drives is not None:
        said = currents(network, index)
        off = np.abs((_largest(said) if layer.pool_first else said) - layer.drives)
        if off.max(initial=0) > _FLOAT_NOISE * max(theta, float(np.abs(layer.drives).max())):
            at = int(off.max(axis=(0, 1, 3, 4)).argmax())
            return (
                f"what is in front of {layer.path} does not compute the currents that its weights "
                f"say (by {off.max():.3g}, most in filter {at}); a pool, a padding or a function "
                "in front of it is not what it seems"
            )
        if layer.spikes is not None:
            share = _share(layer, layer.neuron)
            if share > LIMIT / 2:
                return (
                    f"the neurons of {layer.path} do not do what is known of them ({share:.2%} of "
                    "the bits differ in real numbers already): leak, threshold or reset"
                )
            rounded = NeuronModel(
                layer.neuron.n / LEAK_ONE, theta, 1.0, layer.neuron.strict, layer.neuron.reset
            )
            if _share(layer, rounded) > LIMIT / 2:
                return f"its leak {layer.neuron.leak:.6g} is {layer.neuron.n} of {LEAK_ONE}"
    return _scale_cause(layer, integers, exponent, lost, living)


def _share(layer: FloatLayer, neuron: NeuronModel) -> float:
    """Share of a layer's bits in which neurons on its own drives differ from it."""
    spikes = neuron.run(cast("npt.NDArray[np.float64]", layer.drives))
    if layer.pool > 1 and not layer.pool_first:
        *front, height, width = spikes.shape
        windows = spikes.reshape(*front, height // 2, 2, width // 2, 2)
        spikes = np.asarray(windows.any(axis=(-3, -1)))
    return float(np.mean(spikes != layer.spikes))


def _scale_cause(layer: FloatLayer, integers: Layer, exponent: int, lost: int, living: int) -> str:
    largest, at = 0.0, 0
    for segment in layer.segments:
        by_filter = np.abs(segment.weight).max(axis=(1, 2, 3))
        if by_filter.max(initial=0) > largest:
            largest, at = float(by_filter.max()), int(by_filter.argmax())
    bias = np.abs(layer.bias)
    text = f"at its scale of 2^{exponent} the threshold is {integers.threshold}"
    if lost:
        text += f", and {lost:,} of {living:,} weights are zero"
    if bias.size and float(bias.max()) > largest:
        largest, at = float(bias.max()), int(bias.argmax())
        return f"{text}; the bias {largest:.4g} of filter {at} makes it so coarse"
    return f"{text}; the weight {largest:.4g} of filter {at} makes it so coarse"
