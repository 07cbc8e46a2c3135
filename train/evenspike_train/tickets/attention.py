"""Attention maps of two networks, and how far one is from the other (AGC, Eqs. 4 and 5).

A layer's map is the sum over its channels of |activation|^p, one number for each place.  The paper
does not say which p, nor which layers are paired: here p is an option, and for each size of map
that both networks have, the last layer of that size in the one is paired with that in the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def pairs(own: Sequence[Tensor], other: Sequence[Tensor]) -> list[tuple[int, int]]:
    """(index in one network, index in the other) of the layers whose maps are compared.

    own, other : activations [N, C, H, W] of the layers. A map of one place says nothing: normalised
    it is 1.
    """
    last: list[dict[tuple[int, int], int]] = []
    for layers in (own, other):
        sizes = [(int(one.shape[2]), int(one.shape[3])) for one in layers]
        last.append({size: index for index, size in enumerate(sizes) if size != (1, 1)})
    return sorted((index, last[1][size]) for size, index in last[0].items() if size in last[1])


def attention(activations: Tensor, power: float) -> Tensor:
    """Normalised maps [N, H * W] of activations [N, C, H, W], in float32."""
    return functional.normalize(activations.float().abs().pow(power).sum(1).flatten(1), dim=1)


def distance(own: Sequence[Tensor], other: Sequence[Tensor], power: float) -> Tensor:
    """Sum over pairs of layers of the distance of their maps, mean over the images (Eq. 5)."""
    total = torch.zeros((), device=own[0].device)
    for one, two in zip(own, other, strict=True):
        apart = torch.linalg.vector_norm(attention(one, power) - attention(two, power), dim=1)
        total = total + apart.mean()
    return total
