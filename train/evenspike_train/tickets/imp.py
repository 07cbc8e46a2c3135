"""Iterative magnitude pruning, the lottery-ticket baseline (LTH for SNNs).

Each round removes a share of the *living* weights, those of least magnitude, over
convolutions and linear layers together (first convolution and read-out included);
k rounds leave (1 - rate)^k of the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evenspike_train.tickets.base import Masks, Method, RoundReport, Weights


def prune_by_magnitude(weights: Weights, masks: Masks, count: int) -> Masks:
    """Remove exactly `count` living weights, the smallest of all layers together.

    Ties are broken by position, so the number is exact whatever the values.
    """
    alive = {name: mask.flatten().nonzero().flatten() for name, mask in masks.items()}
    values = torch.cat([weights[name].detach().flatten()[i].abs() for name, i in alive.items()])
    if not 0 <= count <= values.numel():
        raise ValueError(f"prune: cannot remove {count} of {values.numel()} living weights")
    doomed = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    doomed[values.argsort(stable=True)[:count]] = True
    pruned, start = {}, 0
    for name, index in alive.items():
        mask = masks[name].clone(memory_format=torch.contiguous_format)
        mask.view(-1)[index[doomed[start : start + index.numel()]]] = False
        pruned[name] = mask
        start += index.numel()
    return pruned


def count_alive(masks: Masks) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


def prune_round(weights: Weights, masks: Masks, rate: float, scope: str) -> Masks:
    """One step of the ladder: remove floor(rate * living) weights."""
    if scope == "global":
        return prune_by_magnitude(weights, masks, int(rate * count_alive(masks)))
    pruned: Masks = {}
    for name, mask in masks.items():
        one: dict[str, Tensor] = {name: mask}
        pruned |= prune_by_magnitude(weights, one, int(rate * int(mask.sum())))
    return pruned


def trim(weights: Weights, masks: Masks, sparsity: float) -> Masks:
    """Prune as far as the sparsity asks for; does nothing where it is met."""
    total = sum(mask.numel() for mask in masks.values())
    allowed = int((1 - sparsity) * total)
    excess = count_alive(masks) - allowed
    return prune_by_magnitude(weights, masks, excess) if excess > 0 else masks


class Dense(Method):
    """No pruning: the baseline every ticket is compared with."""

    @property
    def rounds(self) -> int:
        return 0

    def update(
        self, weights: Weights, masks: Masks, generator: torch.Generator, last: bool
    ) -> RoundReport:
        return RoundReport(masks, masks, {})


class IterativeMagnitude(Method):
    """IMP with the rate and scope of the recipe."""

    def update(
        self, weights: Weights, masks: Masks, generator: torch.Generator, last: bool
    ) -> RoundReport:
        pruned = prune_round(weights, masks, self.config.rate, self.config.scope)
        if last:
            pruned = trim(weights, pruned, self.config.sparsity)
        return RoundReport(pruned, pruned, {})
