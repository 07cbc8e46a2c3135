"""Which keys of the ``[method]`` table a method takes, and which of them have an effect."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from evenspike_train.tickets.base import BALANCE, EARLY_TIME
from evenspike_train.tickets.config import MethodConfig
from evenspike_train.tickets.registry import find, known


def taken(name: str) -> frozenset[str]:
    """Return keys of the table that a method takes, but for its own."""
    return known(name).options | {"name", "pes"}


def check_given(config: MethodConfig, given: Iterable[str]) -> None:
    """Raise ValueError for a key that was given although it changes nothing.

    `given` are the keys that stand in the table; what is left out has a default.
    """
    if find(config.name) is None:
        return  # which is an error of its own
    keys = set(given) - config.own.keys()
    for key in sorted(keys - taken(config.name)):
        if key in MethodConfig.__dataclass_fields__:
            raise ValueError(
                f"method: {config.name} has no option {key}; "
                f"it has {', '.join(sorted((taken(config.name) | config.own.keys()) - {'name'}))}"
            )
    for key, needed in idle(config).items():
        if key in keys:
            raise ValueError(f"method: {key} has no effect without {needed}")


def idle(config: MethodConfig) -> dict[str, str]:
    """Return keys that the method takes but that change nothing here, and what they would need."""
    found: dict[str, str] = {}
    if config.balancing == "none":
        needed = 'balance = "weights" or "cycles"'
        found |= dict.fromkeys((*BALANCE, "carry", "exchange"), needed)
    elif config.balancing == "cycles":
        found["level"] = 'balance = "weights"'
    elif config.balancing == "weights":
        found["exchange"] = 'balance = "cycles"'
    if not config.early_time:
        found |= dict.fromkeys(EARLY_TIME - {"early_time"}, "early_time = true")
    elif config.early_timesteps:
        found["divergence"] = "early_timesteps = 0"
    return found


def own_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a table that are its method's own, with the defaults of those left out.

    Raises ValueError for one of another type, and for one that is not finite.
    """
    method = find(str(table.get("name", MethodConfig.name)))
    found: dict[str, Any] = {}
    for key, default in ({} if method is None else method.own_options).items():
        value = table.get(key, default)
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            raise ValueError(
                f"method: {key}: expected {type(default).__name__}, got {type(value).__name__} "
                f"{value!r}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"method: {key}: must be finite, not {value}")
        found[key] = value
    return found
