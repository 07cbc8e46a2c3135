"""Ticket: what a Program carries about its making, as a table that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evenspike.report import format as fmt
from evenspike.report.schema import Content

SHARES = ("sparsity", "evenness", "utilization", "firing_rate")
"""Numbers from 0 to 1 that are written as percentages."""


def facts(report: Content) -> list[tuple[str, str]]:
    """(name, text) of all that fits a line; longer things are counted, and whole in report.json."""
    program = dict(report["program"])
    provenance = program.pop("provenance")
    known: dict[str, Any] = {"model": report["model"], **program}
    # The training's own name and sparsity are said already.
    more = {n: _value(n, v) for n, v in provenance.items() if n not in known or v != known[n]}
    known["sparsity"] = fmt.percent(program["sparsity"], 2)
    return [*fmt.facts(known), *fmt.facts(more)]


def _value(name: str, value: Any) -> Any:
    """A number with its unit, a text of many lines by their number, anything else as it is."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if name in SHARES:
            return fmt.percent(value, 2)
        if name.endswith("_accuracy"):  # training writes it in percent
            return f"{value:.2f} %"
        if name == "seconds":
            return f"{value:,.0f} s ({value / 3600:.1f} h)"
    if isinstance(value, str) and "\n" in value:
        return f"{len(value.splitlines())} lines"
    return value


def tables(report: Content) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Name → (head, lines) of each list of like records, as of the rounds of a training."""
    found = {}
    for name, value in report["program"]["provenance"].items():
        records = value if isinstance(value, list) else []
        if not records or not all(isinstance(record, Mapping) and record for record in records):
            continue
        keys = list(dict.fromkeys(key for record in records for key in record))
        keys.sort(key=lambda key: key != "round")  # the number of a line comes first
        lines = [[fmt.fact(_value(key, record.get(key))) for key in keys] for record in records]
        found[name] = ([key.replace("_", " ") for key in keys], lines)
    return found


def texts(report: Content) -> dict[str, str]:
    """Name → text of everything that has many lines, as the recipe has."""
    provenance = report["program"]["provenance"]
    return {n: v for n, v in provenance.items() if isinstance(v, str) and "\n" in v}
