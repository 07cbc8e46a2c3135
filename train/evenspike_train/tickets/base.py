"""The interface of a pruning method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from evenspike_train.tickets.config import MethodConfig

WeightMasks = dict[str, Tensor]
"""A boolean tensor for each prunable layer, of its weights' shape: True where a weight lives."""

Weights = Mapping[str, Tensor]
"""The weights of each prunable layer, in forward order."""


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
    """The measurements that a method may make on the network as it is, on training images."""

    @abstractmethod
    def saliency(self, images: int) -> dict[str, Tensor]:
        """|dL/dw * w| of every prunable weight, by layer, over so many images."""

    @abstractmethod
    def weight_work(self) -> dict[str, WeightWork]:
        """Work of the weights of each convolution that reads spikes."""


@dataclass(frozen=True)
class RoundReport:
    """The result of one mask update: the new masks and what to log about them."""

    masks: WeightMasks
    #: Weights outside of these do not outlive the next update, whatever they become until then.
    carried: WeightMasks
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
    #: Can go on from the masks of a finished ticket.
    from_start: ClassVar[bool] = False

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
        masks: WeightMasks,
        carried: WeightMasks,
        generator: torch.Generator,
        last: bool,
        probe: Probe,
    ) -> RoundReport:
        """Masks after one round.

        ``weights`` are the unmasked values after training, ``masks`` those that the round was
        trained with, ``carried`` what the previous report carried, all by layer in forward order;
        ``last`` says that no further round follows.  Every random choice comes from ``generator``.
        """

    def after_epoch(self, weights: Weights, masks: WeightMasks) -> dict[str, Any]:
        """Figures of an epoch of the dense phase; ``"stop"`` among them, true, ends the phase."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on: tensors, numbers, lists."""
        return {}

    def load_state(self, state: Mapping[str, Any], masks: WeightMasks) -> None:
        """Take back what `state` gave; ValueError for what does not fit `masks`."""
        if state:
            raise ValueError(f"{self.config.name} keeps no state, but there is {sorted(state)}")
