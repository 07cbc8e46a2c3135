"""From a trained network to one real-valued weight and bias for each layer.

Batch norm and the neuron's input gain go into weights and bias,

    w' = gain * w * gamma / sigma        b' = gain * ((b - mean) * gamma / sigma + beta)

A shortcut is a second segment of its layer: its own batch norm folds into its weights, and its bias
into the layer's. An identity is a diagonal of the gain. A mean over positions divides the weights
behind it by its area.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import AVERAGES, KERNELS, PIXEL_MAX, PIXELS
from evenspike_train.networks import IMAGE_SIZE, PIXEL_SCALE, Branch, SpikingNetwork
from evenspike_train.tickets import masks as weight_masks

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FoldedSegment:
    """One input of a layer in real numbers, everything folded in.

    source: index of the layer whose spikes come in, or `PIXELS`, whose weights take 0...255.
    weight: [filters, channels, K, K]; an average pool in front has divided it by its area.
    mask: of its shape; True where the weight lives.
    stride, padding, average: as in the Program's `Segment`.
    """

    source: int
    weight: FloatArray
    mask: npt.NDArray[np.bool_]
    stride: int = 1
    padding: int = 0
    average: int = 1

    @property
    def largest_input(self) -> int:
        """Largest value that a weight meets."""
        return PIXEL_MAX if self.source == PIXELS else self.average**2


@dataclass(frozen=True)
class FoldedLayer:
    """One layer in real numbers; all its segments share its neurons, and so its scale.

    bias: [filters].  size: (height, width) of the map.  pool: side of the max-pool.
    """

    name: str
    segments: tuple[FoldedSegment, ...]
    bias: FloatArray
    size: tuple[int, int]
    pool: int
    last: bool = False


def _float64(tensor: torch.Tensor | None, name: str) -> FloatArray:
    if tensor is None:
        raise EvenspikeError(f"{name}: is missing")
    array = tensor.detach().cpu().double().numpy()
    wrong = int((~np.isfinite(array)).sum())
    if wrong:
        raise EvenspikeError(f"{name}: holds {wrong} values that are not finite")
    return array


def fold(model: SpikingNetwork, side: int = IMAGE_SIZE) -> list[FoldedLayer]:
    """The network's layers with batch norm, input gain and pixel scale folded in.

    side: of the images, [C, side, side].
    """
    masks = weight_masks.read(model)
    layers: list[FoldedLayer] = []
    for layer in model.graph(side):
        gain = 1.0 if layer.last else model.config.neuron.gain  # the read-out has no neurons
        segments, bias = [], np.zeros(1)
        for branch in layer.branches:
            if branch.weight is None:
                segments.append(_identity(branch, layers[branch.source], gain))
                continue
            module = cast("nn.Conv2d | nn.Linear", model.get_submodule(branch.weight))
            mask = masks[branch.weight].cpu().contiguous().numpy()
            segment, added = _fold_branch(model, branch, module, mask, gain)
            segments.append(segment)
            bias = bias + added
        layers.append(
            FoldedLayer(layer.name, tuple(segments), bias, layer.size, layer.pool, layer.last)
        )
    return layers


def _fold_branch(
    model: SpikingNetwork,
    branch: Branch,
    module: nn.Conv2d | nn.Linear,
    mask: npt.NDArray[np.bool_],
    gain: float,
) -> tuple[FoldedSegment, FloatArray]:
    """A convolution or linear layer with its batch norm; returns its bias, [filters], too."""
    weight = _float64(module.weight, f"{branch.weight}.weight")
    bias = np.zeros(weight.shape[0])
    if module.bias is not None:
        bias = _float64(module.bias, f"{branch.weight}.bias")
    if branch.norm is None:
        weight, bias = gain * weight, gain * bias
    else:
        norm = cast("nn.BatchNorm2d", model.get_submodule(branch.norm))
        factor, mean, beta = _statistics(branch.norm, norm)
        weight = gain * weight * factor[:, None, None, None]
        bias = gain * ((bias - mean) * factor + beta)
    if branch.source == PIXELS:
        weight = weight / PIXEL_SCALE
    if isinstance(module, nn.Linear):
        average, kernel = _mean_over(branch.average, f"{branch.weight}")
        weight = np.tile(weight[:, :, None, None] / branch.average**2, (1, 1, kernel, kernel))
        mask = np.tile(mask[:, :, None, None], (1, 1, kernel, kernel))
        return FoldedSegment(branch.source, weight, mask, average=average), bias
    stride, padding = (cast("tuple[int, int]", n)[0] for n in (module.stride, module.padding))
    return FoldedSegment(branch.source, weight, mask, stride, padding), bias


def _statistics(name: str, norm: nn.BatchNorm2d) -> tuple[FloatArray, FloatArray, FloatArray]:
    """gamma / sigma, mean and beta of a batch norm."""
    gamma = _float64(norm.weight, f"{name}.weight")
    beta = _float64(norm.bias, f"{name}.bias")
    mean = _float64(norm.running_mean, f"{name}.running_mean")
    variance = _float64(norm.running_var, f"{name}.running_var")
    if (variance < 0).any():
        raise EvenspikeError(f"{name}.running_var: holds negative values")
    return gamma / np.sqrt(variance + norm.eps), mean, beta


def _identity(branch: Branch, source: FoldedLayer, gain: float) -> FoldedSegment:
    """A shortcut without weights of its own: each channel's spikes into the filter of its number.

    In the Program it is a 1x1 convolution whose diagonal holds the gain at the layer's scale.
    """
    eye = np.eye(source.bias.size)[:, :, None, None]
    return FoldedSegment(branch.source, gain * eye, eye != 0)


def _mean_over(side: int, name: str) -> tuple[int, int]:
    """(average, kernel) of a segment that sums over a map of side x side.

    The pool sums blocks of 1, 2, 4 or 8 positions a side, and the kernel, with the same weights at
    all its positions, what is left.
    """
    for average in reversed(AVERAGES):
        if side % average == 0 and side // average in KERNELS:
            return average, side // average
    raise EvenspikeError(
        f"{name}: a mean over {side}x{side} positions is no average pool of {AVERAGES} under a "
        f"kernel of {KERNELS}"
    )
