"""The report as Markdown, to be read in a repository or a merge request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from evenspike.report import format as fmt
from evenspike.report import rows, ticket
from evenspike.report.schema import Content

PREDICTIONS_MAX = 100
"""Predictions that are written out; what is left out is said."""


def render(report: Content, files: Iterable[str] = ()) -> str:
    """The report as Markdown.

    Parameters
    ----------
    report: checked (`schema.check`).
    files: names of the other files of the report, which are linked.
    """
    arch, program = report["arch"], report["program"]
    head = (
        f"Engine: {report['engine']}. Accelerator: {arch['preset']} (`{arch['digest']}`). "
        f"Program: `{program['digest']}`. Mapping: {report['mapping']}. Counts are per image, "
        f"averaged over {fmt.count(report['images'])}."
    )
    parts = [
        f"# {report['model']} on {fmt.pes(report)} PEs",
        head,
        f"**{fmt.verdict(report)}**",
        f"Made by {fmt.made(report)}.",
        table(("figure", "value", ""), fmt.headline(report)),
        "## Layers",
        f"{fmt.STATES_SUM} {rows.NOTE}",
        _layers(report),
        fmt.balance_text(report),
        _balance(report),
        bullets(fmt.DEFINITIONS),
        bullets({f"{state} PE": text for state, text in fmt.STATE_TEXT.items()}),
        "## In the paper's convention",
        fmt.PAPER_TEXT,
        table(("quantity", "value"), fmt.paper(report)),
        "## Energy",
        fmt.ENERGY_TEXT,
        _energy(report),
        "## Predictions" if report["predictions"] else "",
        _predictions(report) if report["predictions"] else "",
        "## Accelerator and ticket",
        table(("parameter", "value"), fmt.facts(arch)),
        table(("ticket", "value"), ticket.facts(report)),
        f"Host time: {fmt.machine(report)}.",
        " · ".join(f"[{name}]({name})" for name in files),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _layers(report: Content) -> str:
    lines = [rows.layer(report, layer) for layer in report["layers"]]
    return table(rows.HEAD, [*lines, rows.total(report)])


def _balance(report: Content) -> str:
    lines = [[layer["name"], *rows.balance(layer)] for layer in report["layers"]]
    return table(("layer", *rows.BALANCE), [*lines, ["total", *rows.total_balance(report)]])


def _energy(report: Content) -> str:
    total = report["energy"]["total_pj"]
    lines = [
        [
            name,
            fmt.count(action["count"]),
            f"{action['pj_each']:.4g} {action['unit']}",
            fmt.energy(action["pj"], total),
            fmt.percent(action["pj"] / (total or 1.0)),
            f"{action['node']}: {action['source']}",
        ]
        for name, action in report["energy"]["by_action"].items()
    ]
    lines.append(["total", "", "", fmt.energy(total), "", ""])
    return table(("action", "count", "each", "energy", "share", "source"), lines)


def _predictions(report: Content) -> str:
    lines = [
        [
            str(p["index"]),
            fmt.class_name(report, p["label"]),
            fmt.class_name(report, p["prediction"]),
            ", ".join(f"{logit:g}" for logit in p["logits"]),
        ]
        for p in report["predictions"][:PREDICTIONS_MAX]
    ]
    written = table(("image", "label", "prediction", "logits"), lines)
    left = len(report["predictions"]) - len(lines)
    return f"{written}\n\n{left:,} more are in report.json." if left else written


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table; a cell may hold Markdown."""
    written = [list(head), ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in written)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def bullets(entries: Mapping[str, str]) -> str:
    """A list of terms and what each means."""
    return "\n".join(f"- **{name}**: {text}" for name, text in entries.items())
