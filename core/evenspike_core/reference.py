"""Reference: the integer network in plain numpy, exact to the bit, without a cycle or a PE.

Slow and obvious on purpose: every simulator and the RTL must give these spikes. A convolution is
an im2col and one matrix product of floats. It is exact: in a checked `Program` each product and
each partial sum, in any order, is an integer below 2^23 and float32 holds integers to 2^24; in the
host layer below 2^32, and float64 holds them to 2^53.

Arrays are [channels, height, width]; spikes are masks, bit t = timestep t, of 8, 16 or 32 bits
(`fixed.mask_type`). All timesteps go through one product, in a time axis that comes first
everywhere else: [T, ...].
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import (
    ACCUMULATOR_BITS,
    IntArray,
    mask_type,
    pack_masks,
    saturate,
    signed_range,
)
from evenspike_core.program import (
    PIXEL_MAX,
    PIXELS,
    Coding,
    Layer,
    Program,
    Readout,
    Segment,
)

Masks = npt.NDArray[np.unsignedinteger[Any]]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LayerOutput:
    """What one layer computes for one image.

    psum: int64 [T, filters, height, width], before pooling; 24-bit values, without the bias.
    masks: [filters, height / pool, width / pool]; None for the last layer.
    overflow: whether an accumulator saturated (the sticky flag of the hardware, per layer).
    logits: int64 [classes] of the last layer, by its read-out; None for the others.
    """

    psum: IntArray
    masks: Masks | None
    overflow: bool
    logits: IntArray | None = None


@dataclass(frozen=True)
class Activity:
    """What a network computes for one image.

    masks: for each layer but the last, [filters, height, width] after pooling; the first are the
        encoder's, which is all that the machine gets of the image.
    logits: int64 [classes].
    overflow: for each layer, whether an accumulator saturated.
    """

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
    pixels: uint8 [channels, height, width], the program's `shape`, or a frame of it for each
        timestep, [T, channels, height, width] (`encode` says which coding takes which).

    Raises EvenspikeError for pixels of another type or shape.
    """
    inputs = {0: encode(program, pixels)}
    overflow = [False]
    logits = np.zeros(0, dtype=np.int64)
    for index in range(1, len(program.layers)):
        result = run_layer(program, index, inputs)
        overflow.append(result.overflow)
        if result.masks is not None:
            inputs[index] = result.masks
        if result.logits is not None:
            logits = result.logits
    return Activity(tuple(inputs[index] for index in sorted(inputs)), logits, tuple(overflow))


def run_layer(program: Program, index: int, inputs: Mapping[int, Masks]) -> LayerOutput:
    """One layer, from the outputs of its sources.

    Parameters
    ----------
    index: of the layer in the program; 1 or more, the encoder is `encode`.
    inputs: at least the layer's sources: layer index to masks.

    Raises EvenspikeError for an input that is missing or has the wrong type, shape or timesteps.
    """
    layer = program.layers[index]
    exact = np.zeros((program.timesteps, layer.filters, *layer.size), dtype=np.int64)
    for segment in layer.segments:
        masks = _masks(program, layer, segment.source, inputs)
        exact += convolve(timestep_planes(masks, program.timesteps), segment, layer.size)
    psum, overflow = accumulate(exact)
    drive = psum + layer.bias.astype(np.int64)[:, None, None]
    if layer.readout is Readout.PSUM:  # the sum over t has 32 bits and does not saturate
        return LayerOutput(psum, None, overflow, drive.sum(axis=0).reshape(-1))
    masks, membrane = layer.neuron.run(drive)
    if layer.readout is Readout.COUNT:
        counts = timestep_planes(masks, program.timesteps).sum(axis=0, dtype=np.int64)
        return LayerOutput(psum, None, overflow, counts.reshape(-1))
    if layer.readout is Readout.MEMBRANE:
        return LayerOutput(psum, None, overflow, membrane.reshape(-1))
    return LayerOutput(psum, max_pool(masks, layer.pool), overflow)


def encode(program: Program, pixels: Pixels) -> Masks:
    """The spikes that the host makes of an input: the output of the first layer.

    Parameters
    ----------
    pixels: uint8. Direct coding takes an image, [channels, height, width], or a frame for each
        timestep, [T, channels, height, width]; frames of spikes are [T, ...]; rate and latency
        coding take an image.

    Returns
    -------
    masks [channels, height, width], the first layer's `output`.

    Raises EvenspikeError for pixels of another type or shape, and for a current that does not
    fit 24 bits (which the range proof of `Program` excludes).
    """
    layer = program.encoder
    frames = _frames(program, pixels)
    if layer.coding is Coding.DIRECT:
        currents = host_currents(program, pixels).astype(np.int64)
        if layer.pool_first:
            currents = _windows(currents, layer.pool).max(axis=(-3, -1))
        drive = np.broadcast_to(currents, (program.timesteps, *currents.shape[1:]))
        masks, _ = layer.neuron.run(drive)
        return masks if layer.pool_first else max_pool(masks, layer.pool)
    if layer.coding is Coding.FRAMES:
        return pack_masks(frames)
    image = frames[0]
    if layer.coding is Coding.RATE:
        # Another image gets other draws, the same one always the same.
        rng = np.random.default_rng((layer.seed, zlib.crc32(image.tobytes())))
        return pack_masks(rng.integers(0, PIXEL_MAX, (program.timesteps, *image.shape)) < image)
    steps = program.timesteps - 1
    late = (2 * (PIXEL_MAX - image.astype(np.int64)) * steps + PIXEL_MAX) // (2 * PIXEL_MAX)
    times = np.arange(program.timesteps).reshape(-1, 1, 1, 1)
    return pack_masks((late == times) & (image != 0))


def input_shapes(program: Program) -> tuple[tuple[int, ...], ...]:
    """Shapes that an input can have: an image's, or with a frame for each timestep in front."""
    image = tuple(program.shape)
    moving = program.timesteps, *image
    if program.encoder.coding is Coding.DIRECT:
        return image, moving
    return (moving,) if program.encoder.coding is Coding.FRAMES else (image,)


def _frames(program: Program, pixels: Pixels) -> Pixels:
    """The checked input, [1 or T, channels, height, width]."""
    layer, allowed = program.encoder, input_shapes(program)
    if pixels.dtype != np.uint8 or pixels.shape not in allowed:
        raise EvenspikeError(
            f"layer {layer.name}: the pixels are {pixels.dtype} {pixels.shape}, not uint8 "
            f"{' or '.join(map(str, allowed))} ({layer.coding} coding)"
        )
    return pixels.reshape(-1, *program.shape)


def host_currents(program: Program, pixels: Pixels) -> npt.NDArray[np.int32]:
    """The direct encoder's convolution: the 24-bit current of each neuron.

    The sum of weight times pixel, plus bias, is exact in 32 bits; then it is rounded to
    `(sum + 2^(shift-1)) >> shift`, half towards plus infinity (the sum itself for shift 0).

    Parameters
    ----------
    pixels: as for `encode`.

    Returns
    -------
    int32 [1 or T, filters, height, width], before pooling; 1 for an image, which drives the neurons
    alike at every timestep.

    Raises EvenspikeError as `encode` does.
    """
    layer = program.encoder
    frames = _frames(program, pixels)
    total = np.zeros((frames.shape[0], layer.filters, *layer.size), dtype=np.int64)
    for segment in layer.segments:
        total += convolve(frames, segment, layer.size)
    total += layer.bias.astype(np.int64)[:, None, None]
    if layer.shift:
        total = (total + (1 << (layer.shift - 1))) >> layer.shift
    low, high = signed_range(ACCUMULATOR_BITS)
    if total.min() < low or total.max() > high:
        worst = max(int(total.max()), int(total.min()), key=abs)
        raise EvenspikeError(
            f"layer {layer.name}: current {worst} is outside {low} to {high} (24 bit)"
        )
    return total.astype(np.int32)


def timestep_planes(masks: Masks, timesteps: int) -> npt.NDArray[np.uint8]:
    """Spike masks [...] as 0 and 1, uint8 [T, ...]."""
    shifts = np.arange(timesteps, dtype=masks.dtype).reshape(-1, *[1] * masks.ndim)
    return ((masks >> shifts) & masks.dtype.type(1)).astype(np.uint8)


def convolve(maps: npt.NDArray[np.uint8], segment: Segment, size: tuple[int, int]) -> IntArray:
    """Exact partial sums of one segment on a map of `size`.

    Output (y, x) of filter f sums `weights[f, c, r, s] * maps[c, y*stride + r + offset[0],
    x*stride + s + offset[1]]`, with zeros outside the map. With an average pool in front, the
    positions of each block of `average` x `average` add up first.

    Parameters
    ----------
    maps: uint8 [T, channels, height, width].

    Returns
    -------
    int64 [T, filters, *size].
    """
    time, channels, height, width = maps.shape
    kernel, side = segment.kernel, segment.average
    blocks = maps.reshape(time, channels, height // side, side, width // side, side)
    exact = np.float64 if segment.source == PIXELS else np.float32
    summed = blocks.sum(axis=(3, 5), dtype=exact)
    # What the outputs read, from the first row and column on; zeros where it lies outside the map.
    reach = [(n - 1) * segment.stride + kernel for n in size]
    read = np.zeros((time, channels, *reach), dtype=exact)
    rows, columns = (
        (max(0, at), max(0, at, min(extent, at + n)))
        for at, extent, n in zip(segment.offset, summed.shape[2:], reach, strict=True)
    )
    top, left = segment.offset
    read[:, :, rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left] = summed[
        :, :, slice(*rows), slice(*columns)
    ]
    windows = np.lib.stride_tricks.sliding_window_view(read, (kernel, kernel), axis=(2, 3))
    windows = windows[:, :, :: segment.stride, :: segment.stride]
    patches = windows.transpose(1, 4, 5, 0, 2, 3).reshape(channels * kernel**2, -1)
    weights = segment.weights.reshape(segment.weights.shape[0], -1).astype(exact)
    sums: IntArray = (weights @ patches).astype(np.int64).reshape(-1, time, *size)
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
    pooled: Masks = np.bitwise_or.reduce(_windows(masks, side), axis=(-3, -1))
    return pooled


def _windows(maps: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """[..., height, width] as [..., height / side, side, width / side, side]."""
    *front, height, width = maps.shape
    return maps.reshape(*front, height // side, side, width // side, side)


def _masks(program: Program, layer: Layer, source: int, inputs: Mapping[int, Masks]) -> Masks:
    """The checked output of one source of a layer."""
    name = f"spikes of {program.layers[source].name}"
    if source not in inputs:
        raise EvenspikeError(f"layer {layer.name}: the {name} are missing")
    array, kind = inputs[source], mask_type(program.timesteps)
    shape = program.layers[source].output
    if array.dtype != kind or array.shape != shape:
        raise EvenspikeError(
            f"layer {layer.name}: the {name} are {array.dtype} {array.shape}, not {kind} {shape}"
        )
    if int(array.max()) >> program.timesteps:
        raise EvenspikeError(
            f"layer {layer.name}: the {name} hold a mask of {int(array.max()):#x}, "
            f"more than {program.timesteps} timesteps"
        )
    return array
