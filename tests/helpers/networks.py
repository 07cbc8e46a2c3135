"""Small random Programs over the whole space of layer descriptors, from a seed.

Every simulator is tested on these: kernels 1, 3, 5, 7; strides; paddings; odd and non-square maps;
one channel; 1 to 17 filters; pools of both kinds; residual second segments, identities among
them; empty filters and channels; extreme weights; every leak and reset; 1 to 8 timesteps. The
same seed gives the same Program.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenspike_core.fixed import Leak, Reset, signed_range
from evenspike_core.program import (
    AVERAGES,
    KERNELS,
    PIXEL_MAX,
    PIXELS,
    POOLS,
    STRIDES,
    Layer,
    Program,
    Segment,
)

FILTERS = (1, 2, 3, 5, 8, 16, 17)
Int = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Geometry:
    """How a segment reads its source, and the (height, width) that comes out."""

    source: int
    kernel: int
    stride: int
    padding: int
    average: int
    size: tuple[int, int]


def random_program(
    seed: int, *, timesteps: int | None = None, max_side: int = 12, max_filters: int = 17
) -> Program:
    """A valid Program: a host layer, one to three hidden ones (more if the map has to shrink),
    and a last one with a 1x1 map.

    Parameters
    ----------
    timesteps: 1 to 8; drawn if None.
    max_side: largest height and width of the pixels.
    max_filters: largest number of filters of a layer.
    """
    rng = np.random.default_rng(seed)
    time = timesteps if timesteps is not None else int(rng.integers(1, 9))
    side = (int(rng.integers(1, max_side + 1)), int(rng.integers(1, max_side + 1)))
    shape = (int(rng.choice((1, 1, 2, 3))), *(side if rng.random() < 0.5 else (side[0], side[0])))
    layers: list[Layer] = []
    for _ in range(int(rng.integers(2, 5))):
        layers.append(_layer(rng, shape, layers, time, max_filters, last=False))
    while not _geometries(shape, layers, (1, 1)):
        layers.append(_layer(rng, shape, layers, time, max_filters, last=False, shrink=True))
    layers.append(_layer(rng, shape, layers, time, max_filters, last=True))
    return Program(f"random-{seed}", time, shape, tuple(layers), {"seed": seed})


def random_pixels(program: Program, seed: int) -> npt.NDArray[np.uint8]:
    """An image for the program: noise, but black, white or sparse for some seeds."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, PIXEL_MAX + 1, program.shape)
    kind = seed % 8
    if kind == 1:
        noise[:] = 0
    elif kind == 2:
        noise[:] = PIXEL_MAX
    elif kind == 3:
        noise[rng.random(program.shape) < 0.9] = 0
    return noise.astype(np.uint8)


def _output(shape: tuple[int, int, int], layers: list[Layer], source: int) -> tuple[int, int, int]:
    return shape if source == PIXELS else layers[source].output


def _geometries(
    shape: tuple[int, int, int], layers: list[Layer], size: tuple[int, int] | None = None
) -> list[Geometry]:
    """Every way in which the next layer can read an earlier one, to a map of `size` if given."""
    found = []
    for source in range(len(layers)) if layers else (PIXELS,):
        _, height, width = _output(shape, layers, source)
        for kernel, stride, average in itertools.product(KERNELS, STRIDES, AVERAGES):
            if average > 1 and (source == PIXELS or height % average or width % average):
                continue
            for padding in range(kernel):
                rows, columns = (
                    (n // average + 2 * padding - kernel) // stride + 1 for n in (height, width)
                )
                if min(rows, columns) >= 1 and size in (None, (rows, columns)):
                    out = (rows, columns)
                    found.append(Geometry(source, kernel, stride, padding, average, out))
    return found


def _pick(rng: np.random.Generator, options: list[Geometry], newest: int) -> Geometry:
    """Any kernel with the same chance; the newest source, and no average pool, more often."""
    kernel = int(rng.choice(sorted({g.kernel for g in options})))
    options = [g for g in options if g.kernel == kernel]
    for keep in (
        [g for g in options if g.source == newest],
        [g for g in options if g.average == 1],
        [g for g in options if g.stride == 1],
        [g for g in options if 2 * g.padding == kernel - 1],
    ):
        if keep and rng.random() < 0.6:
            options = [g for g in options if g in keep] or options
    return options[int(rng.integers(len(options)))]


def _layer(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    layers: list[Layer],
    time: int,
    max_filters: int,
    *,
    last: bool,
    shrink: bool = False,
) -> Layer:
    options = _geometries(shape, layers, (1, 1) if last else None)
    if shrink:
        smallest = min(g.size[0] * g.size[1] for g in options)
        options = [g for g in options if g.size[0] * g.size[1] == smallest]
    else:
        options = [g for g in options if max(g.size) <= 16] or options
    first = _pick(rng, options, len(layers) - 1)
    filters = int(rng.choice([f for f in FILTERS if f <= max_filters]))
    geometries = [first]
    if layers and rng.random() < 0.35:
        second = _pick(rng, _geometries(shape, layers, first.size), len(layers) - 1)
        geometries.append(second)
        if rng.random() < 0.5 and second.kernel == 1:
            filters = _output(shape, layers, second.source)[0]  # lets it be an identity
    weights = []
    for index, geometry in enumerate(geometries):
        channels = _output(shape, layers, geometry.source)[0]
        if index and geometry.kernel == 1 and channels == filters:
            scale = int(rng.integers(1, 2000))
            weights.append(np.eye(filters, dtype=np.int64)[:, :, None, None] * scale)
        else:
            weights.append(_weights(rng, filters, channels, geometry.kernel))
    return _neurons(rng, geometries, weights, f"layer{len(layers)}", time, last=last)


def _neurons(
    rng: np.random.Generator,
    geometries: list[Geometry],
    weights: list[Int],
    name: str,
    time: int,
    *,
    last: bool,
) -> Layer:
    """Leak, reset, bias and threshold; weights are removed until the range proof holds."""
    host = geometries[0].source == PIXELS
    kind = list(Leak)[int(rng.integers(len(Leak)))]
    gain = time if kind is Leak.ONE else 1 / (1 - kind.fraction)
    limit = int(signed_range(31 if host else 24)[1] / gain) - 2
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
    if host:
        worst, allowed = int((magnitude + np.abs(bias)).max()), signed_range(24)[1] / gain - 2
        while (worst >> shift) > allowed:
            shift += 1
        shift = min(31, shift + int(rng.choice((0, 0, 1, 4))))
    threshold = max(1, min(signed_range(24)[1], int(typical * rng.uniform(0.02, 1)) >> shift))
    if rng.random() < 0.05:
        threshold = int(rng.choice((1, signed_range(24)[1])))
    size = geometries[0].size
    pools = [p for p in POOLS if not any(n % p for n in size)]
    return Layer(
        name,
        tuple(
            Segment(g.source, w.astype(np.int16), g.stride, g.padding, g.average)
            for g, w in zip(geometries, weights, strict=True)
        ),
        bias.astype(np.int32),
        size,
        threshold,
        kind,
        list(Reset)[int(rng.integers(len(Reset)))],
        1 if last else int(rng.choice(pools)),
        last,
        shift,
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
