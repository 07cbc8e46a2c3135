"""From a network in real numbers to integers: scale, round once.

Scale: one power of two per layer, shared by its segments, so that a threshold of 1 is that power of
two. It is the largest for which weights fit 16 bits and the range proof holds: no membrane of any
filter can leave 24 bits, whatever fires.

Round: half to even, once, here. At run time only the leak rounds.

A direct encoder is computed by the host from pixel bytes in 32 bits, at a finer scale of its own,
and shifted down to the 24-bit current of its neurons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import ACCUMULATOR_BITS, LEAK_ONE, WEIGHT_BITS, Neuron
from evenspike_core.program import HOST_BIAS_BITS, Coding, Layer, Readout, Segment
from evenspike_train.lowering import FloatLayer, FloatSegment, Network, NeuronModel, Reset

FloatArray = npt.NDArray[np.float64]

_WEIGHT_MAX = 2 ** (WEIGHT_BITS - 1) - 1
_MEMBRANE_LIMIT = 2 ** (ACCUMULATOR_BITS - 1)
_HOST_MAX = 2 ** (HOST_BIAS_BITS - 1) - 1
_EXPONENTS = range(30, -16, -1)


@dataclass(frozen=True)
class Quantised:
    """Integer layers, and by layer the number of living weights that became zero.

    exponents: of each layer's neurons: an integer u stands for u / 2^exponent.
    """

    layers: tuple[Layer, ...]
    lost: dict[str, int]
    exponents: dict[str, int]


def neuron_of(model: NeuronModel, exponent: int) -> Neuron:
    """The integer neurons at a scale.

    Where a membrane at the threshold stays silent, the integers' threshold is one higher. One that
    is infinite is the highest there is, which the range proof keeps every membrane below.
    """
    if math.isinf(model.threshold):
        return Neuron(_MEMBRANE_LIMIT - 1, model.n, model.reset is Reset.HARD, 0)
    exact = math.ldexp(model.threshold, exponent)
    threshold = max(round(exact), 1)
    reset = {
        Reset.SOFT: round(model.n * threshold / LEAK_ONE),
        Reset.DELAYED: threshold,
    }.get(model.reset, 0)
    fires = math.floor(exact) + 1 if model.strict else threshold
    return Neuron(fires, model.n, model.reset is Reset.HARD, reset)


def _fits(
    magnitude: npt.NDArray[np.int64], layer: FloatLayer, exponent: int, timesteps: int
) -> bool:
    """Whether no membrane can leave its bits, for drives of at most `magnitude`, [filters].

    That of the sum of its drives: a geometric series, of as many terms as there are timesteps.
    """
    share = layer.neuron.n / LEAK_ONE
    series = min(timesteps, 1 / (1 - share)) if share < 1 else timesteps
    if float(magnitude.max()) * series >= _MEMBRANE_LIMIT:
        return False
    if layer.readout is Readout.PSUM:
        return True
    bound = neuron_of(layer.neuron, exponent).bound(magnitude, timesteps)
    return int(bound.max()) < _MEMBRANE_LIMIT


def _round(values: FloatArray, exponent: int) -> FloatArray:
    return np.rint(np.ldexp(values, exponent))


def _magnitude(layer: FloatLayer, exponent: int) -> npt.NDArray[np.int64]:
    """The largest |current| of each filter at a scale, int64 [filters]."""
    total = np.abs(_round(layer.bias, exponent))
    for segment in layer.segments:
        weight = np.abs(_round(segment.weight, exponent))
        total = total + weight.sum(axis=(1, 2, 3)) * segment.largest_input
    # Beyond 2^62 the exact number does not matter: no scale will fit.
    return np.minimum(total, 2.0**62).astype(np.int64)


def _largest_weight(layer: FloatLayer) -> FloatArray:
    """The largest |weight|, as an array of one number."""
    largest = [np.abs(segment.weight).max(initial=0) for segment in layer.segments]
    return np.array([max(largest, default=0.0)])


def _threshold_fits(model: NeuronModel, exponent: int) -> bool:
    if math.isinf(model.threshold):
        return True
    return math.ldexp(model.threshold, exponent) < _MEMBRANE_LIMIT - 1


def _scale(layer: FloatLayer, timesteps: int) -> tuple[int, int]:
    """(exponent of the weights, shift down to the scale of the neurons); 0 but for an encoder."""
    largest = _largest_weight(layer)
    for exponent in _EXPONENTS:
        if _round(largest, exponent)[0] > _WEIGHT_MAX:
            continue
        if not layer.coding and not _threshold_fits(layer.neuron, exponent):
            continue
        magnitude = _magnitude(layer, exponent)
        if not layer.coding:
            if _fits(magnitude, layer, exponent, timesteps):
                return exponent, 0
            continue
        if magnitude.max() > _HOST_MAX:
            continue
        for shift in range(HOST_BIAS_BITS):
            if not _threshold_fits(layer.neuron, exponent - shift):
                continue
            if _fits((magnitude >> shift) + 1, layer, exponent - shift, timesteps):
                return exponent, shift
    raise EvenspikeError(
        f"layer {layer.name}: no scale fits 16-bit weights and 24-bit membranes: "
        f"{_too_large(layer)}"
    )


def _too_large(layer: FloatLayer) -> str:
    """What fits at no scale: a weight, the threshold, a bias, or a filter's weights together."""
    coarsest = _EXPONENTS[-1]
    if _round(_largest_weight(layer), coarsest)[0] > _WEIGHT_MAX:
        each = [np.abs(segment.weight) for segment in layer.segments]
        weight = max(each, key=lambda one: one.max(initial=0))
        at = np.unravel_index(int(weight.argmax()), weight.shape)
        return f"a weight of filter {at[0]}, of channel {at[1]}, is {weight[at]:.4g} in size"
    if not layer.coding and not _threshold_fits(layer.neuron, coarsest):
        return f"the threshold is {layer.neuron.threshold:.4g}"
    bias = int(np.abs(layer.bias).argmax())
    if _round(np.abs(layer.bias), coarsest)[bias] >= _MEMBRANE_LIMIT:
        return f"the bias of filter {bias} is {layer.bias[bias]:.4g}"
    worst = int(_magnitude(layer, coarsest).argmax())
    threshold = layer.neuron.threshold
    return f"the weights of filter {worst} add up to too much beside a threshold of {threshold:.4g}"


def _integers(segment: FloatSegment, exponent: int, keep_living: bool) -> tuple[Segment, int]:
    """A segment at its layer's scale, and the number of living weights that became zero."""
    weight = _round(segment.weight, exponent)
    gone = segment.mask & (weight == 0)
    if keep_living and gone.any():
        weight[gone] = np.where(segment.weight[gone] < 0, -1, 1)
        gone = np.zeros_like(gone)
    integers = Segment(
        segment.source,
        weight.astype(np.int16),
        segment.stride,
        segment.offset,
        segment.average,
        segment.dense,
    )
    return integers, int(gone.sum())


def quantise(network: Network, keep_living: bool = False) -> Quantised:
    """Integer layers of a network.

    A living weight that rounds to zero is pruned by that and counted in ``lost``; with
    ``keep_living`` it becomes +1 or -1 instead, so that a balanced mask stays balanced.

    Raises EvenspikeError for a layer for which no scale satisfies the range proof.
    """
    layers, lost, exponents = [], {}, {}
    for layer in network.layers:
        integers, gone, exponent = _layer(layer, network.timesteps, keep_living)
        layers.append(integers)
        lost[layer.name] = gone
        exponents[layer.name] = exponent
    return Quantised(tuple(layers), lost, exponents)


def _layer(layer: FloatLayer, timesteps: int, keep_living: bool) -> tuple[Layer, int, int]:
    """(integer layer, living weights that became zero, exponent of its neurons)."""
    if layer.coding not in (None, Coding.DIRECT):
        encoder = Layer(
            layer.name,
            (),
            np.zeros(layer.filters, np.int32),
            layer.size,
            1,
            coding=layer.coding,
            seed=layer.seed,
        )
        return encoder, 0, 0
    exponent, shift = _scale(layer, timesteps)
    parts = [_integers(segment, exponent, keep_living) for segment in layer.segments]
    neuron = neuron_of(layer.neuron, exponent - shift)
    summed = layer.readout is Readout.PSUM
    integers = Layer(
        name=layer.name,
        segments=tuple(segment for segment, _ in parts),
        bias=_round(layer.bias, exponent).astype(np.int32),
        size=layer.size,
        threshold=neuron.threshold,
        leak=neuron.leak,
        hard=neuron.hard,
        reset=0 if summed else neuron.reset,
        pool=layer.pool,
        readout=layer.readout,
        coding=layer.coding,
        shift=shift,
        pool_first=layer.pool_first,
    )
    return integers, sum(gone for _, gone in parts), exponent - shift
