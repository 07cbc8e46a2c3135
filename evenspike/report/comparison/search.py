"""All methods beside each other: accuracy, time of the search, and numbers of PEs."""

from __future__ import annotations

from typing import Any

from evenspike.report.comparison import cycles
from evenspike.report.comparison.parts import (
    Figure,
    beside,
    columns,
    figure,
    in_order,
    label,
    mean,
    point,
    select,
    series,
    studies,
)
from evenspike.report.comparison.rows import FinishedRun, spread
from evenspike_core import published

LOAD_MAX = 1.25
"""Processes that want a core, per core; with more of them seconds are not compared."""

PES = (2, 4, 8, 16, 32, 64)


def methods(rows: list[FinishedRun]) -> Figure:
    """Accuracy against sparsity."""
    used: list[FinishedRun] = []
    lines, table = [], []
    for study in studies(rows):
        for method in in_order(rows, study):
            every = select(rows, study, method, resized=True)
            runs = [row for row in every if row.values["pes"] is None]
            used += runs
            sizes = dict.fromkeys((r.values["rounds"], r.values["sparsity"]) for r in runs)
            found = []
            for size in sizes:
                same = [r for r in runs if (r.values["rounds"], r.values["sparsity"]) == size]
                at = mean(same, lambda row: row.finished["sparsity"])
                found.append((at, mean(same, lambda row: row.finished["validation_accuracy"])))
            found.sort(key=lambda pair: (pair[0] or {})["mean"] or 0.0)
            points = [point(100 * s["mean"], a) for s, a in found if s]  # type: ignore[operator]
            lines.append(series(label(study, method), points) | {"level": method == "dense"})
            stated = beside(published.ACCURACY, study, rows, method)
            at_paper = [stated[0], stated[1] / 100] if stated else [None, None]
            cells = [[study, method, s, a] for s, a in found] or [[study, method, None, None]]
            table += [[*line, *(at_paper if line is cells[-1] else (None, None))] for line in cells]
    return figure(
        "Accuracy against sparsity",
        "LTH, Fig. 6",
        "Accuracy of the final ticket on all held-out images; the papers' is on the test set. "
        "Each point is a search of its own with as many rounds as its sparsity needs. `random` "
        "and `snip` have no dense phase, so they see fewer images. `imp` and `u-ticket` rewind as "
        "their recipe does, `+late-rewinding` and `transferred` to the snapshot's weights.",
        used,
        [{"x": {"label": "sparsity of the weights, %"}, "y": {"label": "accuracy, %"},
          "series": lines}],
        [
            {
                "title": "Every method",
                "columns": columns(
                    ("recipe", "text"),
                    ("method", "text"),
                    ("sparsity", "share"),
                    ("accuracy", "percent"),
                    ("paper: accuracy", "percent"),
                    ("at sparsity", "share"),
                ),
                "rows": table,
            }
        ],
    )  # fmt: skip


def _search(row: FinishedRun, key: str) -> float | None:
    """A figure of the search, which lasts from the beginning until the last mask was drawn."""
    pruned = row.lines("pruned")
    return pruned[-1][key] if pruned else None


def passes(row: FinishedRun) -> int:
    """Images x timesteps that the search passed forward and backward."""
    total = seen = 0
    chosen = row.lines("early-time")
    searched = row.lines("pruned")[-1]["images_seen"] if row.lines("pruned") else 0
    for line in row.lines("trained"):
        if line["images_seen"] > searched:
            break
        images = line["images_seen"] - seen
        if chosen and seen == 0:  # up to the choice with all timesteps
            before = min(chosen[0]["images_seen"], images)
            total += before * (row.recipe["timesteps"] - line["timesteps"])
        total += images * line["timesteps"]
        seen = line["images_seen"]
    return total


def quiet(row: FinishedRun) -> bool:
    """Whether the run's seconds say something: it had its machine to itself."""
    load = (row.values.get("made_on") or {}).get("load")
    return load is not None and load <= LOAD_MAX


def search_time(rows: list[FinishedRun]) -> Figure:
    """What it takes to find the ticket, with and without Early-Time."""
    used: list[FinishedRun] = []
    table = []
    for study in studies(rows):
        for method in in_order(rows, study, searches=True):
            runs = select(rows, study, method)
            used += runs
            seconds = mean(runs, lambda row: _search(row, "seconds"))
            cost = mean(runs, passes)
            plain = select(rows, study, method.removesuffix("+early-time"))
            gain = saved = None
            if runs and plain and method.endswith("+early-time"):
                alike = [row for row in plain if row.seed in {run.seed for run in runs}] or plain
                before = mean(alike, lambda row: _search(row, "seconds"))
                if before and seconds and all(map(quiet, (*runs, *alike))):
                    gain = before["mean"] / seconds["mean"]  # type: ignore[operator]
                less = mean(alike, passes)
                saved = less["mean"] / cost["mean"] if less and cost else None  # type: ignore[operator]
            hours = beside(published.SEARCH_HOURS, study, rows, method)
            table.append(
                [
                    study,
                    method,
                    mean(runs, lambda row: row.finished["sparsity"]),
                    mean(runs, lambda row: row.finished["validation_accuracy"]),
                    spread([line["timesteps"] for r in runs for line in r.lines("early-time")]),
                    cost,
                    saved,
                    seconds,
                    gain,
                    hours,
                ]
            )
    return figure(
        "Time of the search",
        "LTH, Table 1",
        "Until the last mask was drawn: the dense phase and the rounds, without the final "
        "training. Image-timesteps are what was passed forward and backward in it, and do not "
        "depend on the machine; seconds do, and on what else it did. A gain is the same method "
        "without Early-Time over the one with it, of the same seeds; in seconds it is given only "
        "where the machine is known to have done nothing else. The paper's hours are on an "
        "RTX 2080Ti, with T = 5, to a sparsity of 98.13 %.",
        used,
        [],
        [
            {
                "title": "Every search",
                "columns": columns(
                    ("recipe", "text"),
                    ("method", "text"),
                    ("sparsity", "share"),
                    ("accuracy", "percent"),
                    ("T chosen", "number"),
                    ("image-timesteps", "count"),
                    ("gain", "factor"),
                    ("seconds", "number"),
                    ("gain in seconds", "factor"),
                    ("paper, hours", "hours"),
                ),
                "rows": table,
            }
        ],
    )


def pes(rows: list[FinishedRun]) -> Figure:
    """Utilization and latency against the number of PEs."""
    used: list[FinishedRun] = []
    lines: dict[str, list[Any]] = {"utilization": [], "latency": []}
    table = []
    for study in studies(rows):
        imp = select(rows, study, "imp")
        own = select(rows, study, "u-ticket")
        made_for = {
            n: [
                row
                for row in select(rows, study, "u-ticket", resized=True)
                if row.recipe["pes"] == n
                and row.values["rounds"] is None
                and row.values["sparsity"] is None
            ]
            for n in PES
        }
        kinds = {
            "imp": dict.fromkeys(PES, imp),
            "u-ticket, made for that number": made_for,
            "u-ticket, made for the recipe's number": dict.fromkeys(PES, own),
        }
        for kind, by_pes in kinds.items():
            found: dict[str, list[Any]] = {key: [] for key in lines}
            for n, runs in by_pes.items():
                used += runs
                used_share = spread([cycles.utilization(row, n) for row in runs])
                latency = spread([cycles.total(row, "latency", n) for row in runs])
                found["utilization"].append(point(n, used_share))
                found["latency"].append(point(n, latency))
                table.append([study, kind, n, used_share, latency])
            for key, line in lines.items():
                line.append(series(label(study, kind), found[key]))
    x = {"label": "PEs", "log": True}
    return figure(
        "Number of PEs",
        "u-Ticket, Fig. 10 (a)",
        "The paper's convention, of the final tickets. An `imp` knows nothing of PEs, so the same "
        "tickets are dealt out to each number; a u-Ticket is made for one number. A group that "
        "is narrower than the array leaves PEs without a filter, and they count as idle.",
        list({id(row): row for row in used}.values()),
        [
            {"x": x, "y": {"label": "utilization"}, "series": lines["utilization"]},
            {"x": x, "y": {"label": "latency, cycles"}, "series": lines["latency"]},
        ],
        [
            {
                "title": "Every number",
                "columns": columns(
                    ("recipe", "text"),
                    ("ticket", "text"),
                    ("PEs", "count"),
                    ("utilization", "share"),
                    ("latency", "count"),
                ),
                "rows": table,
            }
        ],
    )
