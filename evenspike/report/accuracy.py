"""Accuracy: the share of right predictions, and how well so many images can tell it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from evenspike_core.wilson import wilson


def accuracy(predictions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The report's `accuracy` and `accuracy_interval`, both null where no label is known.

    predictions: as the report has them, with `label` and `prediction`.
    """
    known = [p["label"] == p["prediction"] for p in predictions if p["label"] is not None]
    if not known:
        return {"accuracy": None, "accuracy_interval": None}
    right, of = sum(known), len(known)
    return {"accuracy": right / of, "accuracy_interval": wilson(right, of)}
