"""From a folded network to integers: scale, round once.

Scale: one power of two per layer, shared by its segments, so that the threshold is that power of
two (times the neuron's threshold) and the leak remains a shift.  It is the largest for which
weights fit 16 bits and the range proof holds: no membrane of any filter can leave 24 bits,
whatever fires.

Round: half to even, once, here.  At run time only the leak rounds.

The first layer is computed by the host from pixel bytes in 32 bits, at a finer scale of its own,
and shifted down to the 24-bit current of its neurons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import ACCUMULATOR_BITS, WEIGHT_BITS, Leak, Reset, membrane_bound
from evenspike_core.program import HOST_BIAS_BITS, Layer, Segment
from evenspike_train.export.folding import FloatArray, FoldedLayer, FoldedSegment, fold
from evenspike_train.networks import IMAGE_SIZE, SpikingNetwork

_WEIGHT_MAX = 2 ** (WEIGHT_BITS - 1) - 1
_MEMBRANE_LIMIT = 2 ** (ACCUMULATOR_BITS - 1)
_HOST_MAX = 2 ** (HOST_BIAS_BITS - 1) - 1
_EXPONENTS = range(30, -16, -1)


@dataclass(frozen=True)
class Quantised:
    """Integer layers, and by layer the number of living weights that became zero."""

    layers: tuple[Layer, ...]
    lost: dict[str, int]


def _leak_of(value: float) -> Leak:
    for leak in Leak:
        if leak.fraction == Fraction(value):
            return leak
    possible = ", ".join(leak.value for leak in Leak)
    raise EvenspikeError(f"neuron: leak {value} has no shift form; possible are {possible}")


def _fits(magnitude: npt.NDArray[np.int64], leak: Leak, timesteps: int) -> bool:
    return max(membrane_bound(magnitude, leak, timesteps)) < _MEMBRANE_LIMIT


def _round(values: FloatArray, exponent: int) -> FloatArray:
    return np.rint(np.ldexp(values, exponent))


def _magnitude(layer: FoldedLayer, exponent: int) -> npt.NDArray[np.int64]:
    """The largest |current| of each filter at a scale, int64 [filters]."""
    total = np.abs(_round(layer.bias, exponent))
    for segment in layer.segments:
        weight = np.abs(_round(segment.weight, exponent))
        total = total + weight.sum(axis=(1, 2, 3)) * segment.largest_input
    # Beyond 2^62 the exact number does not matter: no scale will fit.
    return np.minimum(total, 2.0**62).astype(np.int64)


def _largest_weight(layer: FoldedLayer, exponent: int) -> float:
    return max(float(np.abs(_round(s.weight, exponent)).max(initial=0)) for s in layer.segments)


def _host_scale(
    layer: FoldedLayer, threshold: float, leak: Leak, timesteps: int
) -> tuple[int, int]:
    """(exponent of the weights, shift down to the scale of the neurons) of the first layer."""
    for exponent in _EXPONENTS:
        magnitude = _magnitude(layer, exponent)
        if _largest_weight(layer, exponent) > _WEIGHT_MAX or magnitude.max() > _HOST_MAX:
            continue
        for shift in range(HOST_BIAS_BITS):
            high = math.ldexp(threshold, exponent - shift)
            if high < _MEMBRANE_LIMIT and _fits((magnitude >> shift) + 1, leak, timesteps):
                return exponent, shift
    raise EvenspikeError(f"layer {layer.name}: no scale fits 16-bit weights and 24-bit membranes")


def _scale(layer: FoldedLayer, threshold: float, leak: Leak, timesteps: int) -> int:
    """Exponent of a layer's scale."""
    for exponent in _EXPONENTS:
        if _largest_weight(layer, exponent) > _WEIGHT_MAX:
            continue
        if math.ldexp(threshold, exponent) >= _MEMBRANE_LIMIT:
            continue
        if _fits(_magnitude(layer, exponent), leak, timesteps):
            return exponent
    raise EvenspikeError(f"layer {layer.name}: no scale fits 16-bit weights and 24-bit membranes")


def _integers(segment: FoldedSegment, exponent: int, keep_living: bool) -> tuple[Segment, int]:
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
        segment.padding,
        segment.average,
    )
    return integers, int(gone.sum())


def quantise(model: SpikingNetwork, keep_living: bool = False, side: int = IMAGE_SIZE) -> Quantised:
    """Integer layers of a trained network, for images [C, side, side].

    A living weight that rounds to zero is pruned by that and counted in ``lost``; with
    ``keep_living`` it becomes +1 or -1 instead, so that a balanced mask stays balanced.

    Raises EvenspikeError for values that are not finite, a leak without a shift form, and a
    layer for which no scale satisfies the range proof.
    """
    neuron, timesteps = model.config.neuron, model.config.timesteps
    leak, reset = _leak_of(neuron.leak), Reset(neuron.reset)
    layers, lost = [], {}
    for index, layer in enumerate(fold(model, side)):
        shift = 0
        if index == 0:
            exponent, shift = _host_scale(layer, neuron.threshold, leak, timesteps)
        else:
            exponent = _scale(layer, neuron.threshold, leak, timesteps)
        parts = [_integers(segment, exponent, keep_living) for segment in layer.segments]
        lost[layer.name] = sum(gone for _, gone in parts)
        threshold = max(round(math.ldexp(neuron.threshold, exponent - shift)), 1)
        layers.append(
            Layer(
                name=layer.name,
                segments=tuple(segment for segment, _ in parts),
                bias=_round(layer.bias, exponent).astype(np.int32),
                size=layer.size,
                threshold=threshold,
                leak=leak,
                reset=reset,
                pool=layer.pool,
                last=layer.last,
                shift=shift,
            )
        )
    return Quantised(tuple(layers), lost)
