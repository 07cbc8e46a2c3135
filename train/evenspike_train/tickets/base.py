"""The interface of a pruning method, and what a recipe can say about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Masks = dict[str, Tensor]
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class MethodConfig:
    """The ``[method]`` table of a recipe.

    Parameters
    ----------
    name : key of `METHODS`.
    rounds : number of prunings.
    rate : share of the living weights each of them removes.
    scope : ``"global"`` ranks all layers together, ``"local"`` each by itself.
    rewind : ``"weights"`` goes back to the snapshot after each pruning (late rewinding);
        ``"learning-rate"`` keeps the weights and only restarts the schedule.
    snapshot : images seen in the dense phase when the snapshot is taken.
    sparsity : share of weights that must be gone at the end; the last mask is trimmed to it.
    pes : processing elements, that is filters that are balanced together (u-Ticket).
    level : ``"ceil"`` or ``"floor"`` of the mean number of weights in a group (u-Ticket).
    carry : ``"paper"``: the balanced mask is the next round's start; ``"code"``: recovered
        weights live for one round only, as in the authors' code (u-Ticket).
    remove : which weights a filter with too many loses, ``"random"`` or ``"magnitude"``.
    recover : value of a recovered weight: ``"snapshot"`` (the rewound value), ``"kept"``
        (what it was when it was pruned) or ``"zero"``.
    """

    name: str = "u-ticket"
    rounds: int = 13
    rate: float = 0.25
    scope: str = "global"
    rewind: str = "weights"
    snapshot: int = 0
    sparsity: float = 0.0
    pes: int = 16
    level: str = "ceil"
    carry: str = "paper"
    remove: str = "random"
    recover: str = "snapshot"

    def __post_init__(self) -> None:
        choices = {
            "scope": ("global", "local"),
            "rewind": ("weights", "learning-rate"),
            "level": ("ceil", "floor"),
            "carry": ("paper", "code"),
            "remove": ("random", "magnitude"),
            "recover": ("snapshot", "kept", "zero"),
        }
        for field, allowed in choices.items():
            if getattr(self, field) not in allowed:
                raise ValueError(
                    f"method: {field} must be one of {allowed}, not {getattr(self, field)!r}"
                )
        if self.rounds < 0:
            raise ValueError(f"method: rounds must not be negative: {self.rounds}")
        if not 0.0 < self.rate < 1.0:
            raise ValueError(f"method: rate must lie between 0 and 1, not {self.rate}")
        if not 0.0 <= self.sparsity < 1.0:
            raise ValueError(f"method: sparsity must lie in [0, 1), not {self.sparsity}")
        if self.snapshot < 0:
            raise ValueError(f"method: snapshot must not be negative: {self.snapshot}")
        if self.pes < 1:
            raise ValueError(f"method: pes must be at least 1, not {self.pes}")


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

    def __init__(self, config: MethodConfig) -> None:
        self.config = config

    @property
    def rounds(self) -> int:
        """Number of mask updates; the dense phase comes before the first."""
        return self.config.rounds

    @abstractmethod
    def update(
        self, weights: Weights, masks: Masks, generator: torch.Generator, last: bool
    ) -> RoundReport:
        """Masks after one round.

        ``weights`` are the unmasked values after training, ``masks`` what the previous
        report carried, both by layer in forward order; ``last`` says that no further
        round follows.  Every random choice comes from ``generator``.
        """
