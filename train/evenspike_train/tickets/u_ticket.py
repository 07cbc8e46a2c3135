"""u-Ticket: after each pruning, give the filters that run side by side equal work.

Filters are taken in groups of as many as there are processing elements; filter j of
a group runs on PE j, and the group takes as long as its fullest filter.  So within
each group every filter gets the same number of weights, the mean of the group
rounded up: too few, and zeros of the same filter are recovered at random; too many,
and living weights are removed (u-Ticket paper, section IV-A).
"""

from __future__ import annotations

import torch
from torch import Tensor

from evenspike_train.tickets.balance import Balance, balanced_layers
from evenspike_train.tickets.base import WeightMasks, Weights
from evenspike_train.tickets.config import MethodConfig


def group_targets(loads: Tensor, pes: int, level: str, limit: int) -> Tensor:
    """Weights each filter should have, [filters], from what they have.

    The last group may be narrower than the array; its mean is over the filters it
    has.  `limit` is the number of weights in a filter (it binds only when dense).
    """
    target = torch.empty_like(loads)
    for start in range(0, loads.numel(), pes):
        group = loads[start : start + pes]
        total, filters = int(group.sum()), group.numel()
        mean = -(-total // filters) if level == "ceil" else total // filters
        target[start : start + pes] = min(mean, limit)
    return target


def balance(
    mask: Tensor,
    weight: Tensor,
    pes: int,
    level: str,
    remove: str,
    generator: torch.Generator,
) -> Tensor:
    """The balanced mask of one layer, [filters, ...] boolean.

    Each filter's positions are put in order of merit: living weights first (in random
    order, or by magnitude), then zeros in random order; the first `target` of them
    live.  That is both removal and recovery, for all filters at once.
    """
    rows = mask.flatten(1)
    filters, size = rows.shape
    target = group_targets(rows.sum(1), pes, level, size)
    merit = torch.rand(filters, size, generator=generator).to(mask.device)
    if remove == "magnitude":
        magnitude = weight.detach().flatten(1).abs().to(merit.dtype)
        rank = magnitude.argsort(1).argsort(1).to(merit.dtype) / size
        merit = torch.where(rows, rank, merit)
    merit = merit + rows.to(merit.dtype)  # living in [1, 2), zeros in [0, 1)
    order = merit.argsort(dim=1, descending=True, stable=True)
    chosen = torch.arange(size, device=mask.device)[None, :] < target[:, None]
    return torch.zeros_like(rows).scatter_(1, order, chosen).view_as(mask)


def evenness(mask: Tensor, pes: int) -> float | None:
    """Mean over a layer's groups of 1 - (max - ceil(mean)) / max * n / (n - 1), n filters.

    1 where every group is as even as whole weights allow: what balancing can do.  It is the
    utilization of `evenspike_core.metrics` where the groups are full; in a narrower last group
    that one also counts the PEs without a filter.  Groups without weights do not count;
    None for an empty layer.
    """
    loads = mask.flatten(1).sum(1)
    values = []
    for start in range(0, loads.numel(), pes):
        group = loads[start : start + pes]
        busiest, filters = int(group.max()), group.numel()
        if busiest:
            mean = -(-int(group.sum()) // filters)
            spread = filters / (filters - 1) if filters > 1 else 0.0
            values.append(1 - (busiest - mean) / busiest * spread)
    return sum(values) / len(values) if values else None


def layer_mean_evenness(masks: WeightMasks, pes: int) -> float:
    """Unweighted mean of `evenness` over the balanced layers that are not empty."""
    per_layer = [evenness(masks[name], pes) for name in balanced_layers(masks)]
    known = [value for value in per_layer if value is not None]
    return sum(known) / len(known) if known else 1.0


class WeightBalance(Balance):
    """The balance that gives every filter of a group as many weights."""

    def __init__(self, config: MethodConfig) -> None:
        self.config = config

    def even(
        self,
        importance: Weights,
        masks: WeightMasks,
        generator: torch.Generator,
        *,
        sparser: bool = False,
    ) -> WeightMasks:
        config = self.config
        level = "floor" if sparser else config.level
        balanced = dict(masks)
        for name in balanced_layers(masks):
            balanced[name] = balance(
                masks[name], importance[name], config.pes, level, config.remove, generator
            )
        return balanced

    def evenness(self, masks: WeightMasks) -> float:
        return layer_mean_evenness(masks, self.config.pes)
