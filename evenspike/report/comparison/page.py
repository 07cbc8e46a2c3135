"""A figure as Markdown, and the page that lists all figures: functions of the JSON alone."""
# ruff: noqa: RUF001  (a page is typeset: it has multiplication signs and dashes)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evenspike.report.comparison.plan import STUDIES
from evenspike.report.markdown import table

Figure = Mapping[str, Any]

PLOT_FILE = "{name}-{number}.svg"
INDEX_FILE = "README.md"

BESIDE = {
    "paper.md": "[the u-Ticket paper, figure by figure](paper.md), by `make reproduce`",
    "admm-mnist.md": "[ADMM on MNIST](admm-mnist.md), by `make tables`",
}
"""Pages that are made by other verbs: file -> what it is."""

EMPTY = ""
"""The cell of what was not measured: no number, not even a dash."""

_FORMATS = {
    "share": "{:.3f}",
    "percent": "{:.2f} %",
    "count": "{:,.0f}",
    "number": "{:.1f}",
    "hours": "{:.2f}",
    "factor": "× {:.2f}",
}


def plots(name: str, figure: Figure) -> list[str]:
    """Names of the files of a figure's plots."""
    return [PLOT_FILE.format(name=name, number=n) for n in range(1, len(figure["plots"]) + 1)]


def cell(value: Any, form: str) -> str:
    """A text, a number that a paper states, or a mean over seeds with its deviation."""
    if value is None:
        return EMPTY
    if form == "text":
        return str(value)
    pattern = _FORMATS[form]
    if not isinstance(value, Mapping):
        return pattern.format(value)
    mean = pattern.format(value["mean"])
    if value["std"] is None:
        return mean
    unit = " %" if form == "percent" else ""
    deviation = pattern.format(value["std"]).removeprefix("× ").removesuffix(" %")
    return f"{mean.removesuffix(' %')} ± {deviation}{unit}"


def render(name: str, figure: Figure) -> str:
    """The page of one figure."""
    parts = [
        f"# {figure['title']}",
        f"After {figure['after']}. {figure['text']}",
        (
            "± is the standard deviation over seeds; one seed has none. An empty cell was not "
            "measured, or no paper states it."
        ),
    ]
    for file, plot in zip(plots(name, figure), figure["plots"], strict=True):
        parts.append(f"![{plot['y']['label']} against {plot['x']['label']}]({file})")
    for given in figure["tables"]:
        columns = given["columns"]
        head = [column["name"] for column in columns]
        lines = [
            [cell(value, column["format"]) for value, column in zip(row, columns, strict=True)]
            for row in given["rows"]
        ]
        parts += [f"## {given['title']}", table(head, lines)]
    parts += ["## How it was made", *map(_made, figure["made"])]
    if not figure["made"]:
        parts.append("There is no run behind this figure yet.")
    parts.append(f"[All results]({INDEX_FILE}) · [{name}.json]({name}.json)")
    return "\n\n".join(parts) + "\n"


def _made(made: Mapping[str, Any]) -> str:
    """The runs of one study, and the commands that make them again."""
    passed = made["passed"]
    seeds = "; ".join(f"{m} {', '.join(map(str, n))}" for m, n in made["seeds"].items())
    facts = (
        f"Recipe `{made['recipe']}`: {made['network']}, T = {made['timesteps']}; data set "
        f"`{made['data']}`, training images: {_images(made['training_images'])}, held out: "
        f"{made['held_out']:,}. Passed in the dense phase {passed['dense']:,} images, in each "
        f"round {passed['round']:,}, in the final phase {passed['final']:,}. Runs: "
        f"{made['runs']}; seeds: {seeds}. Training took {made['seconds'] / 60:.0f} minutes "
        f"by the clock, summed over the runs, on: {made['machine'] or 'not known'}."
    )
    commands = "\n".join(f"    {command}" for command in made["commands"])
    return f"{facts}\n\n{commands}"


def _images(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else str(number)


def index(
    figures: Mapping[str, Figure],
    others: Sequence[Mapping[str, str]],
    beside: Sequence[str] = (),
) -> str:
    """The page that lists all figures.

    others: runs that have not finished, and why. beside: of `BESIDE`, those that are in its folder.
    """
    lines = [
        [
            f"[{figure['title']}]({name}.md)",
            figure["after"],
            ", ".join(f"`{made['recipe']}`" for made in figure["made"]),
        ]
        for name, figure in figures.items()
    ]
    parts = [
        "# Results",
        (
            "Methods beside each other, on the same data and under the same schedule. Every number "
            "on these pages is in the JSON beside them, and every row has runs behind it: what the "
            "list of commands has and a table has not was not run. "
            "Differences within the deviation over seeds mean nothing, and one seed does not tell "
            "it."
        ),
        table(("figure", "after", "has runs of"), lines),
        *([f"Beside these: {', and '.join(BESIDE[name] for name in beside)}."] if beside else []),
        "## How to make them",
        (
            "`make results` trains `vgg16-tiny` on a CPU and writes these pages; `make results "
            "RECIPE=` with another of the recipes below adds its rows. What is finished is not "
            "trained again, and rows made elsewhere stay: `runs.json` keeps the runs behind them. "
            "Energies of runs before the table of today are by version 0.1.0's, whose constants "
            "were those of `packed`, without clock, matching and shared memories: about 27 % lower."
        ),
    ]
    for study in STUDIES.values():
        first = [f"evenspike train {study.companion}"] if study.companion else []
        commands = "\n".join(f"    {command}" for command in (*first, *study.commands))
        needs = "at the papers' width, a GPU" if study.full else "a small width, a CPU"
        parts.append(f"`{study.recipe}` ({needs}):\n\n{commands}")
    if others:
        parts += [
            "## Runs that did not finish",
            "They have no rows.",
            table(("run", "why"), [[other["name"], other["error"]] for other in others]),
        ]
    return "\n\n".join(parts) + "\n"
