"""Reference: the integer network in plain numpy, exact to the bit, without a cycle or a PE.

Slow and obvious on purpose: every simulator and the RTL must give these spikes. A convolution is
an im2col and one matrix product of floats. It is exact: in a checked `Program` each product and
each partial sum, in any order, is an integer below 2^23 and float32 holds integers to 2^24; in the
host layer below 2^32, and float64 holds them to 2^53.

Arrays are [channels, height, width]; spikes are masks, uint8, bit t = timestep t. All timesteps
go through one product, in a time axis that comes first everywhere else: [T, ...].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import ACCUMULATOR_BITS, IntArray, lif, saturate, signed_range
from evenspike_core.program import PIXELS, Layer, Program, Segment

Masks = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LayerOutput:
    """What one layer computes for one image.

    psum: int64 [T, filters, height, width], before pooling; 24-bit values. The bias is not in
        them, except in the host layer, whose current (bias included) is the psum of every t.
    masks: uint8 [filters, height / pool, width / pool]; None for the last layer, which has no LIF.
    overflow: whether an accumulator saturated (the sticky flag of the hardware, per layer).
    """

    psum: IntArray
    masks: Masks | None
    overflow: bool


@dataclass(frozen=True)
class Activity:
    """What a network computes for one image.

    currents: int32 [filters, height, width], what the host hands to the first LIF at every t.
    masks: for each layer but the last, uint8 [filters, height, width] after pooling.
    logits: int64 [classes].
    overflow: for each layer, whether an accumulator saturated.
    """

    currents: npt.NDArray[np.int32]
    masks: tuple[Masks, ...]
    logits: IntArray
    overflow: tuple[bool, ...]

    @property
    def prediction(self) -> int:
        """The class with the largest logit; the lowest index on a tie."""
        return int(self.logits.argmax())


def run(program: Program, pixels: Pixels) -> Activity:
    """The whole network on one image.

    Parameters
    ----------
    pixels: uint8 [channels, height, width], the program's `shape`.

    Raises EvenspikeError for pixels of another type or shape.
    """
    inputs: dict[int, npt.NDArray[np.uint8]] = {PIXELS: pixels}
    results = []
    for index in range(len(program.layers)):
        result = run_layer(program, index, inputs)
        results.append(result)
        if result.masks is not None:
            inputs[index] = result.masks
    first, last = results[0], results[-1]
    return Activity(
        currents=first.psum[0].astype(np.int32),
        masks=tuple(inputs[index] for index in range(len(results) - 1)),
        logits=logits(program, last.psum),
        overflow=tuple(result.overflow for result in results),
    )


def run_layer(
    program: Program, index: int, inputs: Mapping[int, npt.NDArray[np.uint8]]
) -> LayerOutput:
    """One layer, from the outputs of its sources.

    Parameters
    ----------
    index: of the layer in the program.
    inputs: at least the layer's sources: layer index to masks, `PIXELS` to the pixels.

    Raises EvenspikeError for an input that is missing or has the wrong type, shape or timesteps.
    """
    layer = program.layers[index]
    if layer.host:
        current = host_currents(program, _input(program, layer, PIXELS, inputs)).astype(np.int64)
        psum = np.broadcast_to(current, (program.timesteps, *current.shape))
        bias = np.zeros(1, dtype=np.int64)  # already in the current
        overflow = False
    else:
        exact = np.zeros((program.timesteps, layer.filters, *layer.size), dtype=np.int64)
        for segment in layer.segments:
            masks = _input(program, layer, segment.source, inputs)
            exact += convolve(timestep_planes(masks, program.timesteps), segment)
        psum, overflow = accumulate(exact)
        bias = layer.bias.astype(np.int64)
    if layer.last:
        return LayerOutput(psum, None, overflow)
    spikes = lif(psum, bias[:, None, None], layer.threshold, layer.leak, layer.reset)
    return LayerOutput(psum, max_pool(spikes, layer.pool), overflow)


def host_currents(program: Program, pixels: Pixels) -> npt.NDArray[np.int32]:
    """The direct-coded first layer: the 24-bit current of each neuron, the same at every t.

    The sum of weight times pixel, plus bias, is exact in 32 bits; then it is rounded to
    `(sum + 2^(shift-1)) >> shift`, half towards plus infinity (the sum itself for shift 0).

    Parameters
    ----------
    pixels: uint8 [channels, height, width], the program's `shape`.

    Returns
    -------
    int32 [filters, height, width], before pooling.

    Raises EvenspikeError for pixels of another type or shape, and for a current that does not
    fit 24 bits (which the range proof of `Program` excludes).
    """
    layer = program.layers[0]
    image = _input(program, layer, PIXELS, {PIXELS: pixels})
    total = np.zeros((1, layer.filters, *layer.size), dtype=np.int64)
    for segment in layer.segments:
        total += convolve(image[None], segment)
    total += layer.bias.astype(np.int64)[:, None, None]
    if layer.shift:
        total = (total + (1 << (layer.shift - 1))) >> layer.shift
    low, high = signed_range(ACCUMULATOR_BITS)
    if total.min() < low or total.max() > high:
        worst = max(int(total.max()), int(total.min()), key=abs)
        raise EvenspikeError(
            f"layer {layer.name}: current {worst} is outside {low} to {high} (24 bit)"
        )
    currents: npt.NDArray[np.int32] = total[0].astype(np.int32)
    return currents


def logits(program: Program, psum: IntArray) -> IntArray:
    """int64 [classes] from the last layer's psum [T, classes, 1, 1]: `sum over t of psum + bias`.

    The sum over timesteps is wider than an accumulator; it is not saturated.
    """
    bias = program.layers[-1].bias.astype(np.int64)
    sums: IntArray = (psum.reshape(psum.shape[0], -1) + bias).sum(axis=0)
    return sums


def timestep_planes(masks: Masks, timesteps: int) -> npt.NDArray[np.uint8]:
    """Spike masks [...] as 0 and 1, uint8 [T, ...]."""
    shifts = np.arange(timesteps, dtype=np.uint8).reshape(-1, *[1] * masks.ndim)
    planes: npt.NDArray[np.uint8] = (masks >> shifts) & np.uint8(1)
    return planes


def convolve(maps: npt.NDArray[np.uint8], segment: Segment) -> IntArray:
    """Exact partial sums of one segment.

    Output (y, x) of filter f sums `weights[f, c, r, s] * maps[c, y*stride + r - padding,
    x*stride + s - padding]`, with zeros outside the map. With an average pool in front, the
    positions of each block of `average` x `average` add up first.

    Parameters
    ----------
    maps: uint8 [T, channels, height, width].

    Returns
    -------
    int64 [T, filters, height', width'].
    """
    time, channels, height, width = maps.shape
    kernel, side, padding = segment.kernel, segment.average, segment.padding
    blocks = maps.reshape(time, channels, height // side, side, width // side, side)
    exact = np.float64 if segment.source == PIXELS else np.float32
    summed = blocks.sum(axis=(3, 5), dtype=exact)
    padded = np.pad(summed, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    windows = windows[:, :, :: segment.stride, :: segment.stride]
    rows, columns = windows.shape[2:4]
    patches = windows.transpose(1, 4, 5, 0, 2, 3).reshape(channels * kernel**2, -1)
    weights = segment.weights.reshape(segment.weights.shape[0], -1).astype(exact)
    sums: IntArray = (weights @ patches).astype(np.int64).reshape(-1, time, rows, columns)
    return sums.swapaxes(0, 1)


def accumulate(exact: IntArray) -> tuple[IntArray, bool]:
    """24-bit accumulators: (saturated sums, whether one saturated).

    Only totals are looked at. The order of additions is the hardware's own, but the range proof
    of `Program` bounds the sum of |weights|, so in no order can a partial sum leave the range.
    """
    psum = saturate(exact)
    return psum, bool((psum != exact).any())


def max_pool(masks: Masks, side: int) -> Masks:
    """The OR of the masks of each block of `side` x `side` (the max-pool of binary spikes)."""
    filters, height, width = masks.shape
    blocks = masks.reshape(filters, height // side, side, width // side, side)
    pooled: Masks = np.bitwise_or.reduce(blocks, axis=(2, 4))
    return pooled


def _input(
    program: Program, layer: Layer, source: int, inputs: Mapping[int, npt.NDArray[np.uint8]]
) -> npt.NDArray[np.uint8]:
    """The checked output of one source of a layer."""
    name = "pixels" if source == PIXELS else f"spikes of {program.layers[source].name}"
    if source not in inputs:
        raise EvenspikeError(f"layer {layer.name}: the {name} are missing")
    array = inputs[source]
    shape = program.shape if source == PIXELS else program.layers[source].output
    if array.dtype != np.uint8 or array.shape != shape:
        raise EvenspikeError(
            f"layer {layer.name}: the {name} are {array.dtype} {array.shape}, not uint8 {shape}"
        )
    if source != PIXELS and int(array.max()) >> program.timesteps:
        raise EvenspikeError(
            f"layer {layer.name}: the {name} hold a mask of {int(array.max()):#x}, "
            f"more than {program.timesteps} timesteps"
        )
    return array
