"""The integer network in torch, a batch at a time: an independent statement of its arithmetic.

Integers travel as floats.  That is exact: the range proof of a `Program` keeps every partial sum
of a spiking layer below 2^23 and float32 holds integers to 2^24; a direct encoder sums to 2^31, and
a leak multiplies to 2^36, so both are computed in float64.  On a GPU all layers are: there, float32
may silently mean TF32 or an algorithm that divides, and only the rounding after float64 makes the
sums exact again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from evenspike_core import reference
from evenspike_core.fixed import LEAK_ONE, pack_masks
from evenspike_core.program import Coding, Layer, Program, Readout, Segment
from evenspike_core.progress import Progress, silent
from evenspike_train.data import Split


@dataclass(frozen=True)
class IntegerActivity:
    """Spikes of every layer but the last, after its pool, [T, B, F, H, W]; logits [B, classes]."""

    spikes: list[Tensor]
    logits: Tensor

    def masks(self) -> list[Tensor]:
        """Spikes as masks [B, F, H, W], bit t = timestep t, of 8, 16 or 32 bits."""
        return [torch.from_numpy(pack_masks(one.cpu().numpy())) for one in self.spikes]


def _neurons(current: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    """Current [T, B, F, H, W] -> spikes (0.0 and 1.0) of the same shape, and the last membrane."""
    membrane = torch.zeros_like(current[0], dtype=torch.float64)
    fired = torch.zeros_like(membrane, dtype=torch.bool)
    spikes = torch.empty_like(current)
    for t in range(current.shape[0]):
        left = torch.floor(membrane * layer.leak / LEAK_ONE)
        membrane = left - layer.reset * fired + current[t]
        fired = membrane >= layer.threshold
        spikes[t] = fired
        if layer.hard:
            membrane = membrane.masked_fill(fired, 0)
    return spikes, membrane


def _weights(layer: Layer, index: int, like: Tensor) -> Tensor:
    return torch.tensor(layer.segments[index].weights).to(like)


def _convolve(x: Tensor, weight: Tensor, segment: Segment, size: tuple[int, int]) -> Tensor:
    """Exact sums of integers on a map of `size`, in the type of `x`."""
    sides = []
    for at, extent, outputs in zip(segment.offset, x.shape[2:], size, strict=True):
        behind = at + (outputs - 1) * segment.stride + segment.kernel - extent
        sides.append((-at, behind))
    (top, bottom), (left, right) = sides
    if min(x.shape[2] + min(top, bottom, 0), x.shape[3] + min(left, right, 0)) < 1:
        return x.new_zeros((x.shape[0], weight.shape[0], *size))  # it reads nothing of the map
    x = functional.pad(x, (left, right, top, bottom))
    if x.device.type == "cpu":
        return functional.conv2d(x, weight, None, segment.stride)
    wide = functional.conv2d(x.double(), weight.double(), None, segment.stride)
    return wide.round().to(x.dtype)


def _host_current(layer: Layer, images: Tensor) -> Tensor:
    """Pixels [N, C, H, W] -> current [N, F, H, W], float32 integers of 24 bits."""
    pixels = images.to(torch.float64)
    total = torch.tensor(layer.bias).to(pixels)[:, None, None]
    for index, segment in enumerate(layer.segments):
        weight = _weights(layer, index, pixels)
        total = total + _convolve(pixels, weight, segment, layer.size)
    if layer.shift:
        total = torch.floor((total + 2.0 ** (layer.shift - 1)) / 2.0**layer.shift)
    return total.to(torch.float32)


def _pooled(maps: Tensor, side: int) -> Tensor:
    """Maps [T, B, F, H, W] behind their max-pool."""
    if side == 1:
        return maps
    return functional.max_pool2d(maps.flatten(0, 1), side).unflatten(0, maps.shape[:2])


def _encoded(program: Program, images: Tensor) -> Tensor:
    """The encoder's spikes [T, B, F, H, W] of images [B, C, H, W] or frames [B, T, C, H, W]."""
    layer, steps = program.encoder, program.timesteps
    if layer.coding is Coding.DIRECT:
        frames = images.transpose(0, 1) if images.dim() == 5 else images[None]
        current = _host_current(layer, frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        if layer.pool_first:
            current = _pooled(current, layer.pool)
        current = current.expand(steps, *current.shape[1:])
        spikes, _ = _neurons(current, layer)
        return spikes if layer.pool_first else _pooled(spikes, layer.pool)
    if layer.coding is Coding.FRAMES:
        return (images.transpose(0, 1) != 0).to(torch.float32)
    masks = [reference.encode(program, one.cpu().numpy()) for one in images]
    planes = np.stack([reference.timestep_planes(one, steps) for one in masks], 1)
    return torch.from_numpy(planes).to(images.device, torch.float32)


def quantised_forward(program: Program, images: Tensor) -> IntegerActivity:
    """Images [B, C, H, W] uint8, or frames [B, T, C, H, W], through the integer network."""
    spikes = [_encoded(program, images)]
    steps, batch = spikes[0].shape[:2]
    for layer in program.layers[1:]:
        bias = torch.tensor(layer.bias).to(images.device)
        total = bias[:, None, None].to(torch.float32)
        for index, segment in enumerate(layer.segments):
            x = spikes[segment.source].flatten(0, 1)
            if segment.average > 1:
                x = functional.avg_pool2d(x, segment.average, divisor_override=1)
            total = total + _convolve(x, _weights(layer, index, x), segment, layer.size)
        current = total.unflatten(0, (steps, batch))
        if layer.readout is Readout.PSUM:
            # The sum over T may need more than 24 bits.
            return IntegerActivity(spikes, current.flatten(2).to(torch.int64).sum(0))
        fired, membrane = _neurons(current, layer)
        if layer.readout is not None:
            last = fired.sum(0) if layer.readout is Readout.COUNT else membrane
            return IntegerActivity(spikes, last.flatten(1).to(torch.int64))
        spikes.append(_pooled(fired, layer.pool))
    raise AssertionError("a Program ends in its last layer")


@torch.no_grad()
def integer_accuracy(
    program: Program, split: Split, progress: Progress = silent, batch: int = 100
) -> float:
    """Percent of images whose largest logit (the first, on a tie) is the label."""
    correct = 0
    for number, (images, labels) in enumerate(split.batches(batch)):
        progress("measuring the integers on the test set", number * batch, len(split))
        logits = quantised_forward(program, images).logits
        correct += int((logits.argmax(1) == labels).sum())
    return 100.0 * correct / len(split)
