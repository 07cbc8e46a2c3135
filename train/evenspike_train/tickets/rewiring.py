"""Rewiring: weights that are moved from where they are small to where the momentum is large.

Each layer gives up the same share of its living weights, the smallest; what all have given up comes
back in the layers whose living weights have the most momentum on average, where the momentum of the
dead is largest (AGC, Algorithm 1, lines 17 to 24; Dettmers and Zettlemoyer, arXiv:1907.04840).  A
unit that moves is a weight, or all weights of an input channel.  The number of living weights stays
what it was at the start, but for what is less than a channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from evenspike_train.tickets.base import WeightMasks, Weights

GRANULARITIES = ("irregular", "channel")


def as_units(values: Tensor, granularity: str) -> Tensor:
    """A layer's weights as rows of what lives and dies together, [units, weights of a unit].

    Units are single weights, or with "channel" the input channels of a convolution [F, C, K, K].
    """
    if granularity == "irregular":
        return values.reshape(-1, 1)
    return values.transpose(0, 1).flatten(1)


def from_units(units: Tensor, like: Tensor, granularity: str) -> Tensor:
    """A mask [F, C, ...] of the living units, [units]."""
    if granularity == "irregular":
        return units.view(like.shape).clone()
    shape = (1, -1, *[1] * (like.dim() - 2))
    return units.view(shape).expand_as(like).clone()


def living_units(density: float, units: int) -> int:
    """How many of a layer's units a density leaves."""
    return round(density * units)


def draw(weight: Tensor, density: float, granularity: str, generator: torch.Generator) -> Tensor:
    """A random mask of a layer with exactly its share of living units."""
    units = len(as_units(weight, granularity))
    chosen = torch.zeros(units, dtype=torch.bool)
    order = torch.randperm(units, generator=generator)
    chosen[order[: living_units(density, units)]] = True
    return from_units(chosen.to(weight.device), weight, granularity)


def allocate(
    budget: int, shares: Mapping[str, float], room: Mapping[str, int], cost: Mapping[str, int]
) -> dict[str, int]:
    """Units that each layer regrows, for at most `budget` weights, by the layers' shares.

    Parameters
    ----------
    shares : not negative; their sum does not matter. All zero counts as all alike.
    room : units that a layer can take. What it cannot take goes to the others by their shares.
    cost : weights of a unit.

    With units of one weight the budget is used up as far as there is room. With larger ones what
    is left at the end goes, a unit at a time, to the layer that is furthest behind its share and
    whose unit still fits.
    """
    given = dict.fromkeys(shares, 0)
    left, open_ = budget, [name for name in shares if room[name] > 0]
    wish: dict[str, float] = {}
    while open_:
        total = sum(shares[name] for name in open_)
        part = {name: shares[name] / total if total else 1 / len(open_) for name in open_}
        wish = {name: left * part[name] / cost[name] for name in open_}
        full = [name for name in open_ if wish[name] >= room[name]]
        if not full:
            break
        for name in full:
            given[name] = room[name]
            left -= room[name] * cost[name]
        open_ = [name for name in open_ if name not in full]
    for name in open_:
        given[name] = int(wish[name])
        left -= given[name] * cost[name]
    while True:
        able = [name for name in open_ if given[name] < room[name] and cost[name] <= left]
        if not able:
            return given
        name = max(able, key=lambda one: wish[one] - given[one])
        given[name] += 1
        left -= cost[name]


@dataclass(frozen=True)
class Rewired:
    """masks: the new ones. moved: weights that were given up, of `living`."""

    masks: WeightMasks
    moved: int
    living: int


def rewire(
    weights: Weights,
    masks: WeightMasks,
    momentum: Weights,
    rate: float,
    granularity: str,
    target: int,
) -> Rewired:
    """New masks of the layers in `masks`, all of which are compressed.

    rate : share of each layer's living units that is given up; one unit always stays.
    momentum : of every weight, the dead ones too.
    target : weights that are to live in all layers together.
    """
    kept: dict[str, Tensor] = {}
    shares, room, cost, pruned = {}, {}, {}, 0
    for name, mask in masks.items():
        alive = as_units(mask, granularity)[:, 0]
        norm = as_units(weights[name].detach().float(), granularity).square().sum(1)
        count = min(int(rate * int(alive.sum())), int(alive.sum()) - 1)
        order = torch.where(alive, norm, torch.inf).argsort(stable=True)
        kept[name] = alive.clone()
        kept[name][order[:count]] = False
        shares[name] = float(momentum[name].abs()[mask].mean(dtype=torch.float64))
        cost[name] = mask.numel() // len(alive)
        room[name] = int((~kept[name]).sum())
        pruned += count * cost[name]
    living = sum(int(mask.sum()) for mask in masks.values())
    if not pruned:
        return Rewired(masks, 0, living)
    regrown = allocate(target - living + pruned, shares, room, cost)
    after: WeightMasks = {}
    for name, mask in masks.items():
        force = as_units(momentum[name].detach().float(), granularity).square().sum(1)
        order = torch.where(kept[name], -torch.inf, force).argsort(descending=True, stable=True)
        kept[name][order[: regrown[name]]] = True
        after[name] = from_units(kept[name], mask, granularity)
    return Rewired(after, pruned, living)
