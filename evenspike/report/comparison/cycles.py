"""Work, idle cycles and utilization of a run's final ticket, in the paper's convention."""

from __future__ import annotations

from typing import Any

import numpy as np

from evenspike.report.comparison.rows import FinishedRun
from evenspike_core.metrics import filter_loads, layer_utilization


def layers(row: FinishedRun, pes: int | None = None) -> list[dict[str, Any]]:
    """Each counted convolution: `name`, `parameters`, `work`, `idle`, `latency`, `utilization`.

    pes: as the recipe has, or another number, for which the same filters are dealt out anew.
    """
    pes = pes or int(row.recipe["pes"])
    found = []
    for layer in row.layers:
        groups = filter_loads(np.array(layer["filters"], np.int64), pes)
        slowest = groups.max(axis=1)
        cycles = layer["positions"] * row.recipe["timesteps"]
        found.append(
            {
                "name": layer["name"],
                "parameters": layer["weights"],
                "work": int(groups.sum()) * cycles,
                "idle": int((slowest[:, None] - groups).sum()) * cycles,
                "latency": int(slowest.sum()) * cycles,
                "utilization": layer_utilization(groups),
            }
        )
    return found


def total(row: FinishedRun, key: str, pes: int | None = None) -> int:
    """The sum over the layers, PE-cycles or cycles."""
    return sum(layer[key] for layer in layers(row, pes))


def utilization(
    row: FinishedRun, pes: int | None = None, *, weighted: bool = False
) -> float | None:
    """Mean of the layers that are not empty, all alike or weighted by their parameters."""
    pairs = [
        (layer["utilization"], layer["parameters"] if weighted else 1)
        for layer in layers(row, pes)
        if layer["utilization"] is not None
    ]
    if not pairs:
        return None
    return float(sum(u * w for u, w in pairs) / sum(w for _, w in pairs))
