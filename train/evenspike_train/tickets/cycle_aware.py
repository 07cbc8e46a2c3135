"""Cycle-aware u-Ticket: give the PEs equal expected cycles, not equal numbers of weights.

A PE of the accelerator spends a cycle on each weight that an active neuron (one that spikes at
least once) matches.  A weight is therefore expected to cost as many cycles an image as active
neurons reach it: the share of active neurons at each place of its input channel, summed over the
output positions.  A weight on a silent channel costs nothing, one on a busy channel of a large
map costs hundreds.

Filters are grouped as `evenspike_core.mapping` will assign them: those of like cost side by side,
since a group waits for its slowest PE.  So far fewer weights have to move than in groups of
consecutive filters.  In each group the filters' profiles are brought together (`profiles`); then
every filter gets the mean cost of the group, to within one weight: too much, and living weights
are removed; too little, and zeros on channels that are not silent are recovered.  This goes beyond
the papers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evenspike_core import mapping
from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_train.tickets.balance import Balance, balanced_layers
from evenspike_train.tickets.base import WeightMasks, Weights, WeightWork
from evenspike_train.tickets.config import MethodConfig

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def filter_costs(mask: Tensor, cost: Tensor) -> Floats:
    """Expected cycles of each filter, [filters]; mask [F, C, K, K], cost of a weight [C, K, K]."""
    costs: Floats = (mask.flatten(1).to(torch.float64) @ cost.flatten().double()).cpu().numpy()
    return costs


def possible(pes: int) -> bool:
    """Return whether an accelerator can have so many PEs."""
    try:
        Arch(pes=pes)
    except EvenspikeError:
        return False
    return True


def groups(costs: Floats, pes: int) -> list[npt.NDArray[np.int64]]:
    """Filters that the mapper lets run side by side, group by group."""
    assignment = mapping.assign(costs, 1, Arch(pes=pes))
    rows = assignment.reshape(-1, pes).astype(np.int64)
    return [row[row >= 0] for row in rows]


def utilization(costs: Floats, pes: int) -> float | None:
    """Expected cycles of work as a share of what the PEs take, each group its slowest's time.

    PEs without a filter in a narrower last group count as idle. None without any cost.
    """
    slowest = sum(float(costs[group].max()) for group in groups(costs, pes))
    return float(costs.sum()) / (pes * slowest) if slowest else None


def _nearest(order: npt.NDArray[np.int64], costs: Floats, wanted: float) -> int:
    """Return how many of the leading entries cost at most `wanted`."""
    return int(np.searchsorted(np.cumsum(costs[order]), wanted, side="right"))


def shift(order: npt.NDArray[np.int64], costs: Floats, wanted: float) -> npt.NDArray[np.int64]:
    """Entries, taken from the front of `order`, that together cost about `wanted`.

    As many as fit; then the one of the others that comes nearest to what is missing, if taking
    it is better than not.  What is missing or too much is less than the cost of one weight.
    """
    count = _nearest(order, costs, wanted)
    taken, others = order[:count], order[count:]
    missing = wanted - float(costs[taken].sum())
    if others.size:
        best = others[int(np.argmin(np.abs(costs[others] - missing)))]
        if abs(costs[best] - missing) < missing:
            taken = np.append(taken, best)
    return taken


def balance(
    mask: Tensor,
    importance: Tensor,
    work: WeightWork,
    pes: int,
    remove: str,
    generator: torch.Generator,
    *,
    exchange: float = 0.0,
    sparser: bool = False,
) -> Tensor:
    """The balanced mask of one layer, [filters, channels, K, K] boolean.

    `exchange`: share of a filter's weights that may change place for its profile, besides those
    that come or go for its total.  With `sparser` every filter comes down to the group's lowest
    cost: weights only go.
    """
    rows: Flags = mask.flatten(1).cpu().numpy().copy()
    each: Floats = work.expected.flatten().double().cpu().numpy()
    lot = torch.rand(rows.shape, generator=generator).double().numpy()
    magnitude = importance.detach().flatten(1).abs().float().cpu().numpy()
    total = filter_costs(mask, work.expected)
    together = groups(total, pes)
    targets = [total[group].min() if sparser else total[group].mean() for group in together]
    if exchange and not sparser:
        windows: Floats = work.windows.flatten(1).double().cpu().numpy()
        counts = windows.astype(np.float32)
        products = counts.T @ counts
        for group, target in zip(together, targets, strict=True):
            own = rows[group].sum(1)
            needed = np.abs(total[group] - target) / (total[group].sum() / max(own.sum(), 1) or 1.0)
            limits = np.ceil(needed + exchange * own).astype(np.int64)
            removable = _removable(rows[group], magnitude[group], remove)
            from evenspike_train.tickets.profiles import align  # noqa: PLC0415 - needs numba

            align(rows, windows, group, limits, removable, lot[group], products)
    for group, target in zip(together, targets, strict=True):
        for index in group:
            excess = float(rows[index] @ each) - float(target)
            gain = excess <= 0
            candidates = np.flatnonzero((rows[index] != gain) & (each > 0))
            by = magnitude if not gain and remove == "magnitude" else lot
            order = candidates[np.argsort(by[index, candidates], kind="stable")]
            rows[index, shift(order, each, abs(excess))] = gain
    return torch.from_numpy(rows).to(mask.device).view(mask.shape)


def _removable(alive: Flags, magnitude: npt.NDArray[np.float32], remove: str) -> Flags:
    """Return which living weights may change place: all, or the smaller half of each filter's."""
    if remove == "random":
        return alive
    ranks = np.argsort(np.argsort(np.where(alive, magnitude, np.inf), axis=1), axis=1)
    smaller: Flags = alive & (2 * ranks < alive.sum(1, keepdims=True))
    return smaller


class CycleBalance(Balance):
    """The balance that gives every PE of a group as many expected cycles."""

    def __init__(self, config: MethodConfig, work: Mapping[str, WeightWork]) -> None:
        self.config, self.work = config, work

    def even(
        self,
        importance: Weights,
        masks: WeightMasks,
        generator: torch.Generator,
        *,
        sparser: bool = False,
    ) -> WeightMasks:
        balanced = dict(masks)
        for name in balanced_layers(masks):
            balanced[name] = balance(
                masks[name],
                importance[name],
                self.work[name],
                self.config.pes,
                self.config.remove,
                generator,
                exchange=self.config.exchange,
                sparser=sparser,
            )
        return balanced

    def evenness(self, masks: WeightMasks) -> float:
        return expected_utilization(masks, self.work, self.config.pes)


def expected_utilization(masks: WeightMasks, work: Mapping[str, WeightWork], pes: int) -> float:
    """Unweighted mean of `utilization` over the balanced layers that cost anything; 1 without."""
    per_layer = [
        utilization(filter_costs(masks[name], work[name].expected), pes)
        for name in balanced_layers(masks)
    ]
    known = [value for value in per_layer if value is not None]
    return sum(known) / len(known) if known else 1.0
