"""The interface of a pruning method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from evenspike_train.tickets.config import MethodConfig

Masks = dict[str, Tensor]
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class WeightWork:
    """Cycles that the weights of a convolution take where active neurons match them.

    expected : mean of an image, float64 [channels, K, K].
    windows : in each of many windows (one input row of one image each), whole numbers,
        float64 [windows, channels, K, K].
    """

    expected: Tensor
    windows: Tensor


class Probe(ABC):
    """What a method may measure on the network as it is, on training images."""

    @abstractmethod
    def saliency(self, images: int) -> dict[str, Tensor]:
        """|dL/dw * w| of every prunable weight, by layer, over so many images."""

    @abstractmethod
    def weight_work(self) -> dict[str, WeightWork]:
        """Work of the weights of each convolution that reads spikes."""


@dataclass(frozen=True)
class RoundReport:
    """What one mask update did: the new masks and what to log about them."""

    masks: Masks
    #: Masks the next round prunes from, where they differ from those it trains with.
    carried: Masks
    #: Numbers for the log, by name.
    figures: dict[str, float]


class Method(ABC):
    """Schedule of rounds x mask update x rewind."""

    #: Prunes the network as it is initialised: there is no dense phase.
    at_initialisation: ClassVar[bool] = False
    #: Prunes once, to the recipe's sparsity; the others climb a ladder of rounds.
    prunes_once: ClassVar[bool] = False
    #: Looks at the weights after every epoch of the dense phase.
    watches_epochs: ClassVar[bool] = False
    #: Searches on the network's twin with ReLU instead of spiking neurons.
    on_twin: ClassVar[bool] = False

    def __init__(self, config: MethodConfig) -> None:
        self.config = config

    @property
    def rounds(self) -> int:
        """Number of mask updates; the dense phase comes before the first."""
        return self.config.rounds

    @abstractmethod
    def update(
        self,
        weights: Weights,
        masks: Masks,
        generator: torch.Generator,
        last: bool,
        probe: Probe,
    ) -> RoundReport:
        """Masks after one round.

        ``weights`` are the unmasked values after training, ``masks`` what the previous
        report carried, both by layer in forward order; ``last`` says that no further
        round follows.  Every random choice comes from ``generator``.
        """

    def after_epoch(self, weights: Weights, masks: Masks) -> dict[str, Any]:
        """Figures of an epoch of the dense phase; ``"stop"`` among them, true, ends the phase."""
        return {}

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to go on: tensors, numbers, lists."""
        return {}

    def load_state(self, state: Mapping[str, Any], masks: Masks) -> None:
        """Take back what `state` gave; ValueError for what does not fit `masks`."""
        if state:
            raise ValueError(f"{self.config.name} keeps no state, but there is {sorted(state)}")
