"""Axes: what each dimension of a tensor stands for while a network is followed.

A dimension is a tuple of axes, in the order of its memory: T timesteps, B examples, C channels, H
rows, W columns. Those of one entry are left out. `x.flatten(0, 1)` of [T, B, C, H, W] makes
((T, B), (C,), (H,), (W,)).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

Axis = tuple[str, int]
Dims = tuple[tuple[Axis, ...], ...]

ORDER = "TBCHW"


def named(names: str, sizes: Sequence[int]) -> Dims:
    """One axis for each dimension."""
    pairs = zip(names, sizes, strict=True)
    return tuple(((name, size),) if size > 1 else () for name, size in pairs)


def reshaped(dims: Dims, shape: Sequence[int]) -> Dims | None:
    """Dimensions after a reshape to `shape`; None where an axis would be cut into pieces."""
    axes = [axis for dim in dims for axis in dim]
    out: list[tuple[Axis, ...]] = []
    for size in shape:
        group: list[Axis] = []
        while prod(axis[1] for axis in group) < size and axes:
            group.append(axes.pop(0))
        if prod(axis[1] for axis in group) != size:
            return None
        out.append(tuple(group))
    return tuple(out)


def flat(dims: Dims) -> str:
    """Names of all axes in order."""
    return "".join(axis[0] for dim in dims for axis in dim)


def has_time(dims: Dims) -> bool:
    return "T" in flat(dims)


def expected(shape: Sequence[int], names: str) -> str:
    """Names of the axes of a tensor of `names`, without those of one entry."""
    return "".join(name for name, size in zip(names, shape, strict=True) if size > 1)


def canonical(tensor: Tensor, dims: Dims, shape: tuple[int, int, int]) -> Tensor:
    """The tensor as [T or 1, B or 1, C, H, W], where [C, H, W] is `shape`."""
    axes = [axis for dim in dims for axis in dim]
    split = tensor.detach().reshape([size for _, size in axes])
    names = [name for name, _ in axes]
    order = sorted(range(len(names)), key=lambda i: ORDER.index(names[i]))
    sizes = dict(axes)
    lead = [sizes.get("T", 1), sizes.get("B", 1)]
    return split.permute(order).reshape(*lead, *shape).to("cpu", torch.float64)
