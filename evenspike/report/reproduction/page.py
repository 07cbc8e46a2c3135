"""The page as Markdown: a function of the record alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evenspike.report.comparison.page import cell
from evenspike.report.markdown import table
from evenspike.report.reproduction.parts import AGREES, DIFFERS, UNSTATED, Data, Row

NAME = "paper"

INTRODUCTION = (
    "Every table and figure of *Workload-Balanced Pruning for Sparse Spiking Neural Networks* that "
    "hardware can answer: what the paper states, what was measured here, and whether the two "
    "agree. Figs. 8 and 13 and Table V are of training ([convergence](convergence.md), [time of "
    "the search](search-time.md)); Table II is its settings ([recipes](../recipes.md))."
)
LEGEND = (
    "± is the standard deviation over draws of masks. The paper's convention counts weights, the "
    "hardware's counters count cycles of a machine on spikes: a row that compares the one with the "
    "other says `by the counters`."
)


def plots(record: Data) -> dict[str, Mapping[str, Any]]:
    """The plots by the names of their files."""
    every = [plot for section in record["figures"] for plot in section["plots"]]
    return {f"{NAME}-{number}.svg": plot for number, plot in enumerate(every, start=1)}


def render(record: Data) -> str:
    """The whole page."""
    files = {id(plot): name for name, plot in plots(record).items()}
    rows = [row for section in record["figures"] for row in section["rows"]]
    counts = {
        verdict: sum(row["verdict"] == verdict for row in rows)
        for verdict in (AGREES, DIFFERS, UNSTATED)
    }
    parts = ["# The u-Ticket paper, figure by figure", INTRODUCTION]
    parts.append(
        f"{len(rows)} rows: {counts[AGREES]} agree, {counts[DIFFERS]} differ, of "
        f"{counts[UNSTATED]} the paper prints no number. Agreement of what was fitted is no "
        "finding, and says so."
    )
    if record["quick"]:
        parts.append(
            f"**Made with networks of 1/{record['divisor']} of the width, to see that everything "
            "runs: no verdict below says anything of the paper.**"
        )
    rules = [[name, text] for name, text in record["rules"].items()]
    parts += ["## The rules", table(("rule", "a row agrees if"), rules), LEGEND]
    for section in record["figures"]:
        parts += [f"## {section['title']}", f"After {section['after']}. {section['text']}"]
        if section["rows"]:
            parts.append(
                table(
                    ("what", "paper", "ours", "difference", "rule", "verdict"),
                    [_line(row) for row in section["rows"]],
                )
            )
        for plot in section["plots"]:
            parts.append(f"![{plot['y']['label']} against {plot['x']['label']}]({files[id(plot)]})")
        for given in section["tables"]:
            columns = given["columns"]
            head = [column["name"] for column in columns]
            lines = [
                [cell(value, column["format"]) for value, column in zip(row, columns, strict=True)]
                for row in given["rows"]
            ]
            parts += [f"### {given['title']}", table(head, lines)]
    parts += ["## How it was made", _made(record)]
    return "\n\n".join(parts) + "\n"


def _line(row: Row) -> list[str]:
    form = row["form"]
    by = "" if row["by"] is None else f"{100 * row['by']:+.1f} %"
    verdict = row["verdict"]
    if row["reason"]:
        verdict = f"{verdict}: {row['reason']}"
    return [
        row["what"],
        cell(row["paper"], form),
        cell(row["ours"], form),
        by,
        row["rule"],
        verdict,
    ]


def _made(record: Data) -> str:
    """What was done, in how long; the CPU time of runs that were kept is that which they took."""
    ratio = record["ratio"]
    quick = " QUICK=1" if record["quick"] else ""
    exact = [run for run in record["runs"] if not run["error"]]
    failed = [run for run in record["runs"] if run["error"]]
    kept = sum(run["kept"] for run in record["runs"])
    before = f", {kept} of them kept from an earlier call," if kept else ""
    equal = sum(run["bit_exact"] for run in exact)
    runs = (
        f"{len(exact)} runs on the cycle model{before} {equal} of them equal to the integer "
        "reference in every spike"
    )
    if failed:
        runs += "; not run: " + "; ".join(f"{run['arch']}: {run['error']}" for run in failed)
    return (
        f"`make reproduce{quick}` in {record['seconds'] / 60:.1f} minutes by the clock and "
        f"{record['cpu_seconds'] / 60:.1f} of CPU time on {record['machine']}. "
        f"{len(record['drawn'])} networks drawn, {runs}. E_d / E_l = {ratio['value']:g}, "
        f"{ratio['source']}; another by `RATIO=`, or by `POWER=` with a JSON of a measurement. "
        "Every number is in `build/reproduce.json`.\n\n[All results](README.md)"
    )
