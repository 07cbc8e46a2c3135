"""What the accelerator's counters say of LTH, u-Ticket and cycle-aware u-Ticket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evenspike.report.comparison.parts import (
    Figure,
    accuracy,
    columns,
    counted,
    figure,
    label,
    mean,
    point,
    select,
    series,
    studies,
)
from evenspike.report.comparison.rows import FinishedRun, spread

METHODS = ("imp", "u-ticket", "cycle-aware")
ASSIGNMENTS = {"the mapper's": "", "filters in their order": "_natural"}
"""The assignments of filters to PEs, and the ends of their figures' names in the log."""


def hardware(rows: list[FinishedRun]) -> Figure:
    """Utilization, cycles and energy, with the mapper's assignment and without."""
    used: list[FinishedRun] = []
    lines: list[dict[str, Any]] = []
    table, pairs = [], []
    for study in studies(rows):
        runs = {method: select(rows, study, method) for method in METHODS}
        for method in METHODS:
            used += runs[method]
            for assignment, suffix in ASSIGNMENTS.items():
                busy = mean(runs[method], counted("hardware_utilization" + suffix))
                table.append(
                    [
                        study,
                        method,
                        assignment,
                        busy,
                        mean(runs[method], counted("cycles" + suffix)),
                        mean(runs[method], counted("energy_pj" + suffix)),
                        mean(runs[method], counted("utilization")),
                        mean(runs[method], accuracy),
                        mean(runs[method], lambda row: row.finished["sparsity"]),
                    ]
                )
        for assignment, suffix in ASSIGNMENTS.items():
            value = counted("hardware_utilization" + suffix)
            for better, worse in zip(METHODS[1:], METHODS[:-1], strict=True):
                pairs.append(
                    [study, better, worse, assignment, *_beside(runs, better, worse, value)]
                )
            points = [point(n, mean(runs[method], value)) for n, method in enumerate(METHODS)]
            lines.append(series(label(study, assignment), points))
    return figure(
        "Utilization by the hardware's counters",
        "u-Ticket, Fig. 7, on the cycle model",
        "Busy cycles of the PEs as a share of all their cycles, from the first to the last layer "
        "of a whole image, loads and drains included: the counters of the cycle model, with which "
        "the RTL agrees. Mean of the recipe's `round_cycles_images` held-out images. All methods "
        "of a seed begin with the same dense network, and each prunes and trains from there. "
        "The paper's convention stands beside it: it counts weights, not spikes.",
        used,
        [
            {
                "x": {"label": "method", "ticks": list(METHODS)},
                "y": {"label": "utilization by the counters"},
                "series": lines,
            }
        ],
        [
            {
                "title": "The final tickets",
                "columns": columns(
                    ("recipe", "text"),
                    ("method", "text"),
                    ("assignment to PEs", "text"),
                    ("utilization", "share"),
                    ("cycles an image", "count"),
                    ("energy, pJ an image", "count"),
                    ("paper's convention", "share"),
                    ("accuracy", "percent"),
                    ("sparsity", "share"),
                ),
                "rows": table,
            },
            {
                "title": "Seed by seed",
                "columns": columns(
                    ("recipe", "text"),
                    ("method", "text"),
                    ("against", "text"),
                    ("assignment to PEs", "text"),
                    ("more utilization", "share"),
                    ("in so many seeds", "count"),
                    ("of", "count"),
                    ("more accuracy", "percent"),
                ),
                "rows": pairs,
            },
        ],
    )


def _beside(
    runs: dict[str, list[FinishedRun]],
    better: str,
    worse: str,
    value: Callable[[FinishedRun], float | None],
) -> list[Any]:
    """Differences of two methods over the seeds that both have."""
    other = {row.seed: row for row in runs[worse]}
    both = [(row, other[row.seed]) for row in runs[better] if row.seed in other]
    measured = [
        (a - b, accuracy(row) - accuracy(against))
        for row, against in both
        if (a := value(row)) is not None and (b := value(against)) is not None
    ]
    if not measured:
        return [None, None, None, None]
    more = [difference for difference, _ in measured]
    return [
        spread(more),
        sum(difference > 0 for difference in more),
        len(more),
        spread([difference for _, difference in measured]),
    ]
