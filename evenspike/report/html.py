"""The report as one page of HTML: no script, no font, no image from outside; opens from a disk."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from evenspike.report import format as fmt
from evenspike.report import plots, rows, ticket
from evenspike.report.schema import Content
from evenspike.report.style import stylesheet
from evenspike_core.counters import STATES
from evenspike_core.errors import EvenspikeError

Picture = tuple[npt.NDArray[np.uint8], int | None, int]
"""(pixels [H, W] or [C, H, W] with 1 or 3 channels, label or None, prediction)."""

PICTURES_MAX = 100
"""Pictures on a page; what is left out is said in the caption."""

FRAGMENT = "evenspike-report"
FRAGMENT_RULES = (
    ".tiles { display: flex; flex-wrap: wrap; gap: 6px 24px; margin: 8px 0 12px; }",
    ".tile span { display: block; font-size: 11px; opacity: .7; }",
    ".tile strong { display: block; font-size: 18px; white-space: nowrap; }",
    "table { border-collapse: collapse; font-size: 12px; font-variant-numeric: tabular-nums; }",
    "th, .evenspike-report td { padding: 2px 8px; text-align: right; }",
    "tr.sum td { font-weight: 600; border-top: 1px solid currentColor; }",
)
"""The style of `fragment`; each rule holds inside it only."""


def render(report: Content, pictures: Sequence[Picture] = (), *, trace: bool = False) -> str:
    """The report as one page of HTML.

    Parameters
    ----------
    report: checked (`schema.check`).
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


def _header(report: Content) -> str:
    arch = report["arch"]
    style = "good" if report["bit_exact"] else "bad"
    first, _, rest = fmt.verdict(report).partition(": ")
    return (
        f'<p class="kicker">evenspike · {escape(report["engine"])}</p>\n'
        f"<h1>{escape(report['model'])} on {fmt.pes(report)} PEs</h1>\n"
        f'<p class="lead">Accelerator <b>{escape(arch["preset"])}</b> '
        f"(<code>{escape(arch['digest'])}</code>), {fmt.timesteps(report)} timesteps, "
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


def figure(number: int, title: str, panels: Iterable[str], caption: str, before: str = "") -> str:
    """A numbered figure of panels side by side; `before` is HTML that stands above them."""
    content = "".join(panels)
    return (
        f'<figure id="figure-{number}">\n{before}<div class="panels">{content}</div>\n'
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
            f'<td{_TEXT if name == prose else ""} data-label="{escape(name)}">{escape(text)}</td>'
            for name, text in zip(head, row, strict=True)
        )
        for row in lines
    ]
    classes = {**(styles or {}), **({len(written) - 1: last} if last else {})}
    body = "".join(
        f'<tr class="{classes.get(index, "")}">{line}</tr>\n' for index, line in enumerate(written)
    )
    names = "".join(f"<th{_TEXT if name == prose else ''}>{escape(name)}</th>" for name in head)
    return f'<div class="scroll"><table>\n<tr class="head">{names}</tr>\n{body}</table></div>'


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """A list of colours: the class of each, and what it stands for."""
    items = "".join(f'<li><i class="{style}"></i>{escape(text)}</li>' for style, text in entries)
    return f'<ul class="legend">{items}</ul>\n'


def _layers(report: Content, trace: bool) -> str:
    hint = (
        '<p class="lead hint">Cycle by cycle: <a href="trace.json">trace.json</a>, '
        "to be opened in ui.perfetto.dev.</p>"
        if trace
        else ""
    )
    states = legend((state, f"{state}: {text}") for state, text in fmt.STATE_TEXT.items())
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
                [plots.states(report), states],
                "Share of the PE-cycles of each layer, and of the whole run.",
            ),
            f"<figure>{_layer_tables(report)}<figcaption>{_layer_caption()}</figcaption></figure>",
            hint,
            f"<h2>How evenly the PEs work</h2>\n<p>{escape(fmt.balance_text(report))}</p>",
            figure(
                3,
                "The PEs of each layer beside each other",
                [plots.spread(report), plots.heat(report)],
                "Left: a mark for each PE, by its busy cycles, and how far the least busy and the "
                "busiest are from the mean; a mark at the edge may be farther off than drawn. "
                "Right: which PE it is. One pale cell in a row is a PE with too little work; a "
                "pale row is a layer that leaves all PEs without.",
            ),
            f"<figure>{_balance_table(report)}</figure>",
        ]
    )


def _layer_tables(report: Content) -> str:
    """Two tables, so that a screen shows each whole: the time, and what was moved and added."""
    layers = report["layers"]
    work = [
        [layer["name"], *rows.place(layer), *rows.traffic(layer), *rows.cost(report, layer)]
        for layer in layers
    ]
    work.append(
        ["total", *rows.total_place(), *rows.total_traffic(report), *rows.total_cost(report)]
    )
    second = table(("layer", *rows.PLACE, *rows.TRAFFIC, *rows.COST), work, "sum")
    return f'{_time_table(report)}\n<div class="gap"></div>\n{second}'


def _time_table(report: Content) -> str:
    lines = [[layer["name"], *rows.time(layer)] for layer in report["layers"]]
    return table(("layer", *rows.TIME), [*lines, ["total", *rows.time(report["totals"])]], "sum")


def _balance_table(report: Content) -> str:
    lines = [[layer["name"], *rows.balance(layer)] for layer in report["layers"]]
    lines.append(["total", *rows.total_balance(report)])
    terms = ("over the mean", "matched", "bound", "dense", "speed-up over dense")
    written = table(("layer", *rows.BALANCE), lines, "sum")
    return f"{written}<figcaption>{escape(_explained(terms))}</figcaption>"


def _explained(terms: Iterable[str]) -> str:
    return " ".join(f"{name[0].upper()}{name[1:]}: {fmt.DEFINITIONS[name]}." for name in terms)


def _layer_caption() -> str:
    terms = ("F", "words", "spikes", "accumulations", "density")
    return escape(f"{_explained(terms)} {rows.NOTE}")


def _paper(report: Content) -> str:
    return f"<h2>In the paper's convention</h2>\n<p>{escape(fmt.PAPER_TEXT)}</p>\n" + tiles(
        (name, value, "") for name, value in fmt.paper(report)
    )


def _energy(report: Content) -> str:
    energy = report["energy"]
    total = energy["total_pj"] or 1.0
    lines = [
        [
            fmt.action(name),
            fmt.count(action["count"]),
            f"{action['pj_each']:.4g} {action['unit']}",
            fmt.energy(action["pj"], total),
            fmt.percent(action["pj"] / total),
            action["node"],
            f"{action['source']}. {action.get('note', '')}",
        ]
        for name, action in energy["by_action"].items()
    ]
    lines.append(["total", "", "", fmt.energy(energy["total_pj"]), fmt.percent(1.0), "", ""])
    head = ("action", "count", "each", "energy", "share", "node", "source of the figure")
    return (
        f"<h2>Energy</h2>\n<p>{escape(fmt.ENERGY_TEXT)}</p>\n"
        + figure(
            4,
            "Energy per image",
            plots.energy(report),
            "By group, the largest first and darkest; and by action, count times energy of one "
            "action.",
        )
        + f"\n<figure>{table(head, lines, 'sum', head[-1])}</figure>"
    )


def _activity(report: Content) -> str:
    return "<h2>Spikes</h2>\n" + figure(
        5,
        "Spikes and firing rate by layer",
        plots.spikes(report),
        f"Hollow: spikes in, filled: spikes out. Spikes: {fmt.DEFINITIONS['spikes']}. "
        f"Firing rate: {fmt.DEFINITIONS['firing rate']}.",
    )


def _pictures(report: Content, pictures: Sequence[Picture]) -> str:
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
    report: Content, pixels: npt.NDArray[np.uint8], label: int | None, prediction: int
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


def _cards(report: Content) -> str:
    tables, texts = ticket.tables(report), ticket.texts(report)
    short = [(name, text) for name, text in ticket.facts(report) if name not in {*tables, *texts}]
    more = "".join(
        f"<h3>{escape(name.replace('_', ' '))}</h3>\n{table(head, lines)}"
        for name, (head, lines) in tables.items()
    )
    more += "".join(
        f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"
        for name, text in texts.items()
    )
    return (
        "<h2>Accelerator and ticket</h2>\n"
        f'<div class="cards">\n{card("Accelerator", fmt.facts(report["arch"]))}\n'
        f"{card('Ticket', short, more)}\n</div>"
    )


def card(title: str, facts: Iterable[tuple[str, str]], more: str = "") -> str:
    """A box with names and values, and perhaps more HTML below them."""
    entries = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(text)}</dd>\n"
        for name, text in facts
    )
    return f'<div class="card"><h3>{escape(title)}</h3>\n<dl>\n{entries}</dl>{more}</div>'


def definitions(terms: Mapping[str, str]) -> str:
    """The section of a page that says what its words mean."""
    body = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>\n" for k, v in terms.items())
    return f'<h2>Definitions</h2>\n<div class="card"><dl>\n{body}</dl></div>'


def _footer(report: Content) -> str:
    return (
        f"<footer>Program <code>{escape(report['program']['digest'])}</code>. "
        f"Made by {escape(fmt.made(report))}. Host time: {escape(fmt.machine(report))}. "
        "Everything on this page is in report.json.</footer>"
    )


def fragment(report: Content) -> str:
    """The headline figures and the layers, to be shown inside another page, as a notebook's is.

    Its style holds for nothing but itself, and its colours are those of the page around it.
    """
    style = "".join(f".{FRAGMENT} {rule}\n" for rule in FRAGMENT_RULES)
    return (
        f'<div class="{FRAGMENT}">\n<style>\n{style}</style>\n'
        f"<p><b>{escape(report['model'])} on {fmt.pes(report)} PEs.</b> "
        f"{escape(fmt.verdict(report))}</p>\n{tiles(fmt.headline(report))}\n"
        f"{_time_table(report)}\n</div>\n"
    )
