"""Small random Programs over the whole space of layer descriptors, from a seed.

Every simulator is tested on these: kernels 1, 3, 5, 7; strides; offsets of either sign that differ
between the axes; odd and non-square maps, long strips among them; 1 to 40 filters and channels;
pools of both kinds; one to three segments, identities among them; empty filters and channels;
extreme weights, and such that fit 8 bits, and powers of two of any base; a width of the weight
stream that is stated or not; every coding and read-out; leaks from 0 to 1, hard resets and amounts
of either sign; 1 to 32 timesteps.
The same seed gives the same Program.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.fixed import LEAK_ONE, Neuron, signed_range
from evenspike_core.program import (
    AVERAGES,
    KERNELS,
    PIXEL_MAX,
    PIXELS,
    POOLS,
    STRIDES,
    TIMESTEPS_MAX,
    Coding,
    Layer,
    Program,
    Readout,
    Segment,
)

FILTERS = (1, 2, 3, 5, 8, 16, 17, 33, 40)
CHANNELS = (1, 1, 2, 3, 4, 18, 33)
LONG_STRIP = 40
Int = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Geometry:
    """How a segment reads its source, and the (height, width) that comes out."""

    source: int
    kernel: int
    stride: int
    offset: tuple[int, int]
    average: int
    size: tuple[int, int]


def random_program(
    seed: int,
    *,
    timesteps: int | None = None,
    max_side: int = 12,
    max_filters: int = 17,
    kernel_max: int = max(KERNELS),
) -> Program:
    """A valid Program: an encoder, one to five hidden layers (more if the map has to shrink), and a
    last one with a 1x1 map.

    Parameters
    ----------
    timesteps: 1 to 32; drawn if None, seldom above 8.
    max_side: largest height and width of the input; of a strip, one in ten, one is thrice that, and
        LONG_STRIP at least.
    max_filters: largest number of filters of a layer, and of channels of the input.
    kernel_max: largest kernel of the layers that the accelerator runs.
    """
    rng = np.random.default_rng(seed)
    time = timesteps
    if time is None:
        time = int(rng.integers(1, 9 if rng.random() < 0.8 else TIMESTEPS_MAX + 1))
    side = (int(rng.integers(1, max_side + 1)), int(rng.integers(1, max_side + 1)))
    if rng.random() < 0.5:
        side = side[0], side[0]
    elif rng.random() < 0.2:
        long = max(LONG_STRIP, 3 * max_side)
        side = (long, min(side)) if rng.random() < 0.5 else (min(side), long)
    channels = int(rng.choice([n for n in CHANNELS if n <= max_filters]))
    shape = (channels, *side)
    layers = [_encoder(rng, shape, time, max_filters)]
    for _ in range(int(rng.choice((1, 2, 3, 5), p=(0.35, 0.35, 0.2, 0.1)))):
        layers.append(_layer(rng, layers, time, max_filters, kernel_max))
    while not _geometries(layers, kernel_max, (1, 1)):
        layers.append(_layer(rng, layers, time, max_filters, kernel_max, shrink=True))
    layers.append(_layer(rng, layers, time, max_filters, kernel_max, last=True))
    layers[1:] = [_streamed(layer, np.random.default_rng((8, seed, n)))
                  for n, layer in enumerate(layers[1:])]  # fmt: skip
    return Program(f"random-{seed}", time, shape, tuple(layers), {"seed": seed})


def random_pixels(program: Program, seed: int) -> npt.NDArray[np.uint8]:
    """An input for the program: noise, but black, white or sparse for some seeds.

    For a direct encoder an image or, for every third seed, a frame for each timestep.
    """
    rng = np.random.default_rng(seed)
    coding = program.encoder.coding
    moving = coding is Coding.FRAMES or (coding is Coding.DIRECT and seed % 3 == 2)
    shape = (program.timesteps, *program.shape) if moving else program.shape
    noise = rng.integers(0, PIXEL_MAX + 1, shape)
    kind = seed % 8
    if kind == 1:
        noise[:] = 0
    elif kind == 2:
        noise[:] = PIXEL_MAX
    elif kind == 3:
        noise[rng.random(shape) < 0.9] = 0
    if coding is Coding.FRAMES:
        noise[rng.random(shape) < 0.5] = 0
    return noise.astype(np.uint8)


def _streamed(layer: Layer, rng: np.random.Generator) -> Layer:
    """The layer with a stated width of the weight stream, one time in two; 8 bits where they fit.

    Of those whose weights do not fit, half get weights that do. Of all layers, one in three has
    powers of two.
    """
    if rng.random() < 1 / 3:
        segments = tuple(
            replace(one, weights=_powers_of_two(rng, one.weights)) for one in layer.segments
        )
        return replace(layer, segments=segments, weight_bits=4 if rng.random() < 0.5 else None)
    if rng.random() < 0.5:
        return layer
    fit = all(segment.fits(8) for segment in layer.segments)
    if not fit and rng.random() < 0.5:
        low, high = signed_range(8)
        segments = tuple(
            replace(one, weights=np.clip(one.weights, low, high)) for one in layer.segments
        )
        return replace(layer, segments=segments, weight_bits=8)
    return replace(layer, weight_bits=8 if fit and rng.random() < 0.5 else 16)


def _powers_of_two(
    rng: np.random.Generator, weights: npt.NDArray[np.int16]
) -> npt.NDArray[np.int16]:
    """Weights no larger than these, of one to eight exponents; what is smaller becomes zero."""
    size = np.abs(weights.astype(np.int64))
    exponents = np.floor(np.log2(np.maximum(size, 1))).astype(np.int64)
    top = min(14, int(exponents.max()))
    if rng.random() < 0.4:
        top = int(rng.integers(top + 1))
    low = max(0, top - int(rng.integers(8)))
    powers = 1 << np.minimum(exponents, top)
    powers[(size == 0) | (powers < 1 << low)] = 0
    return (np.sign(weights) * powers).astype(np.int16)


def _encoder(
    rng: np.random.Generator, shape: tuple[int, int, int], time: int, max_filters: int
) -> Layer:
    coding = list(Coding)[int(rng.choice(len(Coding), p=(0.4, 0.2, 0.1, 0.3)))]
    if coding is Coding.DIRECT:
        options = [g for g in _reads(PIXELS, shape) if g.average == 1 and max(g.size) <= 16] or [
            Geometry(PIXELS, 1, 1, (0, 0), 1, shape[1:])
        ]
        geometry = _pick(rng, options, PIXELS)
        filters = int(rng.choice([f for f in FILTERS if f <= max_filters]))
        weights = [_weights(rng, filters, shape[0], geometry.kernel)]
        return _neurons(rng, [geometry], weights, "encoder", time, coding=coding)
    zero = np.zeros(shape[0], dtype=np.int32)
    seed = int(rng.integers(1 << 20)) if coding is Coding.RATE else 0
    return Layer("encoder", (), zero, shape[1:], 1, coding=coding, seed=seed)


def _reads(source: int, shape: tuple[int, int, int]) -> list[Geometry]:
    """Ways in which a layer can read a map: paddings as a convolution has them."""
    found = []
    _, height, width = shape
    for kernel, stride, average in itertools.product(KERNELS, STRIDES, AVERAGES):
        if height % average or width % average:
            continue
        for padding in range(kernel):
            rows, columns = (
                (n // average + 2 * padding - kernel) // stride + 1 for n in (height, width)
            )
            if min(rows, columns) >= 1:
                offset, size = (-padding, -padding), (rows, columns)
                found.append(Geometry(source, kernel, stride, offset, average, size))
    return found


def _geometries(
    layers: list[Layer], kernel_max: int, size: tuple[int, int] | None = None
) -> list[Geometry]:
    """Every way in which the next layer can read an earlier one, to a map of `size` if given."""
    found = []
    for source, layer in enumerate(layers):
        reads = (g for g in _reads(source, layer.output) if g.kernel <= kernel_max)
        found += [g for g in reads if size in (None, g.size)]
    return found


def _shifted(rng: np.random.Generator, one: Geometry, size: tuple[int, int] | None) -> Geometry:
    """The same kernel elsewhere, on a map that nothing but its statement gives."""
    offset = (one.offset[0] + int(rng.integers(-3, 4)), one.offset[1] + int(rng.integers(-3, 4)))
    if size is None:
        size = (
            max(1, one.size[0] + int(rng.integers(-2, 3))),
            max(1, one.size[1] + int(rng.integers(-2, 3))),
        )
    return Geometry(one.source, one.kernel, one.stride, offset, one.average, size)


def _pick(rng: np.random.Generator, options: list[Geometry], newest: int) -> Geometry:
    """Any kernel with the same chance; the newest source, and no average pool, more often."""
    kernel = int(rng.choice(sorted({g.kernel for g in options})))
    options = [g for g in options if g.kernel == kernel]
    for keep in (
        [g for g in options if g.source == newest],
        [g for g in options if g.average == 1],
        [g for g in options if g.stride == 1],
        [g for g in options if -2 * g.offset[0] == kernel - 1],
    ):
        if keep and rng.random() < 0.6:
            options = [g for g in options if g in keep] or options
    return options[int(rng.integers(len(options)))]


def _layer(
    rng: np.random.Generator,
    layers: list[Layer],
    time: int,
    max_filters: int,
    kernel_max: int,
    *,
    last: bool = False,
    shrink: bool = False,
) -> Layer:
    options = _geometries(layers, kernel_max, (1, 1) if last else None)
    if shrink:
        smallest = min(g.size[0] * g.size[1] for g in options)
        options = [g for g in options if g.size[0] * g.size[1] == smallest]
    else:
        options = [g for g in options if g.size[0] * g.size[1] <= 256] or options
    first = _pick(rng, options, len(layers) - 1)
    if rng.random() < 0.25:
        first = _shifted(rng, first, (1, 1) if last else first.size if shrink else None)
    filters = int(rng.choice([f for f in FILTERS if f <= max_filters]))
    geometries = [first]
    for chance in (0.35, 0.3):
        others = _geometries(layers, kernel_max, first.size)
        if not others or rng.random() >= chance:
            break
        other = _pick(rng, others, len(layers) - 1)
        if rng.random() < 0.5 and other.kernel == 1 and other.average == 1 and other.stride == 1:
            filters = layers[other.source].output[0]  # lets it be an identity
        elif rng.random() < 0.3:
            other = _shifted(rng, other, first.size)
        geometries.append(other)
    weights = []
    for index, geometry in enumerate(geometries):
        channels = layers[geometry.source].output[0]
        if index and geometry.kernel == 1 and channels == filters:
            scale = int(rng.integers(1, 2000))
            weights.append(np.eye(filters, dtype=np.int64)[:, :, None, None] * scale)
        else:
            weights.append(_weights(rng, filters, channels, geometry.kernel))
    readout = list(Readout)[int(rng.integers(len(Readout)))] if last else None
    return _neurons(rng, geometries, weights, f"layer{len(layers)}", time, readout=readout)


def _neurons(
    rng: np.random.Generator,
    geometries: list[Geometry],
    weights: list[Int],
    name: str,
    time: int,
    *,
    readout: Readout | None = None,
    coding: Coding | None = None,
) -> Layer:
    """Leak, reset, bias and threshold; weights are removed until the range proof holds."""
    host = coding is not None
    leaks = (0, LEAK_ONE // 4, LEAK_ONE // 2, 3 * LEAK_ONE // 4, LEAK_ONE)
    leak = int(rng.choice(leaks)) if rng.random() < 0.5 else int(rng.integers(LEAK_ONE + 1))
    gain = sum((leak / LEAK_ONE) ** t for t in range(time))
    top = signed_range(24)[1]
    # Half of the range is left to resets.
    limit = (signed_range(31)[1] if host else top) // 2 / gain
    limit = int(limit) - 2
    factors = [PIXEL_MAX if host else g.average**2 for g in geometries]
    _fit(rng, weights, factors, limit)
    magnitude = sum(
        (np.abs(w).sum(axis=(1, 2, 3)) * f for w, f in zip(weights, factors, strict=True)),
        np.zeros(weights[0].shape[0], dtype=np.int64),
    )
    spread = np.sqrt(
        sum((w**2).sum(axis=(1, 2, 3)) * f**2 for w, f in zip(weights, factors, strict=True)) / 3
    )
    typical = float(np.median(spread)) + 1.0
    bias = np.clip(np.rint(rng.normal(0.1 * typical, 0.2 * typical, magnitude.size)), -limit, limit)
    if rng.random() < 0.1:
        bias[:] = rng.choice((-limit, limit))
    bias = np.clip(bias.astype(np.int64), magnitude - limit, limit - magnitude)
    shift = 0
    worst = int((magnitude + np.abs(bias)).max())
    if host:
        while (worst >> shift) + 1 > top / 2 / gain:
            shift += 1
        shift = min(31, shift + int(rng.choice((0, 0, 1, 4))))
    threshold = max(1, min(top, int(typical * rng.uniform(0.02, 1)) >> shift))
    if rng.random() < 0.05:
        threshold = int(rng.choice((1, top)))
    kind = int(rng.integers(5))
    resets = (0, threshold, threshold * leak // LEAK_ONE, 0, -int(rng.integers(threshold + 1)))
    hard, reset = kind in (0, 4), resets[kind]
    most = np.array([(worst >> shift) + 1])
    while Neuron(threshold, leak, hard, reset).bound(most, time)[0] > top:
        reset //= 2
        if -1 <= reset <= 0:
            reset = 0
            break
    size = geometries[0].size
    pools = [p for p in POOLS if not any(n % p for n in size)]
    pool = 1 if readout else int(rng.choice(pools))
    return Layer(
        name,
        tuple(
            Segment(g.source, w.astype(np.int16), g.stride, g.offset, g.average)
            for g, w in zip(geometries, weights, strict=True)
        ),
        bias.astype(np.int32),
        size,
        threshold,
        leak,
        hard,
        reset,
        pool,
        readout,
        coding,
        shift,
        pool_first=host and pool == 2 and rng.random() < 0.5,
    )


def _weights(rng: np.random.Generator, filters: int, channels: int, kernel: int) -> Int:
    """Random weights, int64 [filters, channels, K, K]: dense to empty, small to extreme."""
    low, high = signed_range(16)
    largest = int(rng.choice((1, 40, 1000, 1000, high)))
    weights = rng.integers(-largest, largest + 1, (filters, channels, kernel, kernel))
    if rng.random() < 0.1:
        weights[:] = rng.choice((low, high), weights.shape)
    weights[rng.random(weights.shape) >= rng.choice((0.05, 0.2, 0.5, 1.0))] = 0
    if rng.random() < 0.2:
        weights[rng.random(filters) < 0.4] = 0
    if rng.random() < 0.2:
        weights[:, rng.random(channels) < 0.4] = 0
    return weights


def _fit(rng: np.random.Generator, weights: list[Int], factors: list[int], limit: int) -> None:
    """Zero random weights of each filter, in place, until `sum |w| * factor <= limit`."""
    for row in range(weights[0].shape[0]):
        for part, factor in zip(weights, factors, strict=True):
            flat = part[row].reshape(-1)
            share = limit // (len(weights) * factor)
            for at in rng.permutation(flat.size):
                if int(np.abs(flat).sum()) <= share:
                    break
                flat[at] = 0


def together(images: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """What a batch has of its images: with an axis of them in front, unless there is only one."""
    return images[0] if len(images) == 1 else np.stack(images)
