"""Area study: what the design's choices cost, as tables for the terminal and for Markdown.

The figures are the JSON that `evenspike synth --study` measures; the tables, and the sentences
about them, are functions of it and of nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from evenspike.report import format as fmt
from evenspike.report import markdown as report_markdown
from evenspike.report.area import format as area

Study = Mapping[str, Any]

COMPUTES = {
    "accumulators": "partial sums, and the adders before them",
    "scratchpad": "headers and weights",
    "lanes": "weights that wait for each adder, in the place of AND gates",
    "lif": "neurons: leak, threshold, reset",
}
MOVES = {
    "channel_table": "where the headers and weights of each channel are",
    "filter": "which activations no weight of the PE can meet",
    "fifo": "activations that wait for the matcher",
    "matcher": "which kernels an activation meets",
    "queue": "matches that wait for the selector",
    "selector": "one or two matched weights a cycle, and the addresses of their partial sums",
    "markers": "how far the PE has worked off its chunks and rounds",
    "unpacker": "turns the weight stream into weights, headers and table",
    "own": "what joins the blocks",
}
PAPER = "paper,lif_parallel=0"
"""The Arch beside `packed`. With a LIF unit for each neuron, and a multiplier in each, these would
be most of the PE.
"""

GOAL = 0.7
"""The share of a PE that the blocks of COMPUTES are to have."""

WIDE = ("what", "rest")
"""Columns for which a terminal has no room."""

COUNTED = (
    "A transistor count is that of static CMOS gates, plain flip-flops (16) and RAM bits (6, and 2 "
    "more for each port beyond the first), as Yosys and the RTL's declarations give them. Not "
    f"counted: {area.NOT_COUNTED['transistors']}."
)
PATH = "Longest path: gates one after the other between two registers, by number and not by delay."


@dataclass(frozen=True)
class Section:
    """A table, what it says, and the commands that make its parts by themselves."""

    title: str
    says: str
    head: tuple[str, ...]
    lines: list[list[str]]
    commands: tuple[str, ...]


def sections(study: Study) -> list[Section]:
    return [_pe(study), _ecp5(study), _fifo(study), _presets(study), _pes(study)]


def _computes(blocks: Mapping[str, Study], whole: Study, key: str) -> str:
    """The share of a resource of the PE that is in what computes and stores."""
    return fmt.percent(sum(blocks[name][key] for name in COMPUTES) / whole[key])


def _pe(study: Study) -> Section:
    blocks = {row["block"]: row for row in study["pe"]}
    whole = blocks.pop("all")
    total = whole["transistors"]
    met = sum(blocks[name]["transistors"] for name in COMPUTES) >= GOAL * total
    verdict = "met. It is met by memory: of" if met else "missed. Of"
    says = (
        f"What computes and stores ({', '.join(COMPUTES)}) is "
        f"{_computes(blocks, whole, 'transistors')} of the PE's transistors: the goal of "
        f"{fmt.percent(GOAL, 0)} is {verdict} the logic alone the same four are "
        f"{_computes(blocks, whole, 'logic_transistors')}, of the RAM "
        f"{_computes(blocks, whole, 'ram_transistors')}."
    )
    lines = [
        [
            row["block"],
            {**COMPUTES, **MOVES}.get(row["block"], ""),
            "yes" if row["block"] in COMPUTES else "",
            f"{row['logic_transistors']:,}",
            f"{row['ram_transistors']:,}",
            f"{row['transistors']:,}",
            fmt.percent(row["transistors"] / total),
        ]
        for row in [*sorted(blocks.values(), key=lambda row: -row["transistors"]), whole]
    ]
    head = ("block", "what", "computes or stores", "logic", "RAM", "transistors", "share")
    return Section("Blocks of a PE, in transistors", says, head, lines, ("make synth",))


def _ecp5(study: Study) -> Section:
    keys = ("luts", "flip_flops", "distributed_ram", "block_ram")
    blocks = {row["block"]: row for row in study["pe_ecp5"]}
    whole = blocks.pop("all")
    says = (
        f"The same four hold {_computes(blocks, whole, 'luts')} of the LUTs, "
        f"{_computes(blocks, whole, 'flip_flops')} of the flip-flops and "
        f"{_computes(blocks, whole, 'block_ram')} of the blocks of RAM: an FPGA's RAM is no LUT, so"
        " the share of LUTs is one of logic."
    )
    lines = [
        [
            row["block"],
            f"{row['luts']:,}",
            fmt.percent(row["luts"] / whole["luts"]),
            f"{row['flip_flops']:,}",
            fmt.percent(row["flip_flops"] / whole["flip_flops"]),
            *(f"{row[key]:,}" for key in keys[2:]),
        ]
        for row in [*sorted(blocks.values(), key=lambda row: -row["luts"]), whole]
    ]
    head = ("block", "LUTs", "share", "flip-flops", "share", *map(area.title, keys[2:]))
    command = "make synth TARGET=ecp5 ARGS=--no-route"
    return Section("Blocks of a PE on ecp5", says, head, lines, (command,))


def _fifo(study: Study) -> Section:
    rows = study["fifo"]
    blocks = {row["block"]: row["transistors"] for row in study["pe"]}
    total, deep = blocks["all"], rows[-1]
    used = next(row for row in rows if row["depth"] == study["fifo_depth"])
    address = (blocks["matcher"] + blocks["selector"]) / total
    queued = (blocks["matcher"] + blocks["queue"] + blocks["selector"]) / total
    says = (
        f"The presets' depth is {used['depth']}: the FIFO is {fmt.percent(used['share'])} of the "
        f"PE, {fmt.percent(used['extra'])} more than a PE without it, and all FIFOs together are "
        f"{fmt.percent(used['chip'])} more than an accelerator without them. With {deep['depth']} "
        f"entries they are {fmt.percent(deep['extra'])} and {fmt.percent(deep['chip'])}. Depth 0 "
        "is no hardware but a subtraction: the PE of the least depth without the FIFO's block. "
        "There is no permutation network: matcher and selector, which address the partial sums "
        f"directly, are {fmt.percent(address)} of the PE, and {fmt.percent(queued)} with the queue "
        "between them."
    )
    lines = [
        [
            f"{row['depth']}",
            f"{row['pe']:,}",
            f"{row['fifo']:,}",
            *(fmt.percent(row[key]) for key in ("share", "extra", "chip")),
        ]
        for row in rows
    ]
    head = (
        "FIFO depth",
        "PE",
        "its FIFO",
        "FIFO / PE",
        "FIFO / PE without",
        "all FIFOs / accelerator without",
    )
    command = "make synth ARCH=packed,fifo_depth=N"
    return Section("What a FIFO costs, in transistors", says, head, lines, (command,))


def _presets(study: Study) -> Section:
    rows = {(row["part"], row["preset"]): row for row in study["presets"]}
    change = {
        part: rows[part, "packed"]["transistors"] / rows[part, PAPER]["transistors"] - 1
        for part in ("pe", "top")
    }
    says = (
        f"`{PAPER}` is the paper's machine with one LIF stage for all neurons of a PE, as "
        "`packed` has, in the place of a unit for each. Its PEs have four gates that are four "
        "weights of one timestep, a psum of one timestep for each neuron, in 16 banks, and one "
        "filter in a pass; those of `packed` have the psums of four timesteps, and up to "
        f"{study['slots']} filters. What `packed` has beyond it is {fmt.percent(change['pe'])} of "
        f"a PE and {fmt.percent(change['top'])} of the accelerator."
    )
    keys = ("transistors", "flip_flops", "ram_bits", "ltp")
    lines = [[*key, *(f"{row[name]:,}" for name in keys)] for key, row in rows.items()]
    head = ("part", "preset", "transistors", "flip-flops", "RAM bits", "longest path")
    commands = tuple(f"make synth PART={part} ARCH={PAPER}" for part in ("pe", "top"))
    return Section("Presets", f"{says} {PATH}", head, lines, commands)


def _pes(study: Study) -> Section:
    rows = study["pes"]
    first, last = rows[0], rows[-1]
    growth = {name: last["in_pe"][name] - size for name, size in first["in_pe"].items()}
    table = growth["channel_table"] / sum(growth.values())
    says = (
        f"From {first['pes']} to {last['pes']} PEs, one PE grows by "
        f"{fmt.percent(last['one_pe'] / first['one_pe'] - 1)}, of which the channel table is "
        f"{fmt.percent(table)}: it has two lines for each channel of a chunk, and a chunk has "
        f"{study['chunk_blocks']} channels for each PE. The APU grows by a factor of "
        f"{last['apu'] / first['apu']:.1f}. An entry of the spike memory has a mask for each PE's "
        "channel, and the number of entries stays the preset's, so it holds more neurons with more "
        "PEs; the last but one column is a spike memory for as many neurons as the preset's, at "
        f"each number. The longest path goes from {first['ltp']} to {last['ltp']} gates."
    )
    keys = ("top", "per_pe", "one_pe", "apu", "spikes", "rest", "same_neurons", "ltp")
    lines = [[str(row["pes"]), *(f"{row[key]:,.0f}" for key in keys)] for row in rows]
    head = (
        "PEs",
        "accelerator",
        "accelerator / PEs",
        "one PE",
        "APU",
        "spike memory",
        "rest",
        "same neurons",
        "longest path",
    )
    commands = (
        "make synth PART=top ARCH=packed,pes=N",
        "make synth PART=spikes ARCH=packed,pes=N,spike_entries=M",
    )
    return Section("Number of PEs, in transistors", f"{says} {PATH}", head, lines, commands)


def render_markdown(study: Study, level: int = 2) -> str:
    """The tables for a repository; nothing in it changes unless a figure does."""
    tools = ", ".join(f"{name} {version}" for name, version in study["tools"].items())
    arch = study["arch"]
    made = f"Preset `{arch['preset']}` (`{arch['digest']}`) where nothing else is said; {tools}."
    parts = [f"{made} All tables: `make area`. {COUNTED}"]
    for section in sections(study):
        commands = ", ".join(f"`{command}`" for command in section.commands)
        parts += [
            f"{'#' * level} {section.title}",
            section.says,
            report_markdown.table(section.head, section.lines),
            f"By itself: {commands}.",
        ]
    return "\n\n".join(parts) + "\n"


def tables(study: Study) -> Group:
    """The tables for a terminal."""
    views: list[Table | Text] = []
    for section in sections(study):
        view = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
        view.title, view.title_justify = Text(section.title, style="bold"), "left"
        wanted = [n for n, name in enumerate(section.head) if name not in WIDE]
        for n in wanted:
            left = n == 0 or section.head[n] in {"preset", "computes or stores"}
            head = Text(section.head[n].replace(" / ", " /\n").replace(" ", "\n", 1))
            view.add_column(head, justify="left" if left else "right", no_wrap=True)
        for line in section.lines:
            view.add_row(*(Text(line[n]) for n in wanted))
        views += [view, Text(section.says + "\n")]
    return Group(*views)
