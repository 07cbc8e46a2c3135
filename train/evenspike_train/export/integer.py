"""The integer network in torch, a batch at a time: an independent statement of its arithmetic.

Integers travel as floats.  That is exact: the range proof of a `Program` keeps every partial sum
of a spiking layer below 2^23 and float32 holds integers to 2^24; the first layer sums to 2^31 and
is computed in float64.  On a GPU all layers are: there, float32 may silently mean TF32 or an
algorithm that divides, and only the rounding after float64 makes the sums exact again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from evenspike_core.fixed import Leak, Reset
from evenspike_core.program import Layer, Program, Segment
from evenspike_core.progress import Progress, silent
from evenspike_train.data import Split


@dataclass(frozen=True)
class IntegerActivity:
    """Spikes of every layer but the last, after its pool, [T, B, F, H, W]; logits [B, classes]."""

    spikes: list[Tensor]
    logits: Tensor

    def masks(self) -> list[Tensor]:
        """Spikes as uint8 [B, F, H, W], bit t = timestep t."""
        packed = []
        for spikes in self.spikes:
            masks = torch.zeros_like(spikes[0], dtype=torch.uint8)
            for t in range(spikes.shape[0]):
                masks |= spikes[t].to(torch.uint8) << t
            packed.append(masks)
        return packed


def _leaked(membrane: Tensor, leak: Leak) -> Tensor:
    """What a timestep leaves; floors of exact products, 3/4 as u - floor(u / 4)."""
    if leak is Leak.QUARTER:
        return torch.floor(membrane * 0.25)
    if leak is Leak.HALF:
        return torch.floor(membrane * 0.5)
    if leak is Leak.THREE_QUARTERS:
        return membrane - torch.floor(membrane * 0.25)
    return membrane


def _neurons(current: Tensor, layer: Layer) -> Tensor:
    """Current [T, B, F, H, W] -> spikes (0.0 and 1.0) of the same shape."""
    membrane = torch.zeros_like(current[0])
    spikes = torch.empty_like(current)
    for t in range(current.shape[0]):
        membrane = _leaked(membrane, layer.leak) + current[t]
        fired = membrane >= layer.threshold
        spikes[t] = fired
        if layer.reset is Reset.HARD:
            membrane = membrane.masked_fill(fired, 0)
        else:
            membrane = membrane - layer.threshold * fired
    return spikes


def _weights(layer: Layer, index: int, like: Tensor) -> Tensor:
    return torch.tensor(layer.segments[index].weights).to(like)


def _convolve(x: Tensor, weight: Tensor, segment: Segment) -> Tensor:
    """Exact sums of integers, in the type of `x`."""
    if x.device.type == "cpu":
        return functional.conv2d(x, weight, None, segment.stride, segment.padding)
    wide = functional.conv2d(x.double(), weight.double(), None, segment.stride, segment.padding)
    return wide.round().to(x.dtype)


def _host_current(layer: Layer, images: Tensor) -> Tensor:
    """Pixels [B, C, H, W] -> current [B, F, H, W], float32 integers of 24 bits."""
    segment = layer.segments[0]
    pixels = images.to(torch.float64)
    bias = torch.tensor(layer.bias).to(pixels)
    total = _convolve(pixels, _weights(layer, 0, pixels), segment) + bias[:, None, None]
    if layer.shift:
        total = torch.floor((total + 2.0 ** (layer.shift - 1)) / 2.0**layer.shift)
    return total.to(torch.float32)


def quantised_forward(program: Program, images: Tensor) -> IntegerActivity:
    """Images [B, C, 32, 32] uint8 through the integer network."""
    steps = program.timesteps
    spikes: list[Tensor] = []
    for layer in program.layers:
        bias = torch.tensor(layer.bias).to(images.device)
        if layer.host:
            current = _host_current(layer, images).expand(
                steps, len(images), layer.filters, *layer.size
            )
        else:
            total = torch.zeros(())
            for index, segment in enumerate(layer.segments):
                x = spikes[segment.source].flatten(0, 1)
                if segment.average > 1:
                    side = segment.average
                    x = functional.avg_pool2d(x, side, divisor_override=1)
                total = total + _convolve(x, _weights(layer, index, x), segment)
            current = (total + bias[:, None, None]).unflatten(0, (steps, len(images)))
        if layer.last:
            # The sum over T may need more than 24 bits.
            logits = current.flatten(2).to(torch.int64).sum(0)
            return IntegerActivity(spikes, logits)
        fired = _neurons(current, layer)
        if layer.pool > 1:
            fired = functional.max_pool2d(fired.flatten(0, 1), layer.pool)
            fired = fired.unflatten(0, (steps, len(images)))
        spikes.append(fired)
    raise AssertionError("a Program ends in its last layer")


@torch.no_grad()
def integer_accuracy(
    program: Program, split: Split, progress: Progress = silent, batch: int = 100
) -> float:
    """Percent of images whose largest logit (the first, on a tie) is the label."""
    correct = 0
    for number, (images, labels) in enumerate(split.batches(batch)):
        progress("test accuracy in integers", number * batch, len(split))
        logits = quantised_forward(program, images).logits
        correct += int((logits.argmax(1) == labels).sum())
    return 100.0 * correct / len(split)
