"""Accuracy: the share of right predictions, and how well so many images can tell it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

Z = 1.959963984540054
"""Of the normal distribution: 95 % lie within so many standard deviations."""


def wilson(right: float, of: int) -> list[float]:
    """Wilson's 95 % score interval of a share, [low, high]: unlike right ± z·s it stays in 0 to 1.

    of: how many there were, at least 1.
    """
    share = right / of
    centre = share + Z**2 / (2 * of)
    spread = Z * math.sqrt(share * (1 - share) / of + Z**2 / (4 * of**2))
    scale = 1 + Z**2 / of
    return [max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)]


def accuracy(predictions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The report's `accuracy` and `accuracy_interval`, both null where no label is known.

    predictions: as the report has them, with `label` and `prediction`.
    """
    known = [p["label"] == p["prediction"] for p in predictions if p["label"] is not None]
    if not known:
        return {"accuracy": None, "accuracy_interval": None}
    right, of = sum(known), len(known)
    return {"accuracy": right / of, "accuracy_interval": wilson(right, of)}
