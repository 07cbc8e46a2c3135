"""What attention-guided compression, conversion and hybrid learning are worth, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evenspike.report.comparison.parts import Figure, accuracy, columns, figure, mean, select
from evenspike.report.comparison.rows import FinishedRun, spread
from evenspike_core import published

METHOD = "agc"
PARENT = "agc-vgg9-small-dense"

RECIPES = (
    PARENT,
    "agc-vgg9-small",
    "agc-vgg9-small-channel",
    "agc-vgg9-small-channel-tenth",
    "agc-vgg9-small-fixed",
    "agc-vgg9-small-converted",
    "agc-vgg9-small-poisson",
)

BARS = {
    "agc-vgg9-small": 1.5,
    "agc-vgg9-small-channel": 3.0,
    "agc-vgg9-small-channel-tenth": 3.0,
}
"""Points that a recipe's mean may lie below the dense parent's."""


def _stage(event: str) -> Callable[[FinishedRun], float | None]:
    """Accuracy in the first line of an event, None where a run has none."""

    def value(row: FinishedRun) -> float | None:
        lines = row.values.get(event) or []
        return float(lines[0]["accuracy"]) if lines else None

    return value


def _density(row: FinishedRun) -> float:
    return 1 - float(row.finished["sparsity"])


def _rounding(row: FinishedRun) -> float | None:
    """Points that rounding the leaks to 4096ths costs."""
    rounded = row.finished.get("rounded_accuracy")
    return None if rounded is None else accuracy(row) - float(rounded)


def _gain(row: FinishedRun) -> float | None:
    """How much less energy the spiking network takes than the dense one with ReLU, by Eq. 15."""
    counted = row.finished.get("operations")
    return None if not counted else counted["energy_dense"] / counted["energy"]


def _spikes(row: FinishedRun) -> float | None:
    """Spikes of a neuron over all timesteps, mean of the layers."""
    activity = row.finished.get("activity")
    return None if not activity else sum(activity) / len(activity)


def agc(rows: list[FinishedRun]) -> Figure:
    """Accuracy of the three stages, and the bars that are set for them."""
    used: list[FinishedRun] = []
    table: list[list[Any]] = []
    bars: list[list[Any]] = []
    parents = {row.seed: accuracy(row) for row in select(rows, PARENT, METHOD)}
    for recipe in RECIPES:
        runs = select(rows, recipe, METHOD)
        used += runs
        final = mean(runs, accuracy)
        values = (_density, _stage("trained"), _stage("converted"))
        costs = (_rounding, _spikes, _gain)
        table.append(
            [recipe, *(mean(runs, one) for one in values), final, *(mean(runs, c) for c in costs)]
        )
        below = spread([parents[row.seed] - accuracy(row) for row in runs if row.seed in parents])
        if recipe in BARS and below is not None:
            met = float(below["mean"] or 0.0) <= BARS[recipe]
            bars.append([recipe, BARS[recipe], below, "met" if met else "missed"])
    return figure(
        "Attention-guided compression, conversion and hybrid learning",
        "AGC, Tables II and III",
        "Accuracy on the held-out images of the network with ReLU at the end of its compression, "
        "of the spiking network that it is converted into, and of that after hybrid learning. "
        "Energy is by Eq. 15, beside that of the dense network with ReLU. The meta-model is one "
        "run of `agc-vgg9-meta`.",
        used,
        [],
        [
            {
                "title": "Stages",
                "columns": columns(
                    ("recipe", "text"),
                    ("living weights", "share"),
                    ("with ReLU", "percent"),
                    ("converted", "percent"),
                    ("after hybrid learning", "percent"),
                    ("lost to rounded leaks", "percent"),
                    ("spikes of a neuron", "share"),
                    ("energy saved", "factor"),
                ),
                "rows": table,
            },
            {
                "title": "Bars",
                "columns": columns(
                    ("recipe", "text"),
                    ("may lie below the dense parent", "percent"),
                    ("lies below that of its seed", "percent"),
                    ("", "text"),
                ),
                "rows": bars,
            },
            {
                "title": "What the paper states, on CIFAR-10 at full width and T = 10",
                "columns": columns(
                    ("network", "text"),
                    ("compression", "text"),
                    ("with ReLU", "percent"),
                    ("converted", "percent"),
                    ("after hybrid learning", "percent"),
                ),
                # Only beside runs of our own: a page of papers alone says nothing.
                "rows": [list(row) for row in published.AGC] if used else [],
            },
        ],
    )
