"""Area report: what a synthesis found, as JSON and as its views for people.

The JSON is what `evenspike_hw.synthesis.synthesize` returns; Markdown, the page and the terminal's
table are functions of it and of nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from rich.table import Table
from rich.text import Text

from evenspike.report import format as fmt
from evenspike.report import html as report_html
from evenspike.report import markdown as report_markdown
from evenspike.report.area import format as area
from evenspike.report.area import treemap
from evenspike.report.area.format import Synthesis
from evenspike.report.style import SHADES, stylesheet
from evenspike.report.svg import WIDTH, Svg
from evenspike_core import files

INDENT = "\N{EM SPACE}"
"""Of a line of the page, which would not show a plain space."""

RULES = """
.tiles { display: flex; flex-wrap: wrap; } .tile { flex: 1 1 190px; }
td.text { overflow-wrap: anywhere; }
tr.whole td { font-weight: 650; } tr.own td { color: var(--muted); }
tr.warn td { color: var(--bad); font-weight: 650; }
"""

SUMS = ("cells", "logic_transistors", "gate_equivalents")
"""Resources that follow from others: a terminal of 80 columns has no room for them."""

MAP_TEXT = (
    "Each block is as large as its share; a block that is there several times is drawn once, with "
    f"the area of all. Darkest: the largest block. Palest: {area.OWN_TEXT} (own)."
)
PATH_TEXT = "One bar from register to register; each step is as long as its nanoseconds."


def write(result: Synthesis, folder: Path) -> list[Path]:
    """Write PART-TARGET.json, .md and .html; all are rendered before the first is written.

    The JSON leaves out `cached`, which is of the call and not of the result. Raises EvenspikeError
    for a folder that cannot be written to.
    """
    kept = {
        key: value for key, value in files.plain(result, "synthesis").items() if key != "cached"
    }
    contents = {"json": files.dump(kept), "md": render_markdown(kept), "html": render_html(kept)}
    name = area.name(kept)
    return files.write_files({f"{name}.{end}": text for end, text in contents.items()}, folder)


def table(result: Synthesis) -> Table:
    """The blocks for a terminal of 80 columns: without `SUMS` and what the part has none of."""
    wanted = [key for key, value in result["resources"].items() if value]
    if area.measure(result) != "area_um2":
        wanted = [key for key in wanted if key not in SUMS]
    view = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    view.title_justify = view.caption_justify = "left"
    view.title = Text(
        f"{result['part']} on {result['target']}, accelerator {result['arch']['preset']} "
        f"({result['arch']['digest']})",
        style="bold",
    )
    view.add_column("block", overflow="fold")  # no number is ever cut for want of room
    for name in [*map(area.title, wanted), "share"]:
        head = Text(name.replace(" ", "\n").replace("-", "-\n"))
        view.add_column(head, justify="right", no_wrap=True)
    styles = {"whole": "bold", "own": "dim"}
    for row in area.rows(result):
        block = Text("  " * row.depth + row.name)
        view.add_row(block, *area.numbers(row, wanted), style=styles.get(row.kind))
    said = (f"{n}: {v}" + f" ({note})" * bool(note) for n, v, note in area.headline(result))
    view.caption = Text("\n".join(said), style="dim")
    judged = area.verdict(result)
    if judged is not None:
        colour = "not dim green" if judged[0] == "good" else "not dim bold red"
        view.caption.append(f"\n{judged[1]} {judged[2]}".rstrip(), style=colour)
    return view


def render_markdown(result: Synthesis) -> str:
    """The report as Markdown, to be read in a repository or a merge request."""
    judged = area.verdict(result)
    blocks = [
        [
            "&emsp;" * row.depth + (row.name if row.kind == "own" else _code(row.name)),
            *area.numbers(row, result["resources"]),
        ]
        for row in area.rows(result)
    ]
    parts = [f"# {_code(result['part'])} on {_code(result['target'])}"]
    if judged is not None:
        mark = "⚠ " if judged[0] == "bad" else ""
        parts.append(f"**{mark}{judged[1]}** {_code(judged[2]) if judged[2] else ''}".rstrip())
    parts += [
        report_markdown.table(("figure", "value", ""), area.headline(result)),
        "## Area by block",
        area.note(result),
        report_markdown.table(area.head(result), blocks),
    ]
    if result["memories"]:
        lines = [[_code(name), *rest] for name, *rest in area.memories(result)]
        parts += ["## Memories", area.SAME_BLOCKS, report_markdown.table(area.MEMORY_HEAD, lines)]
    if result["path"]:
        signals = ", ".join(map(_code, result["path"]))
        parts += [
            "## Longest path",
            f"{result['ltp']:,} {area.LONGEST_PATH}. Signals on it: {signals}.",
        ]
    if area.timed(result):
        steps = [[*rest, _code(to)] for *rest, to in area.steps(result)]
        parts += [
            "## Critical path",
            report_markdown.table(area.KIND_HEAD, area.kinds(result)),
            report_markdown.table(area.STEP_HEAD, steps),
            report_markdown.table(area.USED_HEAD, area.used(result)),
        ]
    made = [[name, _code(text)] for name, text in fmt.facts(area.made(result))]
    parts += [
        "## Definitions",
        report_markdown.bullets(area.definitions(result)),
        "## How it was made",
        f"    {area.command(result)}",
        report_markdown.table(("", "value"), made),
    ]
    return "\n\n".join(parts) + "\n"


def _code(text: str) -> str:
    """A name as a code span, in which nothing but a backtick has a meaning."""
    return f"`{text.replace('`', chr(39))}`"


def render_html(result: Synthesis) -> str:
    """The report as one page: no script, no font, no image from outside."""
    body = [
        _header(result),
        report_html.tiles(area.headline(result)),
        _blocks(result),
        _memories(result),
        _longest_path(result),
        _critical_path(result),
        report_html.definitions(area.definitions(result)),
        "<h2>How it was made</h2>\n" + report_html.card("Run", fmt.facts(area.made(result))),
        f"<footer>Everything on this page is in {escape(area.name(result))}.json.</footer>",
    ]
    style = stylesheet(()) + RULES + treemap.RULES
    return report_html.page(f"{result['part']} on {result['target']}", style, body)


def _header(result: Synthesis) -> str:
    arch, judged = result["arch"], area.verdict(result)
    text = (
        '<p class="kicker">evenspike · synthesis</p>\n'
        f"<h1>{escape(result['part'])} on {escape(result['target'])}</h1>\n"
        f'<p class="lead">Accelerator <b>{escape(arch["preset"])}</b> '
        f"(<code>{escape(arch['digest'])}</code>). "
        f"To make it again: <code>{escape(area.command(result))}</code></p>\n"
    )
    if judged is None:
        return text
    style, what, which = judged
    return (
        f'{text}<p class="verdict {style}"><b>{escape(what)}</b> <span>{escape(which)}</span></p>'
    )


def _blocks(result: Synthesis) -> str:
    unit, rows = area.unit(result), area.rows(result)
    picture = treemap.render(result["blocks"], area.measure(result), unit)
    lines = [
        [INDENT * row.depth + row.name, *area.numbers(row, result["resources"])] for row in rows
    ]
    styles = {number: row.kind for number, row in enumerate(rows)}
    drawn = (
        report_html.figure(1, f"Area by block, in {unit}", [picture], MAP_TEXT) if picture else ""
    )
    return (
        f"<h2>Area by block</h2>\n<p>{escape(area.note(result))}</p>\n{drawn}\n"
        f"<figure>{report_html.table(area.head(result), lines, styles=styles)}</figure>"
    )


def _memories(result: Synthesis) -> str:
    if not result["memories"]:
        return ""
    bad = {"flip-flops", "?"}
    styles = {n: "warn" for n, m in enumerate(result["memories"]) if m["mapped"] in bad}
    written = report_html.table(area.MEMORY_HEAD, area.memories(result), styles=styles)
    return f"<h2>Memories</h2>\n<p>{area.SAME_BLOCKS}</p>\n<figure>{written}</figure>"


def _longest_path(result: Synthesis) -> str:
    if not result["path"]:
        return ""
    signals = _spans(result["path"])
    return (
        f"<h2>Longest path</h2>\n<p>{result['ltp']:,} {escape(area.LONGEST_PATH)}.</p>\n"
        f'<div class="card"><dl><dt>signals on it</dt><dd>{signals}</dd></dl></div>'
    )


def _spans(names: Iterable[str]) -> str:
    return ", ".join(f"<code>{escape(name)}</code>" for name in names)


def _critical_path(result: Synthesis) -> str:
    if not area.timed(result):
        return ""
    kinds = list(area.by_kind(result["routed"]["critical_path"]))
    legend = report_html.legend((_shade(kinds, kind), kind) for kind in kinds)
    last = area.STEP_HEAD[-1]
    return "\n".join(
        [
            f"<h2>Critical path</h2>\n<p>{escape(result['fmax_by'])}.</p>",
            report_html.figure(
                2,
                "Where the nanoseconds go",
                [path_bar(result)],
                PATH_TEXT,
                legend,
            ),
            f"<figure>{report_html.table(area.KIND_HEAD, area.kinds(result), 'sum')}</figure>",
            f"<figure>{report_html.table(area.STEP_HEAD, area.steps(result), prose=last)}</figure>",
            f"<figure>{report_html.table(area.USED_HEAD, area.used(result))}</figure>",
        ]
    )


def path_bar(result: Synthesis) -> str:
    """The critical path as one bar, step by step."""
    steps = result["routed"]["critical_path"]
    kinds = list(area.by_kind(steps))
    total = sum(step["ns"] for step in steps) or 1.0
    svg = Svg("Critical path, step by step", 34)
    x = 0.0
    for step in steps:
        shade = _shade(kinds, step["kind"])
        width, title = WIDTH * step["ns"] / total, f"{step['kind']} {step['ns']:.3f} ns"
        svg.rect(x, 4, width, 26, f"seam {shade}", f"{title}, to {step['to']}")
        x += width
    return str(svg)


def _shade(kinds: Sequence[str], kind: str) -> str:
    """The class of a kind of step: the darkest is that which takes longest."""
    return f"shade{min(kinds.index(kind), len(SHADES) - 1)}"
