"""What the ``[method]`` table of a recipe can say.

A method is a way to choose weights (`name`), a way to even out what the filters that run side by
side have to do (`balance`), and the number of timesteps that the search uses (`early_time`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evenspike_train.tickets.registry import find

_CHOICES = {
    "scope": ("global", "local"),
    "rewind": ("weights", "learning-rate"),
    "balance": ("none", "weights", "cycles"),
    "level": ("ceil", "floor"),
    "carry": ("paper", "code"),
    "remove": ("random", "magnitude"),
    "recover": ("snapshot", "kept", "zero"),
    "early_time_logits": ("mean", "sum"),
}


@dataclass(frozen=True)
class MethodConfig:
    """The ``[method]`` table of a recipe; a method says which of its keys it takes (`options`).

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
        A method that prunes once prunes to it.
    pes : processing elements, that is filters that are balanced together; of every method, as
        the utilization in the log is that of so many.
    balance : what is made even after a pruning: nothing, the number of ``"weights"`` of each
        filter (u-Ticket), or the matched weights they are expected to cost, in ``"cycles"``.
    level : ``"ceil"`` or ``"floor"`` of a group's mean (weights only).
    carry : ``"paper"``: the balanced mask is the next round's start; ``"code"``, as in the authors'
        code: recovered weights live for one round, at the end of which they count among the
        living of which `rate` goes, and go.
    remove : which weights a filter with too many loses, ``"random"`` or ``"magnitude"``.
    recover : value of a weight that is recovered after a round without it: ``"snapshot"`` (the
        rewound value), ``"kept"`` (what it was when it was pruned) or ``"zero"``. One that a
        balance gives back in the update that pruned it keeps its own.
    exchange : share of a filter's weights that may change place at a pruning, so that its work
        comes when that of its group does (cycles only).
    early_time : search with fewer timesteps, chosen by their divergence from all of them.
    early_time_images : images seen when they are chosen; 0 means two epochs, as in the paper.
    early_time_logits : what the divergence is of, the ``"mean"`` of the logits over the timesteps
        or their ``"sum"``.
    early_timesteps : the number itself, whatever the divergence; 0 means that it is chosen.
    divergence : share of the divergence at two timesteps that the chosen number stays below.
    window : masks of earlier epochs that an Early-Bird's is compared with.
    distance : share of all weights below which the masks of two epochs count as the same.
    saliency_images : training images over which SNIP's gradient is taken.
    own : what a method has besides these, by name (`Method.own_options`).
    """

    name: str = "u-ticket"
    rounds: int = 13
    rate: float = 0.25
    scope: str = "global"
    rewind: str = "weights"
    snapshot: int = 0
    sparsity: float = 0.0
    pes: int = 16
    balance: str = "none"
    level: str = "ceil"
    carry: str = "paper"
    remove: str = "random"
    recover: str = "snapshot"
    exchange: float = 0.15
    early_time: bool = False
    early_time_images: int = 0
    early_time_logits: str = "mean"
    early_timesteps: int = 0
    divergence: float = 0.6
    window: int = 5
    distance: float = 0.02
    saliency_images: int = 1280
    own: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for key, allowed in _CHOICES.items():
            if getattr(self, key) not in allowed:
                raise ValueError(
                    f"method: {key} must be one of {allowed}, not {getattr(self, key)!r}"
                )
        for key in ("rounds", "snapshot", "early_time_images", "early_timesteps"):
            if getattr(self, key) < 0:
                raise ValueError(f"method: {key} must not be negative: {getattr(self, key)}")
        for key in ("rate", "divergence", "distance"):
            if not 0.0 < getattr(self, key) < 1.0:
                raise ValueError(
                    f"method: {key} must lie between 0 and 1, not {getattr(self, key)}"
                )
        if not 0.0 <= self.exchange <= 1.0:
            raise ValueError(f"method: exchange must lie in [0, 1], not {self.exchange}")
        if not 0.0 <= self.sparsity < 1.0:
            raise ValueError(f"method: sparsity must lie in [0, 1), not {self.sparsity}")
        for key in ("pes", "window", "saliency_images"):
            if getattr(self, key) < 1:
                raise ValueError(f"method: {key} must be at least 1, not {getattr(self, key)}")

    @property
    def balancing(self) -> str:
        """Return what is balanced: it defines some methods, and is an option of others."""
        method = find(self.name)
        return (method.balances if method is not None else "") or self.balance
