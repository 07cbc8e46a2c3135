"""Machines: the views of a comparison of machines, all functions of its JSON."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from rich.table import Table

from evenspike.report import format as fmt
from evenspike.report.html import page
from evenspike.report.style import stylesheet
from evenspike.report.svg import Bar, bar_chart
from evenspike.report.ticks import COUNTS, ENERGIES, SHARES, Units

Content = Mapping[str, Any]
Point = Mapping[str, Any]


def _millions(transistors: float) -> str:
    return f"{transistors / 1e6:.2f} M"


FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "cycles": ("cycles", fmt.count),
    "speed_up": ("speed-up", lambda value: f"{value:.2f}"),
    "utilization": ("utilization", fmt.percent),
    "latency_ms": ("ms", lambda value: f"{value:.4g}"),
    "energy_pj": ("energy", fmt.energy),
    "area_transistors": ("transistors", _millions),
    "words_loaded": ("words loaded", fmt.count),
}
"""By key: head of the column, how a value is written."""

PAGE_ONLY = ("latency_ms", "words_loaded")
"""Figures for which a terminal of 80 columns has no room."""

CHARTS: dict[str, tuple[str, Units]] = {
    "cycles": ("Cycles", COUNTS),
    "utilization": ("Utilization", SHARES),
    "energy_pj": ("Energy", ENERGIES),
    "area_transistors": ("Transistors", COUNTS),
}
"""By key: title of the plot, units of its axis."""

NOTE = (
    "Per image, on average; latency: of an inference, which of clusters brings several images. "
    "Speed-up: over the first machine that runs it. Energy and area are "
    "estimates (docs/report.md, docs/area.md)."
)


def machine(point: Point) -> str:
    """The machine's name in the grid: the fields that differ, or its preset."""
    fields = point["fields"]
    return ", ".join(f"{name}={value}" for name, value in fields.items()) or str(point["arch"])


def cells(point: Point, without: Container[str] = ()) -> list[str]:
    """The figures of a point as text; dashes where the machine cannot run the network."""
    return [
        fmt.DASH if point[key] is None else write(point[key])
        for key, (_, write) in FIGURES.items()
        if key not in without
    ]


def heads() -> list[str]:
    """Heads of the columns."""
    return ["network", "machine", *(head for head, _ in FIGURES.values())]


def made(content: Content) -> str:
    """What made the comparison, when, and of how many images; and what was proved."""
    ran = [point for point in content["points"] if point["cycles"] is not None]
    images = ", ".join(str(n) for n in sorted({point["images"] for point in content["points"]}))
    exact = all(point["bit_exact"] for point in ran)
    proof = "every spike equals the integer reference's" if exact else "NOT bit-exact"
    return (
        f"{images} images of each network; {proof}. evenspike {content['version']}, "
        f"{content['date']}."
    )


def notes(content: Content) -> list[str]:
    """What is wrong with points of the grid, each once."""
    found: dict[str, None] = {}
    for point in content["points"]:
        name = machine(point)
        if point["error"]:
            found[f"{point['model']} on {name}: {point['error']}"] = None
        if point["bit_exact"] is False:
            found[f"{point['model']} on {name}: NOT bit-exact"] = None
        for warning in point["warnings"]:
            found[f"{name}: {warning}"] = None
    return list(found)


def table(content: Content) -> Table:
    """The comparison as a table for a terminal of 80 columns."""
    view = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for head in heads()[:2]:
        view.add_column(head, overflow="fold")  # no number is ever cut for want of room
    for key, (head, _) in FIGURES.items():
        if key not in PAGE_ONLY:
            view.add_column(head, justify="right", no_wrap=True)
    for point in content["points"]:
        view.add_row(point["model"], machine(point), *cells(point, PAGE_ONLY))
    view.caption = "\n".join([made(content), NOTE, *notes(content)])
    view.caption_justify = "left"
    return view


def markdown(content: Content) -> str:
    """The comparison as Markdown."""
    rows = [[point["model"], machine(point), *cells(point)] for point in content["points"]]
    lines = [
        "# Machines compared",
        "",
        made(content),
        "",
        NOTE,
        "",
        "| " + " | ".join(heads()) + " |",
        "|" + "---|" * len(heads()),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        *(f"- {note}" for note in notes(content)),
        "",
    ]
    return "\n".join(lines)


def html(content: Content) -> str:
    """A page with a plot of each figure and the table."""
    charts = "".join(f"<figure>{chart}</figure>" for chart in plots(content))
    said = "".join(f"<p>{escape(note)}</p>" for note in [made(content), NOTE, *notes(content)])
    body = ["<h1>Machines compared</h1>", charts, fragment(content), said]
    return page("Machines compared", stylesheet(()), body)


def fragment(content: Content) -> str:
    """The table, for a page or a notebook."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads())
    body = "".join(f"<tr>{''.join(_row(point))}</tr>" for point in content["points"])
    return (
        f'<table><thead><tr class="head">{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>\n'
    )


def _row(point: Point) -> Iterator[str]:
    texts = (point["model"], machine(point), *cells(point))
    for head, text in zip(heads(), texts, strict=True):
        yield f'<td data-label="{escape(head)}">{escape(text)}</td>'


def plots(content: Content) -> Iterator[str]:
    """Bars of cycles, utilization, energy and area: a plot for each network, a row a machine."""
    points: Sequence[Point] = content["points"]
    models = dict.fromkeys(point["model"] for point in points)
    for (key, (title, units)), model in itertools.product(CHARTS.items(), models):
        write = FIGURES[key][1]
        bars = []
        for point in points:
            if point["model"] == model and point[key] is not None:
                name, text = machine(point), write(point[key])
                bars.append(Bar(name, point[key], text, f"{name}: {text}"))
        if bars:
            yield bar_chart(f"{title}, {model}", bars, units)
