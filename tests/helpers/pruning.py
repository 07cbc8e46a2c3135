"""Weights, masks and a probe for tests of pruning methods."""

from __future__ import annotations

import torch

from evenspike_train.tickets import Probe, WeightWork
from evenspike_train.tickets.base import WeightMasks

SHAPES: dict[str, tuple[int, ...]] = {
    "first": (8, 1, 3, 3),
    "a": (32, 8, 3, 3),
    "b": (48, 32, 3, 3),
    "fc": (10, 48),
}


class FakeProbe(Probe):
    """Saliency and work that a test has chosen; none by default."""

    def __init__(
        self, saliency: WeightMasks | None = None, work: dict[str, WeightWork] | None = None
    ) -> None:
        self._saliency, self._work = saliency or {}, work or {}

    def saliency(self, images: int) -> WeightMasks:
        return self._saliency

    def weight_work(self) -> dict[str, WeightWork]:
        return self._work


PROBE = FakeProbe()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def random_weights(shapes: dict[str, tuple[int, ...]] = SHAPES) -> WeightMasks:
    g = generator()
    return {name: torch.randn(shape, generator=g) for name, shape in shapes.items()}


def full(weights: WeightMasks) -> WeightMasks:
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}


def loads(mask: torch.Tensor) -> torch.Tensor:
    return mask.flatten(1).sum(1)
