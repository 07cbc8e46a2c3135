"""Two families of figures: the paper's convention and the hardware's counters. Never mix them.

**Paper convention** (u-Ticket, Table IV): static, from the weights alone. One living weight takes
one PE one cycle for each output position and timestep; nothing else takes time, and no spike is
looked at. Filters are taken in groups of as many consecutive filters as there are PEs; PE j gets
filter `pes * i + j`; a group lasts as long as its PE with the most weights.

**Hardware**: counted, by the cycle model or the RTL. One PE-cycle is busy when a weight that
matches an active neuron issues, in any of the PE's adders. With one weight a cycle (`Arch.issue`)
that is one matched weight; with two, weights share the adders, so a busy cycle is not a number of
weights, and what a layer needs at least is counted in weights and additions (`least_cycles`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Layer, Program

DYNAMIC_TO_LEAKAGE = 4.75
"""E_d / E_l of Eq. 3. Fitted, not published: with the sparsities of Table III and the cycles of
Table IV, this ratio gives the paper's six energy reductions within 0.4 points."""


@dataclass(frozen=True)
class ConvolutionCycles:
    """One convolution in the paper's convention.

    layer, segment: its place in the Program.
    parameters: weights of the dense convolution; nnz: those that are alive.
    positions: output positions, before pooling.
    work: `nnz * positions * T`, PE-cycles.
    idle: PE-cycles that a PE waits for its group's slowest; filters that are missing in a last,
        narrower group leave their PEs idle too.
    latency: cycles, the sum over groups of the slowest PE's.
    utilization: mean of `group_utilization` over the groups that are not empty; None if all are.
    """

    layer: str
    segment: int
    parameters: int
    nnz: int
    positions: int
    work: int
    idle: int
    latency: int
    utilization: float | None


@dataclass(frozen=True)
class PaperMetrics:
    """A network in the paper's convention; `(work + idle) / pes == latency`.

    The utilizations are None for a network without a living weight in its convolutions.
    """

    pes: int
    convolutions: tuple[ConvolutionCycles, ...]

    @property
    def work(self) -> int:
        """PE-cycles with a weight (N_work)."""
        return sum(c.work for c in self.convolutions)

    @property
    def idle(self) -> int:
        """PE-cycles without (N_idle)."""
        return sum(c.idle for c in self.convolutions)

    @property
    def latency(self) -> int:
        """Cycles."""
        return sum(c.latency for c in self.convolutions)

    @property
    def layer_mean(self) -> float | None:
        """Utilization as the authors' code prints it: every convolution counts the same."""
        return self._mean(lambda _: 1)

    @property
    def parameter_weighted(self) -> float | None:
        """Utilization as the paper's text has it: weighted by (dense) parameter count."""
        return self._mean(lambda c: c.parameters)

    @property
    def pooled(self) -> float | None:
        """Eq. 2 on the totals: T_max is the latency, T_avg is work / PEs, without rounding."""
        if not self.latency:
            return None
        if self.pes == 1:
            return 1.0
        missing = 1 - self.work / (self.pes * self.latency)
        return 1 - missing * self.pes / (self.pes - 1)

    def _mean(self, weight: Callable[[ConvolutionCycles], int]) -> float | None:
        """Weighted mean over the convolutions that are not empty."""
        pairs = [(c.utilization, weight(c)) for c in self.convolutions if c.utilization is not None]
        if not pairs:
            return None
        return sum(u * w for u, w in pairs) / sum(w for _, w in pairs)


def paper_metrics(program: Program, pes: int = 16) -> PaperMetrics:
    """The paper's convention for every convolution that it counts.

    As in the authors' code the first convolution (the host's) and the fully connected layers are
    left out: the last layer and every layer with a map of 1x1. Of a residual layer each
    convolution counts by itself, an identity shortcut not at all.

    Raises EvenspikeError if `pes` is less than 1.
    """
    if pes < 1:
        raise EvenspikeError(f"{pes} PEs, at least 1 is needed")
    return PaperMetrics(
        pes,
        tuple(
            convolution_cycles(program, layer, index, pes)
            for layer in program.layers
            if not (layer.host or layer.last or tuple(layer.size) == (1, 1))
            for index, _ in layer.parameters
        ),
    )


def convolution_cycles(program: Program, layer: Layer, index: int, pes: int) -> ConvolutionCycles:
    """The paper's convention for one segment of one layer."""
    segment = layer.segments[index]
    counts = np.count_nonzero(segment.weights.reshape(segment.weights.shape[0], -1), axis=1)
    positions = layer.size[0] * layer.size[1]
    return counted_cycles(
        layer.name, index, segment.dense, counts, positions, program.timesteps, pes
    )


def counted_cycles(
    layer: str,
    segment: int,
    parameters: int,
    counts: npt.NDArray[np.int64],
    positions: int,
    timesteps: int,
    pes: int,
) -> ConvolutionCycles:
    """The paper's convention for a convolution of which only `counts` are known: the living weights
    of each filter, [filters].
    """
    groups = filter_loads(counts, pes)
    slowest = groups.max(axis=1)
    cycles = positions * timesteps
    return ConvolutionCycles(
        layer=layer,
        segment=segment,
        parameters=parameters,
        nnz=int(groups.sum()),
        positions=positions,
        work=int(groups.sum()) * cycles,
        idle=int((slowest[:, None] - groups).sum()) * cycles,
        latency=int(slowest.sum()) * cycles,
        utilization=layer_utilization(groups),
    )


def filter_groups(weights: npt.NDArray[np.int16], pes: int) -> npt.NDArray[np.int64]:
    """Living weights of each PE in each group, int64 [ceil(filters / pes), pes].

    Row i, column j is filter `pes * i + j` of weights [filters, ...]; 0 past the last filter.
    """
    return filter_loads(np.count_nonzero(weights.reshape(weights.shape[0], -1), axis=1), pes)


def filter_loads(counts: npt.NDArray[np.int64], pes: int) -> npt.NDArray[np.int64]:
    """The same, of the number of living weights of each filter, [filters]."""
    padded = np.zeros(-(-counts.size // pes) * pes, dtype=np.int64)
    padded[: counts.size] = counts
    return padded.reshape(-1, pes)


def layer_utilization(groups: npt.NDArray[np.int64]) -> float | None:
    """Mean of `group_utilization` over the groups of a layer that have a weight; None without."""
    used = [group_utilization(group.tolist()) for group in groups if group.any()]
    return sum(used) / len(used) if used else None


def group_utilization(loads: Sequence[int]) -> float:
    """Eq. 2 of one group, `1 - (max - ceil(mean)) / max * n / (n - 1)` for n PEs.

    The ceiling is the authors' code's: a group that integers cannot balance better counts as 1.
    One PE is always fully used. Raises EvenspikeError if no PE has a weight.
    """
    largest, pes = max(loads), len(loads)
    if largest < 1:
        raise EvenspikeError(f"a group of {pes} PEs without a weight has no utilization")
    if pes == 1:
        return 1.0
    return 1 - (largest - -(-sum(loads) // pes)) / largest * pes / (pes - 1)


def spike_sparsity(masks: Iterable[npt.NDArray[np.unsignedinteger[Any]]], timesteps: int) -> float:
    """`1 - spikes / (neurons * T)`, pooled over spike masks of any shapes (Table III).

    The authors count the neurons before pooling; the masks of `reference.Activity` are what the
    next layer reads, after it. Raises EvenspikeError if there is no neuron.
    """
    spikes = neurons = 0
    for mask in masks:
        spikes += int(np.bitwise_count(mask).sum())
        neurons += mask.size
    if not neurons:
        raise EvenspikeError("no neurons, so no spike sparsity")
    return 1 - spikes / (neurons * timesteps)


def paper_energy(
    work: int, idle: int, sparsity: float, dynamic_to_leakage: float = DYNAMIC_TO_LEAKAGE
) -> float:
    """Eq. 3, in units of E_l (the leakage of one PE in one cycle).

    `work * (E_d * (1 - sparsity) + E_l) + idle * E_l`

    Only ratios of two such energies mean anything, and the default E_d / E_l is fitted. Raises
    EvenspikeError if `sparsity` (of the spikes) is outside 0 to 1.
    """
    if not 0 <= sparsity <= 1:
        raise EvenspikeError(f"spike sparsity {sparsity} is outside 0 to 1")
    return work * (dynamic_to_leakage * (1 - sparsity) + 1) + idle


def hardware_utilization(busy: Sequence[int], latency: int) -> float:
    """Share of the PE-cycles in which a PE works: `sum(busy) / (PEs * latency)`.

    A PE that adds one weight in one timestep is busy, as is one that fills all its adders: how many
    of them it fills is `hardware_efficiency`.

    Parameters
    ----------
    busy: cycles of each PE.
    latency: cycles of the layer or network, from its first request to its last output write.

    Raises EvenspikeError for no PE, no cycle, or a PE that is busy outside 0 to `latency`.
    """
    if not busy or latency < 1:
        raise EvenspikeError(f"{len(busy)} PEs and a latency of {latency}; 1 of each is needed")
    for pe, cycles in enumerate(busy):
        if not 0 <= cycles <= latency:
            raise EvenspikeError(f"PE {pe}: busy {cycles} cycles of a latency of {latency}")
    return sum(busy) / (len(busy) * latency)


def hardware_efficiency(accumulations: int, latency: int, *, pes: int, adders: int) -> float:
    """Share of the adders' cycles that add a weight: `accumulations / (adders * PEs * latency)`.

    Parameters
    ----------
    accumulations: pairs of a spike and a living weight that were added, timesteps apart.
    latency: cycles, as in `hardware_utilization`.
    adders: of a PE (`Arch.adders`).

    Raises EvenspikeError for no adder, PE or cycle, and for more accumulations than fit.
    """
    most = adders * pes * latency
    if min(adders, pes, latency) < 1 or not 0 <= accumulations <= most:
        raise EvenspikeError(
            f"{accumulations} accumulations with {adders} adders in {pes} PEs in {latency} cycles; "
            f"0 to {most} fit"
        )
    return accumulations / most


def least_cycles(matched: float, accumulations: float, arch: Arch) -> float:
    """Cycles below which no layer can be, however its filters are spread over the PEs.

    A PE selects at most `Arch.ways` matched weights a cycle, and each of its adders adds at most
    once: `max(matched / ways, accumulations / adders) / PEs`. With one weight a cycle that is its
    matched weights alone, since each adds once in a timestep at most.

    Parameters
    ----------
    matched: pairs of a living weight and an active neuron, one with a spike in the group of
        timesteps.
    accumulations: pairs of a spike and a living weight, timesteps apart.
    """
    return max(matched / arch.ways, accumulations / arch.adders) / arch.all_pes
