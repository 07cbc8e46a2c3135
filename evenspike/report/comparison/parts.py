"""What a figure is made of: the choice of its runs, and the parts of its JSON.

A figure has `title`, `after` (whose figure it is after), `text` (what is measured), `made` (of
which runs), `plots` and `tables`. A plot has an `x`, a `y` and `series` of points; a table has
`columns` (name and format) and `rows`. A measured value is a mean over seeds with its deviation and
number of seeds (`rows.spread`); one without a run behind it is None, and so is an empty row's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from evenspike.report.comparison.plan import STUDIES
from evenspike.report.comparison.rows import FinishedRun, Spread, spread
from evenspike_core import published

Figure = dict[str, Any]

PAPERS = ("paper", "at sparsity")
"""Beginnings of the columns that hold what a paper states."""


def select(
    rows: Iterable[FinishedRun], study: str, method: str, *, resized: bool = False
) -> list[FinishedRun]:
    """The runs of a study by one method: those with the recipe's own ladder, or all."""
    return [
        row
        for row in rows
        if (row.study, row.method) == (study, method) and (resized or not row.resized)
    ]


def in_order(rows: Iterable[FinishedRun], study: str, *, searches: bool = False) -> list[str]:
    """The methods that a study has runs of, as each says where it stands.

    searches : only those of which the time of the search is compared.
    """
    found = {
        (row.recipe["place"], row.method)
        for row in rows
        if row.study == study and (row.recipe["searches"] or not searches)
    }
    return [method for _, method in sorted(found)]


def studies(rows: Iterable[FinishedRun]) -> list[str]:
    """The names of the planned studies, and after them of the others that have runs.

    None of those that stand apart.
    """
    names = dict.fromkeys([*STUDIES, *(row.study for row in rows)])
    return [name for name in names if name not in STUDIES or not STUDIES[name].apart]


def mean(
    rows: Iterable[FinishedRun], value: Callable[[FinishedRun], float | None]
) -> Spread | None:
    return spread([value(row) for row in rows])


def accuracy(row: FinishedRun) -> float:
    """Percent of the held-out images that the final ticket gets."""
    return float(row.finished["validation_accuracy"])


def counted(key: str) -> Callable[[FinishedRun], float | None]:
    """A function that takes a figure of a run's final ticket, None where it was not measured."""
    return lambda row: row.lines("trained")[-1].get(key)


def beside(
    known: Mapping[published.Key, Any], study: str, rows: list[FinishedRun], method: str
) -> Any:
    """What a paper states for this network at its full width, on this data set, or None.

    What is no planned study has runs, which say what it is.
    """
    if study in STUDIES:
        planned = STUDIES[study]
        key, full = (planned.network, planned.data, method), planned.full
    else:
        recipe = next(row.recipe for row in rows if row.study == study)
        key, full = (
            (recipe["network"], recipe["data"], method),
            recipe["width"] == published.FULL_WIDTH,
        )
    return known.get(key) if full else None


def point(x: float, y: Spread | None) -> dict[str, Any] | None:
    return None if y is None else {"x": x, **y}


def series(name: str, points: Iterable[dict[str, Any] | None]) -> dict[str, Any]:
    return {"name": name, "points": [point for point in points if point is not None]}


def label(study: str, method: str) -> str:
    return f"{method} ({study})"


def columns(*given: tuple[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "format": form} for name, form in given]


def figure(
    title: str,
    after: str,
    text: str,
    used: Sequence[FinishedRun],
    plots: list[Any],
    tables: list[Any],
) -> Figure:
    return {
        "title": title,
        "after": after,
        "text": text,
        "made": _made(used),
        "plots": [plot for plot in plots if any(s["points"] for s in plot["series"])],
        "tables": [measured(table) for table in tables],
    }


def measured(table: dict[str, Any]) -> dict[str, Any]:
    """A table without its empty rows: those with no run behind them, whatever a paper states."""
    ours = [
        column["format"] != "text" and not column["name"].startswith(PAPERS)
        for column in table["columns"]
    ]
    rows = [
        row
        for row in table["rows"]
        if any(own and cell is not None for own, cell in zip(ours, row, strict=True))
    ]
    return table | {"rows": rows}


def _made(used: Sequence[FinishedRun]) -> list[dict[str, Any]]:
    """For each study: what a reader must know to make its runs again."""
    found = []
    for study in dict.fromkeys(row.study for row in used):
        rows = [row for row in used if row.study == study]
        recipe, made_on = rows[0].recipe, rows[0].values.get("made_on") or {}
        found.append(
            {
                "recipe": study,
                "network": f"{recipe['network']}, width {recipe['width']}",
                "timesteps": recipe["timesteps"],
                "data": recipe["data"],
                "training_images": recipe["train"] or "all that are not held out",
                "held_out": recipe["validation"],
                "passed": recipe["images"],
                "runs": len(rows),
                "seeds": {
                    method: sorted({row.seed for row in rows if row.method == method})
                    for method in dict.fromkeys(row.method for row in rows)
                },
                "commands": list(dict.fromkeys(row.values["sweep"] for row in rows)),
                "seconds": round(sum(row.finished["seconds"] for row in rows)),
                "machine": made_on.get("machine"),
                "digests": {row.values["name"]: row.recipe["digest"] for row in rows},
            }
        )
    return found
