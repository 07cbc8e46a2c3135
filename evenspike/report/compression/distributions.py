"""How weights, Z, Y and firing rates are distributed: Figures 4 to 7 of the ADMM paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evenspike.report.comparison.parts import point, series


def plots(shapes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A plot for each figure of which there is something."""
    found = []
    lines = [
        series(
            f"{key.upper()}, update {update['update']} of {update['of']}",
            _curve(update[key], update["reach"]),
        )
        for update in shapes.get("evolution", ())
        for key in ("w", "z", "y")
    ]
    found.append(_plot("entry of fc1 (Figure 4)", "connections", lines))
    for key, number in (("pruned", 5), ("quantised", 6)):
        shape = shapes.get(key)
        each = (
            []
            if shape is None
            else [series(name, _curve(shape[name], shape["reach"])) for name in ("before", "after")]
        )
        found.append(_plot(f"weight of fc1 (Figure {number})", "connections", each))
    rates = [
        series(name, [point(0.05 + 0.1 * n, _exact(y)) for n, y in enumerate(shapes[key])])
        for key, name in (("rates", "lambda = 0"), ("quiet rates", "lambda = 0.01"))
        if key in shapes
    ]
    found.append(_plot("firing rate (Figure 7)", "neurons", rates))
    return found


def _plot(x: str, y: str, lines: Sequence[Any]) -> dict[str, Any]:
    return {"x": {"label": x}, "y": {"label": y}, "series": list(lines)}


def _curve(counts: Sequence[int], reach: float) -> list[Any]:
    width = 2 * reach / len(counts)
    return [point(-reach + (n + 0.5) * width, _exact(y)) for n, y in enumerate(counts)]


def _exact(value: float) -> dict[str, float | int | None]:
    return {"mean": float(value), "std": None, "n": 1}
