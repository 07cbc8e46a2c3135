"""LTH and u-Ticket beside each other: over the rounds, by layer, while training, over sparsity."""

from __future__ import annotations

from typing import Any

from evenspike.report.comparison import cycles
from evenspike.report.comparison.parts import (
    Figure,
    beside,
    columns,
    figure,
    label,
    mean,
    point,
    select,
    series,
    studies,
)
from evenspike.report.comparison.rows import FinishedRun, Spread, spread
from evenspike_core import published

LADDERS = ("imp", "u-ticket")
HARDWARE = ("hardware_utilization", "cycles", "energy_pj")
"""Counters of the cycle model, which a run has if they were measured."""


def _by_round(rows: list[FinishedRun], key: str) -> list[Spread | None]:
    """A figure of each round's ticket; the last is that of the final phase."""
    lines = [{line["round"]: line for line in row.lines("trained")} for row in rows]
    numbers = sorted({number for each in lines for number in each})
    return [spread([each[n].get(key) for each in lines if n in each]) for n in numbers]


def rounds(rows: list[FinishedRun]) -> Figure:
    """Sparsity and utilization of LTH and u-Ticket, round by round."""
    used: list[FinishedRun] = []
    lines: dict[str, list[Any]] = {"sparsity": [], "utilization": []}
    table, summary = [], []
    for study in studies(rows):
        for method in LADDERS:
            runs = select(rows, study, method)
            used += runs
            found = {key: _by_round(runs, key) for key in (*lines, "accuracy", *HARDWARE)}
            for key, line in lines.items():
                points = [point(n, y) for n, y in enumerate(found[key])]
                line.append(series(label(study, method), points))
            for n, values in enumerate(zip(*found.values(), strict=True)):
                table.append([study, method, n, *values])
            summary.append(
                [
                    study,
                    method,
                    mean(runs, cycles.utilization),
                    mean(runs, lambda row: cycles.utilization(row, weighted=True)),
                    beside(published.UTILIZATION, study, rows, method),
                ]
            )
    x = {"label": "prunings"}
    return figure(
        "Sparsity and utilization over the rounds",
        "u-Ticket, Fig. 4",
        "Utilization is the paper's convention: numbers of living weights in groups of as many "
        "consecutive filters as the recipe has PEs, mean of the layers. Round 0 is the dense "
        "network; the last is the final ticket. The paper's own figure weights the layers by "
        "their parameters, as a column of the first table does. What the cycle model counts stands "
        "beside it where a run had it measured; the two must not be compared.",
        used,
        [
            {"x": x, "y": {"label": "sparsity of the weights"}, "series": lines["sparsity"]},
            {"x": x, "y": {"label": "utilization"}, "series": lines["utilization"]},
        ],
        [
            {
                "title": "The final ticket",
                "columns": columns(
                    ("recipe", "text"),
                    ("method", "text"),
                    ("utilization, mean of layers", "share"),
                    ("weighted by parameters", "share"),
                    ("paper (weighted)", "share"),
                ),
                "rows": summary,
            },
            {
                "title": "Round by round",
                "columns": columns(
                    ("recipe", "text"),
                    ("method", "text"),
                    ("prunings", "count"),
                    ("sparsity", "share"),
                    ("utilization", "share"),
                    ("accuracy", "percent"),
                    ("hardware: utilization", "share"),
                    ("cycles", "count"),
                    ("energy, pJ", "count"),
                ),
                "rows": table,
            },
        ],
    )


def layers(rows: list[FinishedRun]) -> Figure:
    """Work, idle cycles, latency and utilization of each layer."""
    used: list[FinishedRun] = []
    keys = ("utilization", "work", "idle", "latency")
    lines: dict[str, list[Any]] = {key: [] for key in keys}
    table, summary, ticks = [], [], list[str]()
    for study in studies(rows):
        for method in LADDERS:
            runs = select(rows, study, method)
            used += runs
            each = [cycles.layers(row) for row in runs]
            names = [layer["name"] for layer in each[0]] if each else []
            ticks = max(ticks, names, key=len)
            found = {
                key: [spread([layers[n][key] for layers in each]) for n in range(len(names))]
                for key in keys
            }
            for key, line in lines.items():
                points = [point(n, y) for n, y in enumerate(found[key])]
                line.append(series(label(study, method), points))
            for n, name in enumerate(names):
                table.append([study, method, name, *(found[key][n] for key in keys)])
            paper = beside(published.CYCLES, study, rows, method) or (None, None, None)
            totals = [
                value
                for key, stated in zip(keys[1:], paper, strict=True)
                for value in (spread([cycles.total(row, key) for row in runs]), stated)
            ]
            summary.append([study, method, *totals])
    labels = {"utilization": "utilization", "work": "work, PE-cycles", "idle": "idle, PE-cycles",
              "latency": "latency, cycles"}  # fmt: skip
    return figure(
        "LTH and u-Ticket, layer by layer",
        "u-Ticket, Fig. 7 and Table IV",
        "The paper's convention, of the final tickets: a living weight takes one PE one cycle for "
        "each output position and timestep; a group of filters lasts as long as its slowest PE. "
        "The first convolution and the fully connected layers are not counted. "
        "(work + idle) / PEs = latency in every layer.",
        used,
        [
            {
                "x": {"label": "layer", "ticks": ticks},
                "y": {"label": labels[key]},
                "series": lines[key],
            }
            for key in keys
        ],
        [
            {
                "title": "The whole network",
                "columns": columns(
                    ("recipe", "text"),
                    ("method", "text"),
                    ("work", "count"),
                    ("paper: work", "count"),
                    ("idle", "count"),
                    ("paper: idle", "count"),
                    ("latency", "count"),
                    ("paper: latency", "count"),
                ),
                "rows": summary,
            },
            {
                "title": "Layer by layer",
                "columns": columns(
                    ("recipe", "text"),
                    ("method", "text"),
                    ("layer", "text"),
                    ("utilization", "share"),
                    ("work", "count"),
                    ("idle", "count"),
                    ("latency", "count"),
                ),
                "rows": table,
            },
        ],
    )


def convergence(rows: list[FinishedRun]) -> Figure:
    """Accuracy on the way through the final training."""
    used: list[FinishedRun] = []
    lines, table, summary = [], [], []
    for study in studies(rows):
        for method in LADDERS:
            runs = [row for row in select(rows, study, method) if row.lines("validation")]
            used += runs
            curves = [{p["step"]: p for p in row.lines("validation")} for row in runs]
            points = []
            for step in sorted({step for curve in curves for step in curve}):
                here = [curve[step] for curve in curves if step in curve]
                images = step / here[0]["of"] * runs[0].recipe["images"]["final"]
                accuracy = spread([p["accuracy"] for p in here])
                points.append(point(round(images), accuracy))
                table.append([study, method, round(images), accuracy,
                              spread([p["loss"] for p in here])])  # fmt: skip
            lines.append(series(label(study, method), points))
            stated = beside(published.ACCURACY, study, rows, method)
            final = mean(runs, lambda row: row.finished["validation_accuracy"])
            summary.append([study, method, final, stated and stated[0]])
    return figure(
        "Convergence of the final training",
        "u-Ticket, Fig. 8",
        "Accuracy on held-out images (the first of them, as many as the recipe's "
        "`round_validation`) while the final ticket is trained. The first table is on all "
        "held-out images, at the end; the paper's accuracy is on the test set.",
        used,
        [{"x": {"label": "images passed in the final phase"}, "y": {"label": "accuracy, %"},
          "series": lines}],
        [
            {
                "title": "At the end",
                "columns": columns(
                    ("recipe", "text"),
                    ("method", "text"),
                    ("accuracy", "percent"),
                    ("paper", "percent"),
                ),
                "rows": summary,
            },
            {
                "title": "On the way",
                "columns": columns(
                    ("recipe", "text"),
                    ("method", "text"),
                    ("images", "count"),
                    ("accuracy", "percent"),
                    ("loss", "share"),
                ),
                "rows": table,
            },
        ],
    )  # fmt: skip


def sparsity(rows: list[FinishedRun]) -> Figure:
    """Utilization against the sparsity of the weights."""
    used: list[FinishedRun] = []
    lines, table = [], []
    for study in studies(rows):
        for method in LADDERS:
            runs = select(rows, study, method)
            used += runs
            pairs = list(
                zip(_by_round(runs, "sparsity"), _by_round(runs, "utilization"), strict=True)
            )
            lines.append(
                series(label(study, method), [point(s["mean"], u) for s, u in pairs if s])  # type: ignore[arg-type]
            )
            table += [[study, method, *pair] for pair in pairs] or [[study, method, None, None]]
    return figure(
        "Weight sparsity and utilization",
        "u-Ticket, Fig. 4 and the analysis of sparsity in IV-C",
        "Every round's ticket, by its sparsity; utilization in the paper's convention, mean of "
        "the layers.",
        used,
        [{"x": {"label": "sparsity of the weights"}, "y": {"label": "utilization"},
          "series": lines}],
        [
            {
                "title": "Every round's ticket",
                "columns": columns(
                    ("recipe", "text"),
                    ("method", "text"),
                    ("sparsity", "share"),
                    ("utilization", "share"),
                ),
                "rows": table,
            }
        ],
    )  # fmt: skip
