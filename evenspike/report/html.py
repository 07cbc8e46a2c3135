"""The report as one page of HTML: no script, no font, no image from outside; opens from a disk."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike.report import format as fmt
from evenspike.report import plots, rows
from evenspike.report.schema import Report
from evenspike.report.style import stylesheet
from evenspike_core.counters import STATES
from evenspike_core.errors import EvenspikeError

Picture = tuple[npt.NDArray[np.uint8], int | None, int]
"""(pixels [H, W] or [C, H, W] with 1 or 3 channels, label or None, prediction)."""

PICTURES_MAX = 100
"""Pictures on a page; what is left out is said in the caption."""


def render(report: Report, pictures: Sequence[Picture] = (), *, trace: bool = False) -> str:
    """The page.

    Parameters
    ----------
    report: checked (`report_schema.check`).
    pictures: the images that were run, in the order of `predictions`.
    trace: whether a `trace.json` lies beside the page.
    """
    body = [
        _header(report),
        tiles(fmt.headline(report)),
        _layers(report, trace),
        _paper(report),
        _energy(report),
        _activity(report),
        _pictures(report, pictures),
        _cards(report),
        definitions(
            {**fmt.DEFINITIONS, **{f"{state} PE": text for state, text in fmt.STATE_TEXT.items()}}
        ),
        _footer(report),
    ]
    return page(f"{report['model']} on {report['arch']['preset']}", stylesheet(STATES), body)


def page(title: str, style: str, body: Iterable[str]) -> str:
    """A whole page out of its style sheet and its parts; empty parts are left out."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file of uint8 pixels, [H, W] grey, or [C, H, W] with 1 (grey) or 3 (RGB) channels."""
    planes = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.dtype != np.uint8 or planes.ndim != 3 or planes.shape[0] not in {1, 3}:
        raise EvenspikeError(
            f"picture: {pixels.dtype} {pixels.shape}, not uint8 [H, W], [1, H, W] or [3, H, W]"
        )
    channels, height, width = planes.shape
    rows = planes.transpose(1, 2, 0).reshape(height, width * channels)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _header(report: Report) -> str:
    arch = report["arch"]
    style = "good" if report["bit_exact"] else "bad"
    first, _, rest = fmt.verdict(report).partition(": ")
    return (
        f'<p class="kicker">evenspike · {escape(report["engine"])}</p>\n'
        f"<h1>{escape(report['model'])} on {arch['pes']} PEs</h1>\n"
        f'<p class="lead">Accelerator <b>{escape(arch["preset"])}</b> '
        f"(<code>{escape(arch['digest'])}</code>), {arch['timesteps']} timesteps, "
        f"{arch['clock_mhz']:g} MHz. Counts are per image, averaged over "
        f"{fmt.count(report['images'])}; mapping: {escape(report['mapping'])}.</p>\n"
        f'<p class="verdict {style}"><b>{escape(first)}</b> <span>{escape(rest)}</span></p>'
    )


def tiles(entries: Iterable[tuple[str, str, str]]) -> str:
    """Large figures, each with its name above and a note below."""
    tiles = "".join(
        f'<div class="tile"><span>{escape(name)}</span><strong>{escape(value)}</strong>'
        f"<span>{escape(note)}</span></div>\n"
        for name, value, note in entries
    )
    return f'<div class="tiles">\n{tiles}</div>'


def figure(number: int, title: str, content: str, caption: str, before: str = "") -> str:
    """A numbered picture; `before` is HTML that stands above it, as a legend does."""
    return (
        f'<figure id="figure-{number}">\n{before}<div class="scroll">{content}</div>\n'
        f"<figcaption><b>Figure {number}. {escape(title)}.</b> {escape(caption)}</figcaption>\n"
        "</figure>"
    )


_TEXT = ' class="text"'


def table(
    head: Sequence[str],
    lines: Iterable[Sequence[str]],
    last: str = "",
    prose: str = "",
    styles: Mapping[int, str] | None = None,
) -> str:
    """A table of texts.

    Parameters
    ----------
    last: class of the last row.
    prose: the column that holds sentences.
    styles: classes of other rows, by their number.
    """
    written = [
        "".join(
            f"<td{_TEXT if name == prose else ''}>{escape(text)}</td>"
            for name, text in zip(head, row, strict=True)
        )
        for row in lines
    ]
    classes = {**(styles or {}), **({len(written) - 1: last} if last else {})}
    body = "".join(
        f'<tr class="{classes.get(index, "")}">{line}</tr>\n' for index, line in enumerate(written)
    )
    names = "".join(f"<th{_TEXT if name == prose else ''}>{escape(name)}</th>" for name in head)
    return f'<div class="scroll"><table>\n<tr>{names}</tr>\n{body}</table></div>'


def _layers(report: Report, trace: bool) -> str:
    legend = "".join(
        f'<li><i class="{state}"></i>{state}: {escape(text)}</li>'
        for state, text in fmt.STATE_TEXT.items()
    )
    hint = (
        '<p class="lead hint">Cycle by cycle: <a href="trace.json">trace.json</a>, '
        "to be opened in ui.perfetto.dev.</p>"
        if trace
        else ""
    )
    ramp = '<p class="legend"><span>busy 0 %<i class="ramp"></i>100 %</span></p>\n'
    return "\n".join(
        [
            f"<h2>Where the cycles go</h2>\n<p>{escape(fmt.STATES_SUM)}</p>",
            figure(
                1,
                "Cycles and utilization by layer",
                plots.cycles(report),
                f"Cycles: {fmt.DEFINITIONS['cycles']}. "
                f"Utilization: {fmt.DEFINITIONS['utilization']}.",
            ),
            figure(
                2,
                "Where every PE-cycle went",
                plots.states(report),
                "Share of the PE-cycles of each layer, and of the whole run.",
                f'<ul class="legend">{legend}</ul>\n',
            ),
            figure(
                3,
                "Busy share by PE and layer",
                plots.heat(report),
                "Percent of the layer's cycles in which the PE is busy. One pale cell in a row is "
                "a PE with too little work; a pale row is a layer that leaves all PEs without.",
                ramp,
            ),
            f"<figure>{_layer_tables(report)}<figcaption>{_layer_caption()}</figcaption></figure>",
            hint,
        ]
    )


def _layer_tables(report: Report) -> str:
    """Two tables, so that a screen shows each whole: the time, and what was moved and added."""
    totals, layers = report["totals"], report["layers"]
    time = [[layer["name"], *rows.time(layer)] for layer in layers]
    work = [
        [layer["name"], *rows.place(layer), *rows.traffic(layer), *rows.cost(layer)]
        for layer in layers
    ]
    time.append(["total", *rows.time(totals)])
    work.append(
        ["total", *rows.total_place(), *rows.total_traffic(report), *rows.total_cost(report)]
    )
    second = table(("layer", *rows.PLACE, *rows.TRAFFIC, *rows.COST), work, "sum")
    return f'{table(("layer", *rows.TIME), time, "sum")}\n<div class="gap"></div>\n{second}'


def _layer_caption() -> str:
    terms = ("F", "words", "spikes", "accumulations", "density")
    text = " ".join(f"{name[0].upper()}{name[1:]}: {fmt.DEFINITIONS[name]}." for name in terms)
    return escape(f"{text} {rows.NOTE}")


def _paper(report: Report) -> str:
    return f"<h2>In the paper's convention</h2>\n<p>{escape(fmt.PAPER_TEXT)}</p>\n" + tiles(
        (name, value, "") for name, value in fmt.paper(report)
    )


def _energy(report: Report) -> str:
    energy = report["energy"]
    total = energy["total_pj"] or 1.0
    lines = [
        [
            fmt.action(name),
            fmt.count(action["count"]),
            f"{action['pj_each']:.4g} {action['unit']}",
            fmt.energy(action["pj"]),
            fmt.percent(action["pj"] / total),
            action["node"],
            f"{action['source']}. {action.get('note', '')}",
        ]
        for name, action in energy["by_action"].items()
    ]
    lines.append(["total", "", "", fmt.energy(energy["total_pj"]), fmt.percent(1.0), "", ""])
    legend = "".join(
        f'<li><i class="shade{index}"></i>{group} {fmt.energy(pj)}, {fmt.percent(pj / total)}</li>'
        for index, (group, pj) in enumerate(plots.energy_groups(report).items())
    )
    head = ("action", "count", "each", "energy", "share", "node", "source of the figure")
    return (
        f"<h2>Energy</h2>\n<p>{escape(fmt.ENERGY_TEXT)}</p>\n"
        + figure(
            4,
            "Energy per image",
            plots.energy(report),
            "Top: by group. Below: by action, count times energy of one action.",
            f'<ul class="legend">{legend}</ul>\n',
        )
        + f"\n<figure>{table(head, lines, 'sum', head[-1])}</figure>"
    )


def _activity(report: Report) -> str:
    return "<h2>Spikes</h2>\n" + figure(
        5,
        "Spikes and firing rate by layer",
        plots.spikes(report),
        f"Hollow: spikes in, filled: spikes out. Spikes: {fmt.DEFINITIONS['spikes']}. "
        f"Firing rate: {fmt.DEFINITIONS['firing rate']}.",
    )


def _pictures(report: Report, pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ""
    shown = pictures[:PICTURES_MAX]
    known = [(label, prediction) for _, label, prediction in pictures if label is not None]
    right = sum(label == prediction for label, prediction in known)
    items = "".join(_picture(report, *picture) for picture in shown)
    text = "The predicted class is under each."
    if known:
        text = (
            f"{right} of {len(known)} right. "
            "Under each: the predicted class and, where it is wrong, the label."
        )
    if len(shown) < len(pictures):
        text += f" The first {len(shown)} of {len(pictures)} are shown."
    return f'<h2>The images</h2>\n<p>{text}</p>\n<figure><ul class="images">\n{items}</ul></figure>'


def _picture(
    report: Report, pixels: npt.NDArray[np.uint8], label: int | None, prediction: int
) -> str:
    data = base64.b64encode(png(pixels)).decode()
    said, truth = (escape(fmt.class_name(report, value)) for value in (prediction, label))
    style, mark = "open", ""
    if label is not None:
        style, mark = ("right", "✓ ") if label == prediction else ("wrong", "✗ ")
    note = f"<span>label: {truth}</span>" if style == "wrong" else ""
    return (
        f'<li class="{style}"><img alt="{said}" src="data:image/png;base64,{data}">'
        f"<b>{mark}{said}</b>{note}</li>\n"
    )


def _cards(report: Report) -> str:
    program = dict(report["program"])
    provenance = program.pop("provenance")
    return (
        "<h2>Accelerator and ticket</h2>\n"
        f'<div class="cards">\n{card("Accelerator", report["arch"])}\n'
        f"{card('Ticket', {'model': report['model'], **program, **provenance})}\n</div>"
    )


def card(title: str, values: Mapping[str, Any]) -> str:
    """A box with the leaves of an object."""
    entries = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(text)}</dd>\n"
        for name, text in fmt.facts(values)
    )
    return f'<div class="card"><h3>{escape(title)}</h3>\n<dl>\n{entries}</dl></div>'


def definitions(terms: Mapping[str, str]) -> str:
    """The page's section of that name."""
    body = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>\n" for k, v in terms.items())
    return f'<h2>Definitions</h2>\n<div class="card"><dl>\n{body}</dl></div>'


def _footer(report: Report) -> str:
    return (
        f"<footer>Program <code>{escape(report['program']['digest'])}</code>. "
        f"Host time: {escape(fmt.machine(report))}. "
        "Everything on this page is in report.json.</footer>"
    )
