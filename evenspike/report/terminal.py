"""The report for a terminal: one row a layer, then what adds up and what it was compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from evenspike.report import format as fmt
from evenspike.report import rows
from evenspike.report.schema import Content
from evenspike_core.counters import STATES

WIDE = 132
"""Columns of a terminal from which on the layers are one table and not two."""

COLOURS = dict(zip(STATES, ("blue", "yellow", "bright_black", "magenta", "green"), strict=True))
GLYPHS = dict(zip(STATES, "█·░▒▓", strict=True))
"""Without colour, a bar is still five states."""

BAR_CELLS = 20


@dataclass(frozen=True)
class Summary:
    """A checked report as something that rich can print.

    A terminal narrower than `WIDE` gets the same columns in two tables, one below the other.
    """

    report: Content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report, arch = self.report, self.report["arch"]
        title = (
            f"{report['model']} ({report['program']['digest'][:12]}) on {arch['preset']} "
            f"({arch['digest']}): {fmt.pes(report)} PEs, "
            f"{fmt.timesteps(report)} timesteps, {arch['clock_mhz']:g} MHz, mapping "
            f"{report['mapping']}; per image, average of {fmt.count(report['images'])}"
        )
        yield Text(title, style="bold")
        if options.max_width >= WIDE:
            yield self._table(place=True, time=True)
        else:
            yield self._table(place=True, time=False)
            yield self._table(place=False, time=True)
        legend = Text("where PE-cycles went:")
        for state in STATES:
            legend.append(f" {GLYPHS[state]} {state}", style=COLOURS[state])
        yield legend
        yield Text(rows.NOTE, style="dim")
        yield Text(fmt.verdict(report), style="green" if report["bit_exact"] else "bold red")
        figures = Table.grid(padding=(0, 2, 0, 0))
        for name, value, note in fmt.headline(report):
            figures.add_row(name.lower(), Text(value, style="bold"), Text(note, style="dim"))
        yield figures
        paper = "; ".join(f"{name} {value}" for name, value in fmt.paper(report))
        if "natural_order" in report:
            yield Text(fmt.balance_text(report))
        yield Text(f"paper convention (static, not comparable with the above): {paper}")
        yield Text(f"made by {fmt.made(report)}", style="dim")

    def _table(self, *, place: bool, time: bool) -> Table:
        """The layers and their total; without `time`, only the mapping and the traffic."""
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
        head = [
            "layer",
            *(rows.PLACE if place else ()),
            *(rows.TIME if time else ()),
            *(rows.TRAFFIC if place else ()),
            *([] if place else ["where PE-cycles went"]),
        ]
        for name in head:
            left = name in {"layer", "shape", "where PE-cycles went"}
            table.add_column(name, justify="left" if left else "right", no_wrap=True)
        for layer in self.report["layers"]:
            cells: list[str | Text] = [layer["name"]]
            cells += rows.place(layer) if place else []
            cells += rows.time(layer) if time else []
            cells += rows.traffic(layer) if place else [_bar(layer)]
            table.add_row(*cells)
        totals = self.report["totals"]
        cells = ["total", *(rows.total_place() if place else ())]
        cells += rows.time(totals) if time else []
        cells += rows.total_traffic(self.report) if place else [_bar(totals)]
        table.add_row(*cells, style="bold")
        return table


def _bar(row: Mapping[str, Any]) -> Text:
    """The five shares as one bar; its cells are dealt out so that they always fill it."""
    text, done, reached = Text(), 0, 0.0
    for state, share in fmt.shares(row).items():
        reached += share
        end = round(reached * BAR_CELLS)
        text.append(GLYPHS[state] * (end - done), style=COLOURS[state])
        done = end
    return text
