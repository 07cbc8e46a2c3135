"""The tables and plots of ADMM on MNIST: what was measured beside what the paper states."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evenspike.report.comparison.parts import columns, point, series
from evenspike.report.comparison.rows import Spread, spread
from evenspike.report.compression import distributions
from evenspike_core import published_admm as published
from evenspike_core.published_admm import DENSE, Point, Stated

Cells = Sequence[Mapping[str, Any]]
Key = tuple[str, Point]

TABLES: dict[str, tuple[str, Mapping[Point, Any]]] = {
    "II": ("Pruning", published.PRUNING),
    "III": ("Quantisation", published.QUANTISATION),
    "IV": ("Activity regularisation", published.ACTIVITY),
    "V": ("Two of the three", published.TWO),
    "VI": ("All three", published.THREE),
    "VII": ("ADMM and hard compression", published.HARD),
}
"""The paper's tables by number: what is compared, and its points."""

HALF, ONE_BIT, JOINT = BARRED = ((0.50, 0, 0.0), (0.0, 1, 0.0), (0.25, 1, 0.01))
"""The points whose loss has a bar of its own: with the dense network, the first runs to make."""

BITS = 32
INNER = ("conv2", "fc1")
"""The layers that are compressed."""


def cells(names: Iterable[str]) -> list[Key]:
    """(method, point) of each run that tables, or the "bars", need; the dense network first."""
    found: list[Key] = [("dense", DENSE)]
    for name in names:
        for one in BARRED if name == "bars" else TABLES[name][1]:
            found += [(method, one) for method in _methods(name, one)]
    return list(dict.fromkeys(found))


def _methods(table: str, one: Point) -> tuple[str, ...]:
    if one[:2] == (0.0, 0):
        return ("dense",)
    return ("hard", "admm") if table == "VII" else ("admm",)


def made(found: Cells, shapes: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The page's JSON, as `comparison.page` renders it, with the `cells`, `shapes` and `bars`.

    found : runs, with method, point, seed, accuracy in percent, rate, living weights by layer.
    shapes : distributions, as `distributions.of_run` gives them. facts : how the runs were made.
    """
    by: dict[Key, list[Mapping[str, Any]]] = {}
    for cell in found:
        sparsity, bits, activity = cell["point"]
        by.setdefault((cell["method"], (sparsity, bits, activity)), []).append(cell)
    bars = _bars(by)
    return {
        "title": "ADMM: LeNet-5 on MNIST",
        "after": "ADMM, Tables II to VII and Figures 4 to 7, 9 to 11",
        "text": (
            "Percent of the 10,000 test images, in floating point, of tickets that were chosen by "
            "images held out; the paper's own choice is not stated. R_mem and R_ops are as the "
            "paper defines them (Eqs. 16 and 18), without the first and the last layer; R_s is the "
            "firing rate beside that of the dense network of the same seed. Table VII is on "
            "CIFAR10 in the paper; here its points are on MNIST."
        ),
        "recipe": facts["recipe"],
        "made": [_facts(found, facts)],
        "bars": bars,
        "plots": [
            plot for plot in _plots(by, shapes) if any(one["points"] for one in plot["series"])
        ],
        "tables": [_bar_table(bars), *(_table(name, by) for name in TABLES)],
        "cells": [dict(cell) for cell in found],
        "shapes": dict(shapes),
    }


def _facts(found: Cells, facts: Mapping[str, Any]) -> dict[str, Any]:
    seeds = {
        method: sorted({cell["seed"] for cell in found if cell["method"] == method})
        for method in dict.fromkeys(cell["method"] for cell in found)
    }
    seconds = round(sum(cell["seconds"] for cell in found))
    return {**facts, "runs": len(found), "seeds": seeds, "seconds": seconds}


def _accuracy(by: Mapping[Key, Cells], method: str, one: Point) -> Spread | None:
    return spread([cell["accuracy"] for cell in by.get((method, one), ())])


def _beside(by: Mapping[Key, Cells], method: str, one: Point, key: str) -> list[tuple[Any, Any]]:
    """A figure of each seed, and that of the seed's dense network."""
    dense = {cell["seed"]: cell for cell in by.get(("dense", DENSE), ())}
    return [
        (cell[key], dense[cell["seed"]][key])
        for cell in by.get((method, one), ())
        if cell["seed"] in dense
    ]


def loss(by: Mapping[Key, Cells], method: str, one: Point) -> Spread | None:
    """Points of accuracy that are lost to the dense network of the same seed."""
    return spread([dense - own for own, dense in _beside(by, method, one, "accuracy")])


def memory(one: Point) -> float:
    """R_mem in percent."""
    sparsity, bits, _ = one
    return 100 * (1 - sparsity) * (bits or BITS) / BITS


def operations(by: Mapping[Key, Cells], method: str, one: Point) -> Spread | None:
    """R_ops in percent."""
    pairs = _beside(by, method, one, "rate")
    return spread([memory(one) * own / dense for own, dense in pairs if dense])


def _living(by: Mapping[Key, Cells], method: str, one: Point) -> Spread | None:
    """Share of the weights of the compressed layers that are not 0, the layers alike."""
    return spread(
        [
            sum(cell["living"].get(name, 1.0) for name in INNER) / len(INNER)
            for cell in by.get((method, one), ())
        ]
    )


def _said(one: Point) -> list[str]:
    """A point in words: sparsity, bits, lambda."""
    sparsity, bits, activity = one
    return [f"{sparsity:.0%}", str(bits or "32 (FP)"), f"{activity:g}"]


def _table(name: str, by: Mapping[Key, Cells]) -> dict[str, Any]:
    title, points = TABLES[name]
    rows = []
    for one, stated in points.items():
        for method in _methods(name, one):
            if name == "VII":
                accuracy = stated[0] if method == "hard" else stated[1]
                paper = [accuracy, None, None, None]
            else:
                paper = _paper(points, stated)
            ours = [
                _accuracy(by, method, one),
                loss(by, method, one),
                spread([cell["rate"] for cell in by.get((method, one), ())]),
                memory(one),
                operations(by, method, one),
                _living(by, method, one),
            ]
            if by.get((method, one)):
                rows.append([method, *_said(one), *ours, *paper])
    return {
        "title": f"Table {name}: {title}",
        "columns": columns(
            *(("method", "text"), ("sparsity", "text"), ("bits", "text"), ("lambda", "text")),
            ("accuracy", "percent"),
            ("loss", "percent"),
            ("firing rate", "share"),
            ("R_mem", "percent"),
            ("R_ops", "percent"),
            ("living weights", "share"),
            ("paper", "percent"),
            ("paper: loss", "percent"),
            ("paper: rate", "share"),
            ("paper: R_ops", "percent"),
        ),
        "rows": rows,
    }


def _paper(points: Mapping[Point, Stated], stated: Stated) -> list[float | None]:
    lost = points[DENSE].accuracy - stated.accuracy
    return [stated.accuracy, lost, stated.rate, stated.operations]


# --- bars --------------------------------------------------------------------------------


def _bars(by: Mapping[Key, Cells]) -> list[dict[str, Any]]:
    """What the figures have to reach, and whether they do; None where nothing was measured."""

    def mean(value: Spread | None) -> float | None:
        return None if value is None else float(value["mean"] or 0.0)

    stated = published.THREE[JOINT].operations or 0.0
    left = mean(operations(by, "admm", JOINT))
    far = None if left is None else 100 * abs(left / stated - 1)
    given = [
        ("dense accuracy, %", "at least", 99.0, mean(_accuracy(by, "dense", DENSE))),
        ("loss at 50 % of the connections", "at most", 0.3, mean(loss(by, "admm", HALF))),
        ("loss with one bit", "at most", 0.5, mean(loss(by, "admm", ONE_BIT))),
        ("loss with 25 %, one bit, 0.01", "at most", 0.6, mean(loss(by, "admm", JOINT))),
        (f"the same, R_ops, % from the paper's {stated} %", "at most", 20.0, far),
    ]
    for at, (hard, ours) in published.HARD.items():
        admm, base = mean(_accuracy(by, "admm", at)), mean(_accuracy(by, "hard", at))
        ahead = None if admm is None or base is None else admm - base
        if ours >= hard:
            what = f"ADMM before hard compression at {', '.join(_said(at)[:2])} bits"
            given.append((what, "at least", 0.0, ahead))
    return [
        {
            "bar": what,
            "kind": kind,
            "limit": limit,
            "measured": value,
            "met": None
            if value is None
            else (value >= limit if kind == "at least" else value <= limit),
        }
        for what, kind, limit, value in given
    ]


def _bar_table(bars: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [
        [
            bar["bar"],
            f"{bar['kind']} {bar['limit']:g}",
            f"{bar['measured']:.2f}",
            "yes" if bar["met"] else "no",
        ]
        for bar in bars
        if bar["measured"] is not None
    ]
    names = (("bar", "text"), ("limit", "text"), ("measured", "text"), ("met", "text"))
    return {"title": "Bars", "columns": columns(*names), "rows": rows}


# --- plots -------------------------------------------------------------------------------


def _plots(by: Mapping[Key, Cells], shapes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*distributions.plots(shapes), _plane(by), _against_operations(by), _strategies(by)]


def _admm(by: Mapping[Key, Cells]) -> list[Key]:
    return [key for key in by if key[0] in ("admm", "dense")]


def _plane(by: Mapping[Key, Cells]) -> dict[str, Any]:
    """Figure 9: R_s over R_mem of the joint points, in bands of accuracy."""
    bands: dict[str, list[Any]] = {
        name: [] for name in ("99 % and more", "98 to 99 %", "95 to 98 %", "below 95 %")
    }
    for method, one in _admm(by):
        accuracy = _accuracy(by, method, one)
        left = spread([own / dense for own, dense in _beside(by, method, one, "rate") if dense])
        if accuracy is None or left is None or sum(map(bool, one)) < 2:
            continue
        mean = accuracy["mean"] or 0.0
        names = list(bands)
        band = names[sum(mean < limit for limit in (99.0, 98.0, 95.0))]
        bands[band].append(point(math.log10(memory(one) / 100), left))
    return {
        "x": {"label": "log10 of R_mem (Figure 9)"},
        "y": {"label": "R_s"},
        "series": [series(name, each) | {"scatter": True} for name, each in bands.items()],
    }


def _against_operations(by: Mapping[Key, Cells]) -> dict[str, Any]:
    """Figure 10: accuracy over R_ops, by what was done."""
    families: dict[str, list[Any]] = {}
    for method, one in _admm(by):
        left = operations(by, method, one)
        if left is None or not left["mean"]:
            continue
        used = "".join(letter for letter, on in zip("PQA", one, strict=True) if on) or "dense"
        at = math.log10(left["mean"] / 100)
        families.setdefault(used, []).append(point(at, _accuracy(by, method, one)))
    return {
        "x": {"label": "log10 of R_ops (Figure 10; P pruning, Q quantisation, A activity)"},
        "y": {"label": "accuracy, %"},
        "series": [
            series(name, each) | {"scatter": True} for name, each in sorted(families.items())
        ],
    }


def _strategies(by: Mapping[Key, Cells]) -> dict[str, Any]:
    """Figure 11: accuracy over R_mem, by the sparsity that goes with the bits."""
    lines: dict[str, list[Any]] = {}
    for method, one in sorted(_admm(by), key=lambda key: memory(key[1])):
        sparsity, bits, activity = one
        if activity or not (bits or sparsity):
            continue
        name = f"{sparsity:.0%} pruned" if bits else "pruning alone"
        at = math.log10(memory(one) / 100)
        lines.setdefault(name, []).append(point(at, _accuracy(by, method, one)))
    return {
        "x": {"label": "log10 of R_mem (Figure 11)"},
        "y": {"label": "accuracy, %"},
        "series": [series(name, each) for name, each in sorted(lines.items())],
    }
