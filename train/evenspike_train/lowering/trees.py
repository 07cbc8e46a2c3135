"""Trees: what functions are given and give back, nested in lists, tuples and mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


def leaves(tree: Any) -> Iterator[Any]:
    """Everything in it that holds nothing else."""
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        for one in tree:
            yield from leaves(one)
    else:
        yield tree


def tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors in it."""
    return (one for one in leaves(tree) if isinstance(one, Tensor))
