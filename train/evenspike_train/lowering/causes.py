"""Causes: why a layer's integers differ from the module, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from evenspike_core.fixed import LEAK_ONE
from evenspike_core.program import Layer, Readout
from evenspike_train.lowering.evaluate import currents
from evenspike_train.lowering.network import FloatLayer, Network
from evenspike_train.lowering.neurons import NeuronModel
from evenspike_train.lowering.pooling import pooled

if TYPE_CHECKING:
    from evenspike_train.lowering.proof import LayerProof

_FLOAT_NOISE = 1e-3
"""Largest difference, in thresholds, that the module's own precision may explain."""


def cause_of(
    network: Network, index: int, integers: Layer, exponent: int, found: LayerProof
) -> str:
    """Why a layer differs: what it computes, its neurons, its leak, or what rounding took.

    Neurons or a leak are to blame where they explain at least half of what differs.
    """
    if found.overflow:
        return "an accumulator saturates"
    reason = _before_rounding(network, index, found) if found.wrong else ""
    return reason or _scale_cause(network.layers[index], integers, exponent, found)


def _before_rounding(network: Network, index: int, found: LayerProof) -> str:
    """What is to blame in real numbers already, or the leak; empty where it is neither."""
    layer = network.layers[index]
    theta = layer.neuron.threshold if math.isfinite(layer.neuron.threshold) else 1.0
    if layer.drives is not None:
        said = currents(network, index)
        off = np.abs((pooled(said) if layer.pool_first else said) - layer.drives)
        if off.max(initial=0) > _FLOAT_NOISE * max(theta, float(np.abs(layer.drives).max())):
            at = int(off.max(axis=(0, 1, 3, 4)).argmax())
            return (
                f"what is in front of {layer.path} does not compute the currents that its weights "
                f"say (by {off.max():.3g}, most in filter {at}); a pool, a padding or a function "
                "in front of it is not what it seems"
            )
        if layer.spikes is not None or layer.readout is Readout.COUNT:
            half = found.wrong / 2
            wrong = _wrong(network, layer, layer.neuron)
            if wrong >= half:
                return (
                    f"the neurons of {layer.path} do not do what is known of them ({wrong:,} bits "
                    "differ in real numbers already): leak, threshold or reset"
                )
            rounded = NeuronModel(
                layer.neuron.n / LEAK_ONE, theta, 1.0, layer.neuron.strict, layer.neuron.reset
            )
            if _wrong(network, layer, rounded) >= half:
                return f"its leak {layer.neuron.leak:.6g} is {layer.neuron.n} of {LEAK_ONE}"
    elif layer.readout is Readout.PSUM and not network.ranks:
        sums = currents(network, index).sum(0)[..., 0, 0]
        off = np.abs(sums - network.outputs)
        if off.max(initial=0) > _FLOAT_NOISE * float(np.abs(sums).max(initial=1)):
            return (
                f"what the module gives is not what the weights of {layer.path} say (by "
                f"{off.max():.3g}, most in class {int(off.max(0).argmax())})"
            )
    return ""


def _wrong(network: Network, layer: FloatLayer, neuron: NeuronModel) -> int:
    """Bits, or counts, in which neurons on a layer's own drives differ from it."""
    spikes = neuron.run(cast("npt.NDArray[np.float64]", layer.drives))
    if layer.spikes is None:
        return round(np.abs(spikes.sum(0)[..., 0, 0] - network.outputs).sum())
    if layer.pool > 1 and not layer.pool_first:
        spikes = pooled(spikes)
    return int(np.count_nonzero(spikes != layer.spikes))


def _scale_cause(layer: FloatLayer, integers: Layer, exponent: int, found: LayerProof) -> str:
    """The scale, and the weight or bias of the layer that is the largest."""
    numbers = [("bias", layer.bias)]
    numbers += [("weight", segment.weight.reshape(layer.filters, -1)) for segment in layer.segments]
    kind, largest, at = "weight", 0.0, 0
    for what, array in numbers:
        if not array.size:
            continue
        place = np.unravel_index(int(np.abs(array).argmax()), array.shape)
        if abs(array[place]) > abs(largest):
            kind, largest, at = what, float(array[place]), int(place[0])
    text = f"at its scale of 2^{exponent} the threshold is {integers.threshold}"
    if found.lost:
        text += f", and {found.lost:,} of {found.living:,} weights are zero"
    return f"{text}; the {kind} {largest:.4g} of filter {at} makes it so coarse"
