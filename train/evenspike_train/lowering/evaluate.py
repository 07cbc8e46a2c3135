"""Evaluating: the currents of a layer of a `Network`, in real numbers, on given spikes."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from evenspike_core.program import PIXELS
from evenspike_train.lowering.network import FloatLayer, Network
from evenspike_train.lowering.segments import FloatArray, FloatSegment


def currents(network: Network, index: int) -> FloatArray:
    """Currents [T, B, F, H, W] of a layer, gain and bias in them, in front of neurons and pool.

    Its sources' spikes are those that the module itself gave on the examples.
    """
    layer = network.layers[index]
    total = torch.from_numpy(layer.bias)[:, None, None]
    for segment in layer.segments:
        if segment.source == PIXELS:
            frames = network.inputs if network.inputs.ndim == 5 else network.inputs[:, None]
            maps = np.moveaxis(frames, 1, 0).astype(np.float64)
        else:
            maps = np.asarray(network.layers[segment.source].spikes, dtype=np.float64)
        total = total + _convolved(torch.from_numpy(np.ascontiguousarray(maps)), segment, layer)
    shape = (network.timesteps, len(network.inputs), layer.filters, *layer.size)
    found: FloatArray = np.broadcast_to(total.numpy(), shape)
    return found


def _convolved(maps: torch.Tensor, segment: FloatSegment, layer: FloatLayer) -> torch.Tensor:
    """One segment over maps [T, B, C, H, W]."""
    x = maps.flatten(0, 1)
    if segment.average > 1:
        x = functional.avg_pool2d(x, segment.average, divisor_override=1)
    kernel, stride, size = segment.weight.shape[-1], segment.stride, layer.size
    reach = [(n - 1) * stride + kernel for n in size]
    read = x.new_zeros((*x.shape[:2], *reach))
    spans = []
    for at, extent, length in zip(segment.offset, x.shape[2:], reach, strict=True):
        first, last = max(0, at), max(0, at, min(extent, at + length))
        spans.append((slice(first, last), slice(first - at, last - at)))
    (rows, to_rows), (columns, to_columns) = spans
    read[:, :, to_rows, to_columns] = x[:, :, rows, columns]
    out = functional.conv2d(read, torch.from_numpy(segment.weight), None, stride)
    return out.unflatten(0, maps.shape[:2])
