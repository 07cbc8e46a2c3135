"""What the ``[method]`` table of a recipe can say, and which method takes which of it.

A method is a way to choose weights (`name`), a way to even out what the filters that run side by
side have to do (`balance`), and the number of timesteps that the search uses (`early_time`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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
    """The ``[method]`` table of a recipe; `OPTIONS` says which method takes which key.

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

    def __post_init__(self) -> None:
        for field, allowed in _CHOICES.items():
            if getattr(self, field) not in allowed:
                raise ValueError(
                    f"method: {field} must be one of {allowed}, not {getattr(self, field)!r}"
                )
        for field in ("rounds", "snapshot", "early_time_images", "early_timesteps"):
            if getattr(self, field) < 0:
                raise ValueError(f"method: {field} must not be negative: {getattr(self, field)}")
        for field in ("rate", "divergence", "distance"):
            if not 0.0 < getattr(self, field) < 1.0:
                raise ValueError(
                    f"method: {field} must lie between 0 and 1, not {getattr(self, field)}"
                )
        if not 0.0 <= self.exchange <= 1.0:
            raise ValueError(f"method: exchange must lie in [0, 1], not {self.exchange}")
        if not 0.0 <= self.sparsity < 1.0:
            raise ValueError(f"method: sparsity must lie in [0, 1), not {self.sparsity}")
        for field in ("pes", "window", "saliency_images"):
            if getattr(self, field) < 1:
                raise ValueError(f"method: {field} must be at least 1, not {getattr(self, field)}")

    @property
    def balancing(self) -> str:
        """Return what is balanced: it defines some methods, and is an option of others."""
        return {"u-ticket": "weights", "cycle-aware": "cycles"}.get(self.name, self.balance)


_LADDER = frozenset({"rounds", "rate", "scope", "snapshot", "sparsity"})
_BALANCE = frozenset({"level", "remove", "recover"})
_EARLY_TIME = frozenset(
    {"early_time", "early_time_images", "early_time_logits", "early_timesteps", "divergence"}
)
_ANY_BALANCE = _BALANCE | {"balance", "exchange"}
_AT_ONCE = _ANY_BALANCE | {"sparsity"}

#: Keys that each method takes besides `name` and `pes`.
OPTIONS: dict[str, frozenset[str]] = {
    "dense": frozenset(),
    "held": frozenset(),
    "random": _AT_ONCE | {"scope"},
    "snip": _AT_ONCE | {"saliency_images"},
    "imp": _LADDER | _EARLY_TIME | {"rewind"},
    "u-ticket": _LADDER | _EARLY_TIME | _BALANCE | {"rewind", "carry"},
    "cycle-aware": _LADDER | _EARLY_TIME | _BALANCE | {"rewind", "carry", "exchange"},
    "early-bird": _AT_ONCE
    | _EARLY_TIME
    | {"scope", "rewind", "snapshot", "window", "distance"},
    "transferred": _LADDER | _ANY_BALANCE | {"carry"},
}  # fmt: skip


def taken(name: str) -> frozenset[str]:
    """Return keys of the table that a method takes."""
    return OPTIONS[name] | {"name", "pes"}


def check_given(config: MethodConfig, given: Iterable[str]) -> None:
    """Raise ValueError for a key that was given although it changes nothing.

    `given` are the keys that stand in the table; what is left out has a default.
    """
    if config.name not in OPTIONS:
        return  # which is an error of its own
    keys = set(given)
    for key in sorted(keys - taken(config.name)):
        if key in MethodConfig.__dataclass_fields__:
            raise ValueError(
                f"method: {config.name} has no option {key}; "
                f"it has {', '.join(sorted(taken(config.name) - {'name'}))}"
            )
    for key, needed in idle(config).items():
        if key in keys:
            raise ValueError(f"method: {key} has no effect without {needed}")


def idle(config: MethodConfig) -> dict[str, str]:
    """Return keys that the method takes but that change nothing here, and what they would need."""
    found: dict[str, str] = {}
    if config.balancing == "none":
        needed = 'balance = "weights" or "cycles"'
        found |= dict.fromkeys((*_BALANCE, "carry", "exchange"), needed)
    elif config.balancing == "cycles":
        found["level"] = 'balance = "weights"'
    elif config.balancing == "weights":
        found["exchange"] = 'balance = "cycles"'
    if not config.early_time:
        found |= dict.fromkeys(_EARLY_TIME - {"early_time"}, "early_time = true")
    elif config.early_timesteps:
        found["divergence"] = "early_timesteps = 0"
    return found
