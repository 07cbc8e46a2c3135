"""What a balance is: a change of masks after which filters that run side by side have equal work.

The first convolution (computed from pixels, not spikes) and linear layers are left alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from evenspike_train.tickets.base import WeightMasks, Weights


def balanced_layers(masks: WeightMasks) -> list[str]:
    """Names of the layers that are balanced: convolutions other than the first."""
    return [name for name, mask in masks.items() if mask.dim() == 4][1:]


class Balance(ABC):
    """Evens out the filters of each group of as many as there are PEs."""

    @abstractmethod
    def even(
        self,
        importance: Weights,
        masks: WeightMasks,
        generator: torch.Generator,
        *,
        sparser: bool = False,
    ) -> WeightMasks:
        """The balanced masks.  With `sparser` no layer has more weights than before."""

    @abstractmethod
    def evenness(self, masks: WeightMasks) -> float:
        """Return how even the masks are; 1 where nothing is left to do for this balance."""
