"""The methods of all four papers on one network: accuracy, what is left of it, what it costs."""

from __future__ import annotations

from typing import Any

from evenspike.report.comparison.parts import (
    Figure,
    accuracy,
    columns,
    counted,
    figure,
    mean,
    point,
    select,
    series,
)
from evenspike.report.comparison.rows import FinishedRun, spread

STUDY = "compression"
DENSE = (STUDY, "dense")

ROWS = (
    (*DENSE, ""),
    (STUDY, "imp", "LTH"),
    (STUDY, "u-ticket", "u-Ticket"),
    ("compression-admm", "hard", "ADMM, its baseline"),
    ("compression-admm", "admm", "ADMM"),
    ("compression-codes", "admm", "ADMM, with 3 bits"),
    ("agc-vgg9-small", "agc", "AGC"),
    ("agc-vgg9-small-channel", "agc", "AGC, half the channels"),
)
"""(recipe, method, whose it is) of each row of the table."""

HARDWARE = (
    ("cycles an image", "cycles", "count"),
    ("words loaded", "words_loaded", "count"),
    ("energy, pJ an image", "energy_pj", "count"),
    ("utilization", "hardware_utilization", "share"),
)
"""(column, figure in the log, format) of what the cycle model counts."""


def _memory(row: FinishedRun) -> float | None:
    """R_mem, where the run has it."""
    return row.finished.get("r_mem")


def compression(rows: list[FinishedRun]) -> Figure:
    """One row for each method, beside the dense network of the same seed."""
    used: list[FinishedRun] = []
    table: list[list[Any]] = []
    points = []
    dense = {row.seed: row for row in select(rows, *DENSE)}

    def operations(row: FinishedRun) -> float | None:
        """R_ops: R_mem times the firing rate beside that of the seed's dense network."""
        memory, other = _memory(row), dense.get(row.seed)
        if memory is None or other is None or not other.finished.get("firing_rate"):
            return None
        return float(memory * row.finished["firing_rate"] / other.finished["firing_rate"])

    def lost(row: FinishedRun) -> float | None:
        return accuracy(dense[row.seed]) - accuracy(row) if row.seed in dense else None

    for recipe, method, paper in ROWS:
        runs = select(rows, recipe, method)
        used += runs
        reached, cycles = mean(runs, accuracy), mean(runs, counted("cycles"))
        table.append(
            [
                recipe,
                method,
                paper,
                reached,
                spread([lost(row) for row in runs]),
                mean(runs, lambda row: float(row.finished["sparsity"])),
                mean(runs, _memory),
                spread([operations(row) for row in runs]),
                *(mean(runs, counted(key)) for _, key, _ in HARDWARE),
            ]
        )
        if cycles is not None and cycles["mean"] is not None:
            points.append(series(paper or "dense", [point(float(cycles["mean"]), reached)]))
    return figure(
        "The four papers' methods on one network",
        "u-Ticket, LTH, ADMM and AGC, on the cycle model",
        "VGG-9 of AGC at an eighth of its width, Fashion-MNIST, T = 8; accuracy on the held-out "
        "images. `sparsity` is that of all weights. R_mem is what the layers between the first "
        "and the last keep in memory, of 32 bits a weight (ADMM, Eq. 16); R_ops is that times the "
        "firing rate, beside the dense network of the same seed (Eq. 18). Cycles, words of 64 bits "
        "through the memory port, energy and utilization are the cycle model's, with which the RTL "
        "agrees: mean of the recipe's `round_cycles_images` held-out images on 16 PEs. The recipes "
        "of one seed share their dense phase, but for AGC, which trains the twin with ReLU, for "
        "more images, and looks at the meta-model `agc-vgg9-meta`.",
        used,
        [
            {
                "x": {"label": "cycles an image"},
                "y": {"label": "accuracy, %"},
                "series": points,
            }
        ],
        [
            {
                "title": "Methods",
                "columns": columns(
                    ("recipe", "text"),
                    ("method", "text"),
                    ("after", "text"),
                    ("accuracy", "percent"),
                    ("below dense", "percent"),
                    ("sparsity", "share"),
                    ("R_mem", "share"),
                    ("R_ops", "share"),
                    *((name, form) for name, _, form in HARDWARE),
                ),
                "rows": table,
            }
        ],
    )
