"""Power report: what a netlist takes, as JSON and as its views for people.

The JSON is what `evenspike.flows.power` returns; Markdown and the terminal's table are functions of
it and of nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from evenspike.report import markdown
from evenspike_core import files

Content = Mapping[str, Any]

ENERGIES = ("pJ a cycle", "clock", "data", "nets")
HEAD = ("block", "cells", *ENERGIES, "internal mW", "switching mW", "leakage mW", "share")

LIMITS = """
Cells of the library named above, no wires: a net's load is the inputs that it drives. Layout \
adds to what the nets take, and a clock tree to the clock.
A net changes once a cycle at most: what it does before it settles (glitches) is not counted.
The clock's own net is no cell's: the load of the clock pins is beside the sum, as C V^2 a \
cycle, without buffers. No clock is gated.
RAMs are no cells: their powers follow from their accesses and the table's rule, of another node, \
and are never added to the others.
""".strip().split("\n")


def write(result: Content, folder: Path) -> list[Path]:
    """Write power.json and power.md; raises EvenspikeError for a folder that cannot be written."""
    content = files.plain(dict(result), "power")
    return files.write_files(
        {"power.json": files.dump(content), "power.md": render(content)}, folder
    )


def table(result: Content) -> Table:
    """The blocks for a terminal of 80 columns."""
    view = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    view.title_justify = view.caption_justify = "left"
    view.title = title(result)
    for number, name in enumerate(("block", "cells", "pJ/cycle", "clock", "data", "nets", "share")):
        view.add_column(name, justify="right" if number else "left", no_wrap=bool(number))
    for block in [result["whole"], *result["blocks"]]:
        whole = block is result["whole"]
        view.add_row(
            result["part"] if whole else _name(block),
            *_numbers(block)[:5],
            f"{block['share']:.1%}",
            style="bold" if whole else None,
        )
    view.caption = "\n".join(sentences(result))
    return view


def title(result: Content) -> str:
    """What was measured."""
    which = "" if result["pe"] is None else f" {result['pe']} of {result['pes']}"
    return (
        f"{result['part']}{which} in layer {result['layer']} of {result['model']}, image "
        f"{result['image']}, accelerator {result['arch']['preset']} ({result['arch']['digest']})"
    )


def sentences(result: Content) -> list[str]:
    """The figures beside the table, a line each."""
    seen, whole = result["watched"], result["whole"]
    found = [
        (
            f"{seen['nets']:,} nets watched, all of the netlist; {seen['moving']:,} moved in "
            f"{seen['cycles']:,} cycles, {seen['toggles']:,} changes; on average they were 1 in "
            f"{seen['mean_high']:.1%} of the cycles."
        ),
        (
            f"The netlist's outputs were the RTL's in all {seen['replayed']:,} cycles from the "
            f"reset on, {seen['outputs_compared']:,} bits."
        ),
        (
            f"At {result['clock_mhz']:g} MHz: {whole['total_mw']:.2f} mW of internal "
            f"{whole['internal_mw']:.2f}, switching {whole['switching_mw']:.2f} and leakage "
            f"{whole['leakage_mw']:.4f}; the load of the clock pins is "
            f"{whole['pj_clock_pins']:.1f} pJ a cycle beside it."
        ),
        f"The cells add up to OpenSTA's whole but for {result['opensta']['apart']:.4%}.",
    ]
    if result["fmax_mhz"] is not None:
        last = result["path"][-1] if result["path"] else None
        ends = f", from {_name(result['path'][0])} to {_name(last)}" if last else ""
        found.append(
            f"Clock by the longest path{ends}: {result['fmax_mhz']:.1f} MHz, without wires and "
            "without the RAMs' own time."
        )
    eq3 = result["eq3"]
    if eq3 is not None:
        gated = "" if eq3["ratio_gated"] is None else f", {eq3['ratio_gated']:.1f} were it gated"
        found.append(
            f"Eq. 3: a busy cycle takes {eq3['busy_pj']:.1f} pJ, a waiting one (E_l) "
            f"{eq3['idle_pj']:.1f}; E_d / E_l is {eq3['ratio']:.2f}, {eq3['ratio_with_pins']:.2f} "
            f"with the clock's net{gated}; the fitted one is {eq3['fitted']:g}."
        )
    rams = result["rams"]
    if rams:
        pj, mw = (sum(ram[key] for ram in rams) for key in ("pj", "leakage_mw"))
        found.append(
            f"{len(rams)} RAMs, apart: {pj:.2f} pJ a cycle and {mw:.2f} mW of leakage, at "
            f"{rams[0]['node']}."
        )
    return found


def render(result: Content) -> str:
    """The report as Markdown."""
    parts = [
        f"# Power of `{result['part']}`",
        (
            f"{title(result)}. Cells: `{result['liberty']}`. {result['cells']:,} cells, "
            f"{result['flip_flops']:,} of them flip-flops, {result['buffers']:,} buffers behind "
            "nets of many loads."
        ),
        _lines(sentences(result)),
        "## Blocks",
        (
            "A block is without the blocks in it. Clock: inside flip-flops, whatever they do. "
            "Data: inside cells, for what changes. Nets: loads that change. pJ a cycle; powers at "
            f"{result['clock_mhz']:g} MHz."
        ),
        markdown.table(
            HEAD,
            [
                *(_row(block) for block in result["blocks"]),
                [result["part"], *_row(result["whole"])[1:]],
            ],
        ),
    ]
    if len(result["states"]) > 1:
        parts += [
            "## What the PE does",
            markdown.table(
                ("state", "cycles", *ENERGIES),
                [
                    [name, f"{state['cycles']:,}", *_numbers(state)[1:5]]
                    for name, state in result["states"].items()
                ],
            ),
        ]
    if result.get("actions"):
        parts += ["## Beside the table of actions", *_actions(result["actions"])]
    if result["rams"]:
        parts += ["## RAMs", _sources(result["rams"]), _rams(result["rams"])]
    if result["path"]:
        parts += [
            "## Longest path",
            markdown.table(
                ("ns", "cell", "block"),
                [[f"{s['ns']:.3f}", s["cell"], _name(s)] for s in result["path"]],
            ),
        ]
    times = ", ".join(f"{name} {value} s" for name, value in result["seconds"].items())
    tools = ", ".join(f"{name} {version}" for name, version in result["tools"].items())
    parts += ["## Limits", _lines(LIMITS), "## How it was made", f"{tools}. {times}."]
    return "\n\n".join(parts) + "\n"


def _lines(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _name(block: Content) -> str:
    return str(block["block"]) or "(own)"


def _numbers(block: Content) -> list[str]:
    keys = ("pj", "pj_clock", "pj_data", "pj_switching")
    return [f"{block['cells']:,}", *(f"{block[key]:.2f}" for key in keys)]


def _row(block: Content) -> list[str]:
    powers = [f"{block[f'{key}_mw']:.4f}" for key in ("internal", "switching", "leakage")]
    return [_name(block), *_numbers(block), *powers, f"{block['share']:.2%}"]


def _actions(found: Content) -> Iterable[str]:
    yield (
        f"The cycle model's counts of this layer, a PE's share of them, times energy.toml "
        f"({found['node']}), without memories; the netlist is of another node, so that shares "
        f"are compared. The table's clock takes {_share(found['clock_share_table'])} of a PE's "
        f"logic, the netlist's {_share(found['clock_share_netlist'])}. The last three columns "
        "leave it out."
    )
    head = ("block", "actions", "table pJ", "netlist pJ", "table", "netlist", "ratio")
    yield markdown.table(
        (*head, "table, no clock", "netlist, no clock", "ratio, no clock"),
        [
            [
                _name(block),
                ", ".join(block["actions"]) or "none",
                f"{block['table_pj']:.3f}",
                f"{block['netlist_pj']:.2f}",
                _share(block["table_share"]),
                _share(block["netlist_share"]),
                _ratio(block["ratio"]),
                _share(block["moving_table_share"]),
                _share(block["moving_netlist_share"]),
                _ratio(block["moving_ratio"]),
            ]
            for block in found["blocks"]
        ],
    )
    if found["left_out"]:
        yield f"Actions without a block here: {', '.join(found['left_out'])}."


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _sources(rams: Sequence[Content]) -> str:
    sources = "; ".join(dict.fromkeys(ram["source"] for ram in rams))
    return (
        f"Accesses as the replay counted them, times the rule of energy.toml, at "
        f"{rams[0]['node']}; {sources}. A RAM without a clock counts as read when its address "
        "changes."
    )


def _rams(rams: Sequence[Content]) -> str:
    rows = [
        [
            ram["ram"],
            f"{ram['words']} x {ram['width']}",
            f"{ram['reads']:,}",
            f"{ram['writes']:,}",
            f"{ram['pj']:.3f}",
            f"{ram['leakage_mw']:.4f}",
        ]
        for ram in rams
    ]
    return markdown.table(("RAM", "words", "reads", "writes", "pJ a cycle", "leakage mW"), rows)
