"""Cycle-aware u-Ticket: give the PEs equal expected cycles, not equal numbers of weights.

A PE of the accelerator spends a cycle on each weight that an active neuron (one that spikes at
least once) matches.  A weight is therefore expected to cost as many cycles an image as active
neurons reach it: the share of active neurons at each place of its input channel, summed over the
output positions.  A weight on a silent channel costs nothing, one on a busy channel of a large
map costs hundreds.

Filters are grouped as `evenspike.mapping` will assign them: those of like cost side by side,
since a group waits for its slowest PE.  So far fewer weights have to move than in groups of
consecutive filters.  In each group every filter gets the mean cost of the group, to within one
weight: too much, and living weights are removed; too little, and zeros on channels that are not
silent are recovered; both where the filter differs most from its group (`merit`).  This goes
beyond the papers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evenspike import mapping
from evenspike.arch import Arch
from evenspike.errors import EvenspikeError
from evenspike_train.tickets.balance import Balance, balanced_layers
from evenspike_train.tickets.base import Masks, Weights
from evenspike_train.tickets.config import MethodConfig

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def filter_costs(mask: Tensor, cost: Tensor) -> Floats:
    """Expected cycles of each filter, [filters]; mask [F, C, K, K], cost of a weight [C, K, K]."""
    costs: Floats = (mask.flatten(1).to(torch.float64) @ cost.flatten().double()).cpu().numpy()
    return costs


def possible(pes: int) -> bool:
    """Whether an accelerator can have so many PEs."""
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


def utilisation(costs: Floats, pes: int) -> float | None:
    """Expected cycles of work as a share of what the PEs take, each group its slowest's time.

    PEs without a filter in a narrower last group count as idle. None without any cost.
    """
    slowest = sum(float(costs[group].max()) for group in groups(costs, pes))
    return float(costs.sum()) / (pes * slowest) if slowest else None


def _nearest(order: npt.NDArray[np.int64], costs: Floats, wanted: float) -> int:
    """How many of the leading entries cost at most `wanted`."""
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


def merit(
    alive: Flags, usual: Floats, candidates: npt.NDArray[np.int64], size: int, gain: bool
) -> Floats:
    """What speaks for taking each candidate of a filter, in weights of its channel.

    The filters of a group are to have like numbers of weights on each channel: an activation is
    sent to all PEs at once, and those that match it more often than the others hold them up.  So
    a weight goes where the filter has more on the channel than is usual in its group, and comes
    where it has fewer; each that does makes the next less urgent.

    Parameters
    ----------
    alive : of the filter, [channels * size], with `size` places on a channel.
    usual : mean number of weights on each channel, [channels].
    candidates : in the order in which those of a channel are taken.
    """
    channel = candidates // size
    spare = alive.reshape(-1, size).sum(1) - usual
    if gain:
        spare = -spare
    order = np.argsort(channel, kind="stable")
    ranks = np.empty(candidates.size, np.int64)
    starts = np.searchsorted(channel[order], channel[order])
    ranks[order] = np.arange(candidates.size) - starts
    result: Floats = spare[channel] - ranks
    return result


def balance(
    mask: Tensor,
    importance: Tensor,
    cost: Tensor,
    pes: int,
    remove: str,
    generator: torch.Generator,
    *,
    sparser: bool = False,
) -> Tensor:
    """The balanced mask of one layer, [filters, channels, K, K] boolean.

    With `sparser` every filter comes down to the group's lowest cost: weights only go.
    """
    rows: Flags = mask.flatten(1).cpu().numpy().copy()
    each: Floats = cost.flatten().double().cpu().numpy()
    lot = torch.rand(rows.shape, generator=generator).numpy()
    magnitude = importance.detach().flatten(1).abs().float().cpu().numpy()
    size = mask[0, 0].numel()
    total = filter_costs(mask, cost)
    for group in groups(total, pes):
        target = float(total[group].min() if sparser else total[group].mean())
        usual: Floats = rows[group].reshape(group.size, -1, size).sum(2).mean(0)
        for index in group:
            excess = float(total[index]) - target
            gain = excess <= 0
            candidates = np.flatnonzero((rows[index] != gain) & (each > 0))
            if not gain and remove == "magnitude":
                order = candidates[np.argsort(magnitude[index, candidates], kind="stable")]
            else:
                drawn = candidates[np.argsort(lot[index, candidates], kind="stable")]
                wanted = merit(rows[index], usual, drawn, size, gain)
                order = drawn[np.argsort(-wanted, kind="stable")]
            rows[index, shift(order, each, abs(excess))] = gain
    return torch.from_numpy(rows).to(mask.device).view(mask.shape)


class CycleBalance(Balance):
    """As many expected cycles for every PE of a group."""

    def __init__(self, config: MethodConfig, costs: Mapping[str, Tensor]) -> None:
        self.config, self.costs = config, costs

    def even(
        self,
        importance: Weights,
        masks: Masks,
        generator: torch.Generator,
        *,
        sparser: bool = False,
    ) -> Masks:
        balanced = dict(masks)
        for name in balanced_layers(masks):
            balanced[name] = balance(
                masks[name],
                importance[name],
                self.costs[name],
                self.config.pes,
                self.config.remove,
                generator,
                sparser=sparser,
            )
        return balanced

    def evenness(self, masks: Masks) -> float:
        return expected_utilisation(masks, self.costs, self.config.pes)


def expected_utilisation(masks: Masks, costs: Mapping[str, Tensor], pes: int) -> float:
    """Unweighted mean of `utilisation` over the balanced layers that cost anything; 1 without."""
    per_layer = [
        utilisation(filter_costs(masks[name], costs[name]), pes) for name in balanced_layers(masks)
    ]
    known = [value for value in per_layer if value is not None]
    return sum(known) / len(known) if known else 1.0
