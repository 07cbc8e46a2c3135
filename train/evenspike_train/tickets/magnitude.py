"""Pruning by rank: the smallest living values go, of all layers together or of each."""

from __future__ import annotations

import torch
from torch import Tensor

from evenspike_train.tickets.base import WeightMasks, Weights


def prune_by_magnitude(weights: Weights, masks: WeightMasks, count: int) -> WeightMasks:
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


def count_alive(masks: WeightMasks) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


def prune_round(weights: Weights, masks: WeightMasks, rate: float, scope: str) -> WeightMasks:
    """One step of the ladder: remove floor(rate * living) weights."""
    if scope == "global":
        return prune_by_magnitude(weights, masks, int(rate * count_alive(masks)))
    pruned: WeightMasks = {}
    for name, mask in masks.items():
        one: dict[str, Tensor] = {name: mask}
        pruned |= prune_by_magnitude(weights, one, int(rate * int(mask.sum())))
    return pruned


def prune_to(
    weights: Weights, masks: WeightMasks, sparsity: float, scope: str = "global"
) -> WeightMasks:
    """Prune as far as the sparsity asks for; does nothing where it is met.

    With the scope ``"local"`` every layer is pruned to it by itself.
    """
    if scope == "local":
        pruned: WeightMasks = {}
        for name, mask in masks.items():
            pruned |= prune_to(weights, {name: mask}, sparsity)
        return pruned
    total = sum(mask.numel() for mask in masks.values())
    excess = count_alive(masks) - int((1 - sparsity) * total)
    return prune_by_magnitude(weights, masks, excess) if excess > 0 else masks
