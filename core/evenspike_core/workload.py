"""Workloads for design exploration: the spikes of a trace, on masks drawn at a density.

Each layer runs on the trace's own spikes, so the cycles are those of the traced network whatever
the drawn weights make of the spikes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import mask_type
from evenspike_core.program import TIMESTEPS_MAX, Coding, Layer, Program, Readout, Segment
from evenspike_core.recording import Masks, Trace
from evenspike_core.topology import INPUT, Convolution, LayerShape, Topology, stacked

VGG16 = stacked(
    [f"conv{n}" for n in range(2, 14)],
    [
        (64, 32, 32),
        (64, 16, 16),
        (128, 16, 16),
        (128, 8, 8),
        (256, 8, 8),
        (256, 8, 8),
        (256, 4, 4),
        (512, 4, 4),
        (512, 4, 4),
        (512, 2, 2),
        (512, 2, 2),
        (512, 2, 2),
    ],
)
"""conv2 ... conv13 of VGG-16 on 32x32 images (LTH for SNNs, section 4)."""


def _resnet19() -> Topology:
    layers: list[LayerShape] = []
    before, block = INPUT, 0
    for filters, blocks in ((128, 3), (256, 3), (512, 2)):
        for at in range(blocks):
            block += 1
            stride = 1 if at else 2
            name = f"block{block}"
            shortcut = Convolution(before, 1, stride, 0, identity=bool(at))
            layers.append(LayerShape(f"{name}.conv1", filters, (Convolution(before, 3, stride),)))
            body = Convolution(f"{name}.conv1")
            layers.append(LayerShape(f"{name}.conv2", filters, (body, shortcut)))
            before = f"{name}.conv2"
    return Topology((64, 32, 32), tuple(layers))


RESNET19 = _resnet19()
"""The residual blocks of ResNet-19 on 32x32 images, as the authors of u-Ticket train it: three
stages of stride 2 each, on maps of 16x16, 8x8 and 4x4."""

FITTED_DENSITY = (40.9, 25.5, 16.0, 10.0, 6.25, 3.91, 2.44, 1.53, 0.96, 0.60, 0.37, 0.23)
"""Percent of conv2 ... conv13: reproduces the work of u-Ticket Table IV at 98.2 % sparsity."""

LARGEST_WEIGHT = 127
"""Of the drawn weights: a filter of 49,000 living ones still passes the range proof."""


MOST_ACTIVE = 0.99
"""Of the spikes, neurons that may be active at most: some fire more than once, so that those that
are drawn silent can be drawn again until they are not."""

Shares = npt.NDArray[np.float64]
"""Percent of living weights of each filter of a layer, [filters]."""


@dataclass(frozen=True, eq=False, repr=False)
class Workload:
    """A Program with drawn weights, and the spikes that come into the layers that run.

    count: layers that run, `program.layers[1 : 1 + count]`. The first only stands for the source,
        those behind for the end that every Program has.
    outputs: masks [C, H, W] that each layer of the Program hands on: the trace's spikes; silent
        where no layer that runs takes them.
    """

    program: Program
    count: int
    outputs: tuple[Masks, ...]

    def __repr__(self) -> str:
        layers = self.layers
        spikes = sum(int(np.bitwise_count(masks).sum()) for masks in self.outputs)
        return (
            f"<Workload {self.program.name}: {len(layers)} layers, "
            f"{self.program.timesteps} timesteps, {sum(one.nnz for one in layers):,} of "
            f"{sum(one.weights for one in layers):,} weights, {spikes:,} spikes>"
        )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that run."""
        return self.program.layers[1 : 1 + self.count]

    @property
    def inputs(self) -> tuple[tuple[Masks, ...], ...]:
        """Masks that come into each layer that runs, one for each of its segments."""
        return tuple(tuple(self.outputs[s.source] for s in one.segments) for one in self.layers)

    @property
    def active(self) -> list[npt.NDArray[np.float64]]:
        """Per layer of the Program, the share of its neurons with a spike; float64 [channels]."""
        return [(masks != 0).mean(axis=(1, 2)) for masks in self.outputs]


def draw_spikes(
    topology: Topology, timesteps: int, rate: float, seed: int, active: float | None = None
) -> Trace:
    """Bernoulli spikes: each neuron fires at each timestep with probability `rate` (percent).

    active: percent of the neurons that fire at all, at the same rate over all of them. Of a trained
        network that is fewer than independent timesteps make it.

    Raises EvenspikeError for timesteps, a rate, a share of active neurons or a seed out of range.
    """
    if not 1 <= timesteps <= TIMESTEPS_MAX:
        raise EvenspikeError(f"{timesteps} timesteps, 1 to {TIMESTEPS_MAX} are possible")
    _check_percent("rate", rate)
    rng = np.random.default_rng((_seed(seed), 1))
    spikes: dict[str, Masks] = {}
    chance = rate / 100 if active is None else _chance(rate, active, timesteps)
    for name in topology.sources:
        shape = topology.shapes[name]
        spikes[name] = _bernoulli(shape, timesteps, chance, rng)
        if active is None:
            continue
        while (silent := spikes[name] == 0).any():
            spikes[name][silent] = _bernoulli((int(silent.sum()),), timesteps, chance, rng)
        spikes[name][rng.random(shape) >= active / 100] = 0
    return Trace(topology, spikes, timesteps)


def _bernoulli(
    shape: tuple[int, ...], timesteps: int, chance: float, rng: np.random.Generator
) -> Masks:
    kind = mask_type(timesteps)
    masks = np.zeros(shape, dtype=kind)
    for timestep in range(timesteps):
        masks |= (rng.random(shape) < chance).astype(kind) << kind.type(timestep)
    return masks


def _chance(rate: float, active: float, timesteps: int) -> float:
    """That of a spike in a timestep which, where silent neurons are drawn anew, gives the rate."""
    _check_percent("active", active)
    most = min(100.0, MOST_ACTIVE * timesteps * rate) if timesteps > 1 else rate
    if not 0 < rate <= active <= most:
        raise EvenspikeError(
            f"active {active} percent of the neurons, at a rate of {rate} percent in {timesteps} "
            f"timesteps {rate} to {most:g} are possible, and above 0"
        )
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if middle * active < rate * (1 - (1 - middle) ** timesteps):
            low = middle
        else:
            high = middle
    return high


def draw(
    trace: Trace,
    density: float | Sequence[float | Shares] | None = None,
    *,
    balanced: int = 0,
    seed: int = 0,
) -> Workload:
    """Draw weights for the layers of a trace.

    density: percent of living weights, one number, or for each layer a number or an array [filters]
        with one for each filter. Where the layers are not described, one fewer leaves the last out,
        so that its array only gives a shape. Without, FITTED_DENSITY.
    balanced: 0 draws each weight by itself; otherwise every filter of as many consecutive filters
        gets the same number of weights, their mean rounded up (u-Ticket, section IV-A). Fully
        connected layers, those with a 1x1 map, are not balanced.
    seed: of the weights; 0 or more.

    Raises EvenspikeError for densities that are too many or too few, or a value out of range.
    """
    if balanced < 0:
        raise EvenspikeError(f"{balanced} filters balanced together, 0 or more are possible")
    layers, shares = _shares(trace, density)
    rng = np.random.default_rng(_seed(seed))
    channels, height, width = trace.topology.input
    source = Layer(
        INPUT,
        (),
        np.zeros(channels, dtype=np.int32),
        (height, width),
        threshold=1,
        coding=Coding.FRAMES,
    )
    drawn = [source]
    for shape, share in zip(layers, shares, strict=True):
        index = {layer.name: number for number, layer in enumerate(drawn)}
        drawn.append(_layer(shape, trace.topology, index, share, balanced, rng))
    drawn.extend(_sinks(drawn[-1], len(layers)))
    means = [float(np.mean(share)) for share in shares]
    provenance = {"seed": seed, "density": means, "balanced": balanced}
    program = Program("trace", trace.timesteps, (channels, height, width), tuple(drawn), provenance)
    taken = {one.source for layer in layers for one in layer.convolutions}
    outputs = (
        trace.spikes[layer.name]
        if layer.name in taken
        else np.zeros(layer.output, dtype=mask_type(trace.timesteps))
        for layer in drawn
    )
    return Workload(program, len(layers), tuple(outputs))


def _shares(
    trace: Trace, density: float | Sequence[float | Shares] | None
) -> tuple[tuple[LayerShape, ...], list[float | Shares]]:
    """The layers that run, and the percent of living weights of each, or of each of its filters."""
    layers = trace.topology.layers
    possible = (len(layers),) if trace.topology.described else (len(layers), len(layers) - 1)
    if density is None:
        if trace.topology.described or len(FITTED_DENSITY) not in possible:
            raise EvenspikeError(
                f"no density for {len(layers)} layers: the default is that of conv2 to conv13 of "
                "VGG-16"
            )
        density = FITTED_DENSITY
    given = [density] if isinstance(density, int | float) else list(density)
    shares = [one if isinstance(one, np.ndarray) and one.ndim else float(one) for one in given]
    if len(shares) == 1:
        shares *= len(layers)
    if len(shares) not in possible:
        raise EvenspikeError(f"{len(shares)} densities for {len(layers)} layers of the trace")
    for layer, share in zip(layers, shares, strict=False):
        if isinstance(share, np.ndarray) and share.shape != (layer.filters,):
            raise EvenspikeError(
                f"layer {layer.name}: densities {list(share.shape)} for {layer.filters} filters"
            )
        for one in np.ravel(share).tolist():
            _check_percent("density", one)
    return layers[: len(shares)], shares


def _check_percent(name: str, value: float) -> None:
    if not 0 <= value <= 100:  # NaN is neither
        raise EvenspikeError(f"{name} {value} is outside 0 to 100 percent")


def _seed(seed: int) -> int:
    if seed < 0:
        raise EvenspikeError(f"seed {seed} is negative")
    return seed


def _layer(
    shape: LayerShape,
    topology: Topology,
    index: Mapping[str, int],
    share: float | Shares,
    balanced: int,
    rng: np.random.Generator,
) -> Layer:
    _, height, width = topology.shapes[shape.name]
    size = height * shape.pool, width * shape.pool
    group = 0 if size == (1, 1) else balanced
    segments = []
    for one in shape.convolutions:
        channels = topology.shapes[one.source][0]
        weights = _weights(shape.filters, channels, one, share, group, rng)
        offset = -one.padding, -one.padding
        segments.append(Segment(index[one.source], weights, one.stride, offset, one.average))
    zero = np.zeros(shape.filters, dtype=np.int32)
    return Layer(shape.name, tuple(segments), zero, size, LARGEST_WEIGHT, pool=shape.pool)


def _weights(
    filters: int,
    channels: int,
    one: Convolution,
    share: float | Shares,
    group: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int16]:
    """int16 [filters, channels, K, K]; an identity is a spike's worth of threshold."""
    if one.identity:
        matrix = np.diag(np.full(filters, LARGEST_WEIGHT, dtype=np.int16))
        return matrix.reshape(filters, channels, 1, 1)
    weights = rng.integers(1, LARGEST_WEIGHT + 1, (filters, channels, one.kernel, one.kernel))
    weights *= rng.choice((-1, 1), weights.shape)
    merit = rng.random(weights.shape)
    alive = merit < np.reshape(share, (-1, 1, 1, 1)) / 100
    weights[~(_balanced(alive, merit, group) if group else alive)] = 0
    return weights.astype(np.int16)


def _balanced(
    alive: npt.NDArray[np.bool_], merit: npt.NDArray[np.float64], group: int
) -> npt.NDArray[np.bool_]:
    """As many weights in each filter of a group, those with the least merit number.

    The numbers are drawn: a filter with too many loses some at random, one with too few gains some.
    """
    order = merit.reshape(alive.shape[0], -1).argsort(axis=1)
    chosen = np.zeros(order.shape, dtype=bool)
    counts = alive.reshape(order.shape).sum(axis=1)
    for start in range(0, counts.size, group):
        members = slice(start, start + group)
        mean = -(-int(counts[members].sum()) // counts[members].size)
        np.put_along_axis(chosen[members], order[members, :mean], values=True, axis=1)
    return chosen.reshape(alive.shape)


def _sinks(before: Layer, source: int) -> list[Layer]:
    """Layers that never run: they halve the map to the single position of a last layer."""
    sinks: list[Layer] = []
    channels, *size = before.output
    while not sinks or not sinks[-1].last:
        segment = Segment(
            source + len(sinks), np.zeros((1, channels, 1, 1), dtype=np.int16), stride=2
        )
        size = [(n + 1) // 2 for n in size]
        last = max(size) == 1
        zero = np.zeros(1, dtype=np.int32)
        name = f"(end {len(sinks)})"
        readout = Readout.PSUM if last else None
        sinks.append(Layer(name, (segment,), zero, (size[0], size[1]), 1, readout=readout))
        channels = 1
    return sinks
