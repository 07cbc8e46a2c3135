"""Methods that prune once, to the sparsity of the recipe, or not at all.

Random pruning and SNIP (LTH for SNNs, section 4.4; Lee et al., arXiv:1810.02340) prune the
network as it is initialised.  An Early-Bird ticket (section 3.2; You et al., arXiv:1909.11957) is
drawn from the dense network as soon as its mask settles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from evenspike_train.tickets.balanced import BalancedMethod
from evenspike_train.tickets.base import (
    ANY_BALANCE,
    EARLY_TIME,
    Method,
    Probe,
    RoundReport,
    WeightMasks,
    Weights,
)
from evenspike_train.tickets.magnitude import prune_to


class Dense(Method):
    """No pruning: the baseline every ticket is compared with."""

    name = "dense"
    place = 0

    @property
    def rounds(self) -> int:
        return 0

    def update(
        self,
        weights: Weights,
        masks: WeightMasks,
        carried: WeightMasks,
        generator: torch.Generator,
        last: bool,
        probe: Probe,
    ) -> RoundReport:
        return RoundReport(masks, masks, {})


class Held(Dense):
    """The masks that a fine-tuning begins with, to its end."""

    name = "held"
    place = 100
    options = frozenset({"balance"})  # of the ticket: what a further pruning would keep
    from_start = True


class OneShot(BalancedMethod):
    """One pruning to the sparsity asked for."""

    prunes_once = True
    options = ANY_BALANCE | {"sparsity"}

    @property
    def rounds(self) -> int:
        return 1

    def prune(
        self, importance: Weights, masks: WeightMasks, carried: WeightMasks, last: bool
    ) -> WeightMasks:
        return prune_to(importance, masks, self.config.sparsity, self.config.scope)


class Random(OneShot):
    """Weights drawn at random, whatever they are: what a ticket has to beat."""

    name = "random"
    place = 10
    options = OneShot.options | {"scope"}
    at_initialisation = True

    def importance(self, weights: Weights, generator: torch.Generator, probe: Probe) -> Weights:
        return {
            name: torch.rand(weight.shape, generator=generator).to(weight.device)
            for name, weight in weights.items()
        }


class Snip(OneShot):
    """The weights on which the loss at initialisation depends least go: |dL/dw * w|."""

    name = "snip"
    place = 20
    options = OneShot.options | {"saliency_images"}
    at_initialisation = True

    def importance(self, weights: Weights, generator: torch.Generator, probe: Probe) -> Weights:
        return probe.saliency(self.config.saliency_images)


def mask_distance(one: WeightMasks, two: WeightMasks) -> float:
    """Share of all weights that live in one of the masks only (normalised Hamming distance)."""
    differing = sum(int((mask ^ two[name]).sum()) for name, mask in one.items())
    return differing / sum(mask.numel() for mask in one.values())


class EarlyBird(OneShot):
    """The magnitude mask of an epoch, once it hardly differs from those of the epochs before.

    After every epoch of the dense phase the mask at the final sparsity is compared with those of
    the last `window` epochs; the search stops when the largest distance is below `distance`.
    """

    name = "early-bird"
    place = 40
    searches = True
    options = OneShot.options | EARLY_TIME | {"scope", "rewind", "snapshot", "window", "distance"}
    watches_epochs = True
    needs_dense = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.recent: list[WeightMasks] = []  # oldest first

    def after_epoch(self, weights: Weights, masks: WeightMasks) -> dict[str, Any]:
        mask = self.prune(weights, masks, masks, True)
        distances = [mask_distance(mask, earlier) for earlier in self.recent]
        settled = len(distances) == self.config.window and max(distances) < self.config.distance
        self.recent = [*self.recent, mask][-self.config.window :]
        largest = {"distance": max(distances)} if distances else {}
        return {"masks_compared": len(distances), **largest, "stop": settled}

    def state(self) -> dict[str, Any]:
        return {"recent": self.recent}

    def load_state(self, state: Mapping[str, Any], masks: WeightMasks) -> None:
        recent = state.get("recent")
        if state.keys() != {"recent"} or not isinstance(recent, list):
            raise ValueError("the masks of earlier epochs are missing")
        if len(recent) > self.config.window:
            raise ValueError(f"{len(recent)} masks of earlier epochs, {self.config.window} fit")
        for entry in recent:
            if not isinstance(entry, dict) or entry.keys() != masks.keys():
                raise ValueError("a mask of an earlier epoch is of another network")
            for name, mask in entry.items():
                if (
                    not isinstance(mask, Tensor)
                    or mask.dtype != torch.bool
                    or mask.shape != masks[name].shape
                ):
                    raise ValueError(f"the mask of an earlier epoch does not fit {name}")
        self.recent = recent
