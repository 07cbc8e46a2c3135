"""Fitted masks: densities, layer by layer and filter by filter, that give a table's totals.

A paper that states the sparsity of a network, its work and its idle cycles says nothing of where
the weights are. Three numbers are fitted to these three, and no more:

- `decay`: the density falls by a constant factor from layer to layer, until the work is met;
- the level of the densities, until the sparsity is met;
- `spread`: the standard deviations of a layer's filters are lognormal around that of the layer,
  until the idle cycles of groups of consecutive filters are met.

The weights of a filter are taken as normal, and pruned at one threshold for the whole network, as
magnitude pruning does (LTH): a filter with a threshold of `q` deviations keeps `erfc(q / sqrt(2))`
of its weights. So the masks at every other sparsity follow, by raising or lowering the threshold
alone (`Fit.shares`), and a spread that is slight where most weights live is wide where few do. What
is not among the three totals, such as a utilization, is no part of the fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.metrics import PaperMetrics, counted_cycles, filter_loads
from evenspike_core.topology import Topology

F64 = npt.NDArray[np.float64]

STEPS = 60
"""Halvings of an interval: more than a double tells apart."""
DECAY_MAX = 4.0
SPREAD_MAX = 1.5
THRESHOLD_MAX = 12.0
"""Of a filter: beyond it, none of a network's weights lives."""
DRAWS = 16
"""Of the numbers of weights, whose idle cycles are averaged."""

_ERFC = np.frompyfunc(math.erfc, 1, 1)


@dataclass(frozen=True)
class Totals:
    """What a table states of a network: `sparsity` of its weights, from 0 to 1, and the PE-cycles
    `work` and `idle` in the paper's convention; idle None where its filters are balanced.
    """

    sparsity: float
    work: float
    idle: float | None


@dataclass(frozen=True, eq=False)
class Fit:
    """Densities that give the totals.

    decay, spread: as the module says. thresholds: float64 [filters] for each layer, in deviations
    of the filter's weights.
    """

    topology: Topology
    totals: Totals
    decay: float
    spread: float
    thresholds: tuple[F64, ...]

    def shares(self, sparsity: float | None = None) -> list[F64]:
        """Percent of living weights of each filter, layer by layer, at the totals' sparsity or at
        another, which the same weights have behind another threshold.

        Raises EvenspikeError for a sparsity outside 0 to below 1.
        """
        if sparsity is None:
            return [100 * density(one) for one in self.thresholds]
        if not 0 <= sparsity < 1:
            raise EvenspikeError(f"sparsity {sparsity} is outside 0 to below 1")
        sizes = _sizes(self.topology)

        def living(scale: float) -> float:
            kept = (density(scale * one).mean() for one in self.thresholds)
            return float(sum(n * share for n, share in zip(sizes, kept, strict=True)))

        wanted = (1 - sparsity) * sum(sizes)
        scale = _fall(living, wanted, 0.0, THRESHOLD_MAX)
        return [100 * density(scale * one) for one in self.thresholds]


def density(thresholds: F64) -> F64:
    """Share of normal weights beyond a threshold in deviations, either side."""
    return np.asarray(_ERFC(thresholds / math.sqrt(2)), dtype=np.float64)


def fit(
    topology: Topology,
    totals: Totals,
    *,
    timesteps: int = 4,
    pes: int = 16,
    spread: float = 0.0,
    seed: int = 0,
) -> Fit:
    """Densities of a topology that give the totals.

    spread: of the filters, where the totals have no idle cycles. seed: of the spread.

    Raises EvenspikeError for totals that no densities of this form give.
    """
    if not 0 < totals.sparsity < 1 or timesteps < 1 or pes < 1:
        raise EvenspikeError(
            f"fit: sparsity {totals.sparsity}, {timesteps} timesteps and {pes} PEs; between 0 and "
            "1, and at least 1 of each"
        )
    sizes, positions = _sizes(topology), _positions(topology)
    weights, cycles = np.array(sizes, float), np.array(positions, float) * timesteps

    def work(decay: float) -> float:
        return float((weights * _levels(weights, decay, totals.sparsity) * cycles).sum())

    lowest, highest = work(-DECAY_MAX), work(DECAY_MAX)
    if not lowest <= totals.work <= highest:
        raise EvenspikeError(
            f"fit: work {totals.work:.4g} at a sparsity of {totals.sparsity}, possible are "
            f"{lowest:.4g} to {highest:.4g}"
        )
    decay = _fall(lambda x: -work(x), -totals.work, -DECAY_MAX, DECAY_MAX)
    layers = _levels(weights, decay, totals.sparsity).tolist()
    rng = np.random.default_rng((seed, 3))
    normal = [rng.standard_normal(one.filters) for one in topology.layers]
    noise = [rng.standard_normal((DRAWS, one.filters)) for one in topology.layers]

    def thresholds(wide: float) -> list[F64]:
        return [_around(level, np.exp(-wide * z)) for level, z in zip(layers, normal, strict=True)]

    if totals.idle is not None:

        def idle(wide: float) -> float:
            found = 0.0
            parts = zip(_convolutions(topology), thresholds(wide), noise, positions, strict=True)
            for each, limits, draws, outputs in parts:
                for size in each:
                    found += outputs * timesteps * _idle(density(limits), size, draws, pes)
            return found

        least, most = idle(0.0), idle(SPREAD_MAX)
        if not least <= totals.idle <= most:
            raise EvenspikeError(
                f"fit: idle {totals.idle:.4g}, possible are {least:.4g} to {most:.4g}"
            )
        spread = _fall(lambda x: -idle(x), -totals.idle, 0.0, SPREAD_MAX, steps=16)
    return Fit(topology, totals, decay, spread, tuple(thresholds(spread)))


def _convolutions(topology: Topology) -> list[list[int]]:
    """Weights of a filter in each convolution of each layer; an identity has none."""
    return [
        [topology.shapes[one.source][0] * one.kernel**2 for one in layer.convolutions
         if not one.identity]
        for layer in topology.layers
    ]  # fmt: skip


def _sizes(topology: Topology) -> list[int]:
    """Weights of each layer."""
    pairs = zip(topology.layers, _convolutions(topology), strict=True)
    return [layer.filters * sum(each) for layer, each in pairs]


def _positions(topology: Topology) -> list[int]:
    """Output positions of each layer, before its pool."""
    return [
        topology.shapes[layer.name][1] * topology.shapes[layer.name][2] * layer.pool**2
        for layer in topology.layers
    ]


def _levels(weights: F64, decay: float, sparsity: float) -> F64:
    """Density of each layer, from 0 to 1, that falls by `exp(decay)` and has the sparsity."""
    steps = np.arange(weights.size)

    def at(level: float) -> F64:
        return np.asarray(np.exp(np.minimum(0.0, level - decay * steps)), dtype=np.float64)

    wanted = (1 - sparsity) * float(weights.sum())
    reach = DECAY_MAX * weights.size + 50
    return at(_fall(lambda x: -float((weights * at(x)).sum()), -wanted, -reach, reach))


def _around(level: float, factors: F64) -> F64:
    """Thresholds in the proportion of the factors whose mean density is the level."""
    if level >= 1:
        return np.zeros_like(factors)
    middle = NormalDist().inv_cdf(1 - level / 2)
    low, high = middle / factors.max(), middle / factors.min()
    scale = _fall(lambda x: float(density(x * factors).mean()), level, low, high, steps=30)
    return scale * factors


def _idle(shares: F64, size: int, noise: F64, pes: int) -> float:
    """Expected cycles of weights that PEs wait, for filters of `size` weights at these densities.

    The numbers of weights are normal around their mean, by the same noise whatever the densities.
    """
    mean = size * shares
    counts = np.clip(np.rint(mean + np.sqrt(mean * (1 - shares)) * noise), 0, size)
    total = 0
    for draw in counts.astype(np.int64):
        groups = filter_loads(draw, pes)
        total += int((groups.max(axis=1)[:, None] - groups).sum())
    return total / len(counts)


def _fall(
    value: Callable[[float], float], wanted: float, low: float, high: float, steps: int = STEPS
) -> float:
    """Where a function that falls from `low` to `high` has a value."""
    for _ in range(steps):
        middle = (low + high) / 2
        if value(middle) > wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def counted(
    topology: Topology,
    shares: Sequence[F64],
    *,
    timesteps: int = 4,
    pes: int = 16,
    balanced: bool = False,
    seed: int = 0,
) -> PaperMetrics:
    """The paper's convention of masks with these densities, percent of each filter: its weights are
    counted, and no mask is drawn.

    A filter's number is binomial, as if `workload.draw` had drawn each weight. balanced: the mean
    of every `pes` filters, rounded up, in each of them.
    """
    rng = np.random.default_rng((seed, 4))
    found = []
    layers = zip(
        topology.layers, _convolutions(topology), _positions(topology), shares, strict=True
    )
    for layer, sizes, positions, percent in layers:
        for segment, size in enumerate(sizes):
            counts = rng.binomial(size, percent / 100).astype(np.int64)
            for start in range(0, counts.size if balanced else 0, pes):
                group = counts[start : start + pes]
                group[:] = -(-int(group.sum()) // group.size)
            parameters = size * layer.filters
            found.append(
                counted_cycles(layer.name, segment, parameters, counts, positions, timesteps, pes)
            )
    return PaperMetrics(pes, tuple(found))


def most_work(topology: Topology, sparsity: float, timesteps: int = 1) -> float:
    """PE-cycles of a network of this sparsity whose weights are all where the maps are largest."""
    left = (1 - sparsity) * sum(_sizes(topology))
    most = 0.0
    for positions, size in sorted(
        zip(_positions(topology), _sizes(topology), strict=True), reverse=True
    ):
        taken = min(left, size)
        most += taken * positions * timesteps
        left -= taken
    return most


def mean_densities(shares: Sequence[npt.NDArray[Any]]) -> list[float]:
    """Percent of each layer, of the filters' percents."""
    return [float(np.mean(one)) for one in shares]
