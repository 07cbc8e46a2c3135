"""From a trained network to integers: fold, scale, round once.

Fold: batch norm and the neuron's input gain go into weights and bias,

    w' = gain * w * gamma / sigma        b' = gain * ((b - mean) * gamma / sigma + beta)

Scale: one power of two per layer, so that the threshold is that power of two (times the
neuron's threshold) and the leak remains a shift.  It is the largest for which weights fit 16
bits and the range proof holds: no membrane of any filter can leave 24 bits, whatever fires.

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
import torch
from torch import nn

from evenspike.errors import EvenspikeError
from evenspike.fixed import ACCUMULATOR_BITS, WEIGHT_BITS, Leak, Reset, membrane_bound
from evenspike.program import HOST_BIAS_BITS, PIXEL_MAX, PIXELS, Layer, Segment
from evenspike_train import masks as weight_masks
from evenspike_train.networks import IMAGE_SIZE, PIXEL_SCALE, VGG16

FloatArray = npt.NDArray[np.float64]

_WEIGHT_MAX = 2 ** (WEIGHT_BITS - 1) - 1
_MEMBRANE_LIMIT = 2 ** (ACCUMULATOR_BITS - 1)
_HOST_MAX = 2 ** (HOST_BIAS_BITS - 1) - 1
_EXPONENTS = range(30, -16, -1)


@dataclass(frozen=True)
class FoldedLayer:
    """One layer in real numbers, everything folded in.

    weight: [filters, channels, K, K]; the first layer's takes pixels 0...255.
    bias: [filters].  size: (height, width) of the map.  pool: side of the max-pool.
    """

    name: str
    weight: FloatArray
    bias: FloatArray
    mask: npt.NDArray[np.bool_]
    size: tuple[int, int]
    pool: int
    last: bool = False


@dataclass(frozen=True)
class Quantised:
    """Integer layers, and by layer the number of living weights that became zero."""

    layers: tuple[Layer, ...]
    lost: dict[str, int]


def _float64(tensor: torch.Tensor | None, name: str) -> FloatArray:
    if tensor is None:
        raise EvenspikeError(f"{name}: is missing")
    array = tensor.detach().cpu().double().numpy()
    wrong = int((~np.isfinite(array)).sum())
    if wrong:
        raise EvenspikeError(f"{name}: holds {wrong} values that are not finite")
    return array


def _fold_norm(
    prefix: str, conv: nn.Conv2d, norm: nn.BatchNorm2d, gain: float
) -> tuple[FloatArray, FloatArray]:
    weight = _float64(conv.weight, f"{prefix}.conv.weight")
    bias = _float64(conv.bias, f"{prefix}.conv.bias")
    gamma = _float64(norm.weight, f"{prefix}.norm.weight")
    beta = _float64(norm.bias, f"{prefix}.norm.bias")
    mean = _float64(norm.running_mean, f"{prefix}.norm.running_mean")
    variance = _float64(norm.running_var, f"{prefix}.norm.running_var")
    if (variance < 0).any():
        raise EvenspikeError(f"{prefix}.norm.running_var: holds negative values")
    factor = gamma / np.sqrt(variance + norm.eps)
    return (
        gain * weight * factor[:, None, None, None],
        gain * ((bias - mean) * factor + beta),
    )


def fold(model: VGG16) -> list[FoldedLayer]:
    """The network's layers with batch norm, input gain and pixel scale folded in."""
    masks = weight_masks.read(model)
    layers, side = [], IMAGE_SIZE
    for index, layer in enumerate(model.blocks()):
        prefix = f"layers.{index}"
        weight, bias = _fold_norm(prefix, layer.conv, layer.norm, layer.lif.neuron.gain)
        if index == 0:
            weight = weight / PIXEL_SCALE
        pool = 1 if layer.pool is None else 2
        mask = masks[f"{prefix}.conv"].cpu().contiguous().numpy()
        layers.append(FoldedLayer(f"conv{index + 1}", weight, bias, mask, (side, side), pool))
        side //= pool
    weight = _float64(model.classifier.weight, "classifier.weight")[:, :, None, None]
    bias = _float64(model.classifier.bias, "classifier.bias")
    mask = masks["classifier"].cpu().numpy()[:, :, None, None]
    layers.append(FoldedLayer("fc", weight, bias, mask, (1, 1), 1, last=True))
    return layers


def _leak_of(value: float) -> Leak:
    for leak in Leak:
        if leak.fraction == Fraction(value):
            return leak
    possible = ", ".join(leak.value for leak in Leak)
    raise EvenspikeError(f"neuron: leak {value} has no shift form; possible are {possible}")


def _fits(magnitude: npt.NDArray[np.int64], leak: Leak, timesteps: int) -> bool:
    return max(membrane_bound(magnitude, leak, timesteps)) < _MEMBRANE_LIMIT


def _magnitude(weight: FloatArray, bias: FloatArray, gain: int = 1) -> npt.NDArray[np.int64]:
    total = np.abs(weight).sum(axis=(1, 2, 3)) * gain + np.abs(bias)
    # Beyond 2^62 the exact number does not matter: no scale will fit.
    return np.minimum(total, 2.0**62).astype(np.int64)


def _round(values: FloatArray, exponent: int) -> FloatArray:
    return np.rint(np.ldexp(values, exponent))


def _host_scale(
    layer: FoldedLayer, threshold: float, leak: Leak, timesteps: int
) -> tuple[int, int]:
    """(exponent of the weights, shift down to the scale of the neurons) of the first layer."""
    for exponent in _EXPONENTS:
        weight, bias = _round(layer.weight, exponent), _round(layer.bias, exponent)
        magnitude = _magnitude(weight, bias, PIXEL_MAX)
        if np.abs(weight).max() > _WEIGHT_MAX or magnitude.max() > _HOST_MAX:
            continue
        for shift in range(HOST_BIAS_BITS):
            high = math.ldexp(threshold, exponent - shift)
            if high < _MEMBRANE_LIMIT and _fits((magnitude >> shift) + 1, leak, timesteps):
                return exponent, shift
    raise EvenspikeError(f"layer {layer.name}: no scale fits 16-bit weights and 24-bit membranes")


def _scale(layer: FoldedLayer, threshold: float, leak: Leak, timesteps: int) -> int:
    """Exponent of a layer's scale."""
    for exponent in _EXPONENTS:
        weight, bias = _round(layer.weight, exponent), _round(layer.bias, exponent)
        if np.abs(weight).max(initial=0) > _WEIGHT_MAX:
            continue
        if math.ldexp(threshold, exponent) >= _MEMBRANE_LIMIT:
            continue
        if _fits(_magnitude(weight, bias), leak, timesteps):
            return exponent
    raise EvenspikeError(f"layer {layer.name}: no scale fits 16-bit weights and 24-bit membranes")


def quantise(model: VGG16, keep_living: bool = False) -> Quantised:
    """Integer layers of a trained network.

    A living weight that rounds to zero is pruned by that and counted in ``lost``; with
    ``keep_living`` it becomes +1 or -1 instead, so that a balanced mask stays balanced.

    Raises EvenspikeError for values that are not finite, a leak without a shift form, and a
    layer for which no scale satisfies the range proof.
    """
    neuron, timesteps = model.config.neuron, model.config.timesteps
    leak, reset = _leak_of(neuron.leak), Reset(neuron.reset)
    layers, lost = [], {}
    for index, layer in enumerate(fold(model)):
        shift = 0
        if index == 0:
            exponent, shift = _host_scale(layer, neuron.threshold, leak, timesteps)
        else:
            exponent = _scale(layer, neuron.threshold, leak, timesteps)
        weight = _round(layer.weight, exponent)
        gone = layer.mask & (weight == 0)
        if keep_living and gone.any():
            weight[gone] = np.where(layer.weight[gone] < 0, -1, 1)
            gone = np.zeros_like(gone)
        lost[layer.name] = int(gone.sum())
        padding = layer.weight.shape[-1] // 2
        source = PIXELS if index == 0 else index - 1
        threshold = max(round(math.ldexp(neuron.threshold, exponent - shift)), 1)
        layers.append(
            Layer(
                name=layer.name,
                segments=(Segment(source, weight.astype(np.int16), padding=padding),),
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
