"""Fig. 12: DRAM and SRAM accesses against sparsity, and the share of the PEs in all energy."""

from __future__ import annotations

import itertools

from evenspike.report.reproduction.breakdown import PARTS
from evenspike.report.reproduction.parts import (
    SINGLE,
    Data,
    Row,
    claim,
    each,
    find,
    points,
    section,
    tenth,
)
from evenspike_core import published_uticket as paper

ARCH = "packed,table_words=8192"
"""`packed` with room for the chunks of a network that is not pruned."""

SRAM = (
    "scratchpad_read", "scratchpad_write", "header_read", "table_read", "table_write",
    "accumulator_read", "accumulator_write", "fifo_push", "fifo_pop", "spike_read", "spike_write",
)  # fmt: skip
IN_PE = tuple(action for actions in PARTS.values() for action in actions)
GROUPS = {
    "PEs": IN_PE,
    "shared memories and clock": (
        "spike_read", "spike_write", "shared_leakage_cycle", "shared_clock_cycle",
    ),
    "memory port (DRAM)": ("memory_word",),
}  # fmt: skip


def system(record: Data) -> Data:
    """Both panels."""
    ladder = sorted(
        (one for one in each(record, "runs", network="vgg16", method="imp", arch=ARCH)
         if one["pruned"] is not None),
        key=lambda one: one["pruned"],
    )  # fmt: skip
    rows: list[Row] = []
    table: list[list[object]] = []
    lines: dict[str, list[tuple[float, float]]] = {"DRAM words": [], "SRAM accesses": []}
    if ladder:
        first = ladder[0]
        base = {"DRAM words": _dram(first), "SRAM accesses": _sram(first)}
        for one in ladder:
            sparsity = 1 - (1 - paper.ROUND_RATE) ** one["pruned"]
            counts = {"DRAM words": _dram(one), "SRAM accesses": _sram(one)}
            for name, value in counts.items():
                lines[name].append((100 * sparsity, value / base[name]))
            groups = _groups(one)
            whole = sum(groups.values())
            table.append(
                [one["pruned"], sparsity, one["cycles"], *counts.values(),
                 *(value / base[name] for name, value in counts.items()),
                 *(value / whole for value in groups.values()), whole]
            )  # fmt: skip
        for name, found in lines.items():
            values = [y for _, y in found]
            rows.append(
                claim(
                    f"Fig. 12 (a): {name} fall with sparsity",
                    "decrease",
                    f"to {values[-1]:.4f} of the dense network's",
                    all(b < a for a, b in itertools.pairwise(values)),
                    reason="not at every step",
                )
            )
        rows += _share(ladder)
    rows += _saved(record)
    return section(
        "system",
        "The whole system",
        "Fig. 12",
        "VGG-16 on CIFAR10, the fitted masks at the sparsity of some rounds, on `packed` with room "
        "for a dense network's chunks and filters in their order. DRAM: words of the memory port "
        "(64 bits), of weights, tables and results; spikes stay on the chip. SRAM: accesses of "
        "scratchpads, channel tables, accumulators, FIFOs and spike memory.",
        rows,
        [
            {
                "title": "Against sparsity",
                "columns": [
                    {"name": name, "format": form}
                    for name, form in (
                        ("rounds", "count"),
                        ("sparsity", "share"),
                        ("cycles", "count"),
                        ("DRAM words", "count"),
                        ("SRAM accesses", "count"),
                        ("DRAM / dense", "share"),
                        ("SRAM / dense", "share"),
                        ("energy: PEs", "share"),
                        ("shared", "share"),
                        ("DRAM", "share"),
                        ("energy, pJ", "count"),
                    )
                ],
                "rows": table,
            }
        ],
        [
            {
                "x": {"label": "sparsity of the weights, %"},
                "y": {"label": "accesses, of the dense network's"},
                "series": [
                    {"name": name, "points": points(found)} for name, found in lines.items()
                ],
            }
        ],
    )


def _dram(run: Data) -> float:
    return float(run["by_action"]["memory_word"]["count"])


def _sram(run: Data) -> float:
    return float(sum(run["by_action"][name]["count"] for name in SRAM))


def _groups(run: Data) -> dict[str, float]:
    """Energy of a run, pJ; every action is in one group."""
    known = {action: name for name, actions in GROUPS.items() for action in actions}
    found = dict.fromkeys(GROUPS, 0.0)
    for action, one in run["by_action"].items():
        found[known[action]] += one["pj"]
    return found


def _share(ladder: list[Data]) -> list[Row]:
    """The PEs' share of the energy at the round nearest to the paper's 95 %."""
    nearest = min(
        ladder,
        key=lambda one: abs(
            100 * (1 - (1 - paper.ROUND_RATE) ** one["pruned"]) - paper.BREAKDOWN_SPARSITY
        ),
    )
    groups = _groups(nearest)
    sparsity = 100 * (1 - (1 - paper.ROUND_RATE) ** nearest["pruned"])
    return [
        tenth(
            f"Fig. 12 (b): share of the PEs in all energy, LTH, {paper.BREAKDOWN_SPARSITY:g} % "
            f"sparse (ours {sparsity:.1f} %)",
            paper.PE_SHARE / 100,
            groups["PEs"] / sum(groups.values()),
            reason="the paper does not say what its memories hold; here a word of the weights is a "
            "DRAM access, and spikes stay on the chip",
        )
    ]


def _saved(record: Data) -> list[Row]:
    rows = []
    for arch, mapping in ((SINGLE, "natural"), ("packed", "cost")):
        runs = [
            find(record, "runs", network="vgg16", data="cifar10", method=method, pruned=None,
                 arch=arch, mapping=mapping)
            for method in ("imp", "u-ticket")
        ]  # fmt: skip
        if runs[0] is not None and runs[1] is not None:
            rows.append(
                tenth(
                    f"Fig. 12 (b): energy of the whole system that u-Ticket saves, `{arch}`",
                    paper.SYSTEM_REDUCTION / 100,
                    1 - runs[1]["energy_pj"] / runs[0]["energy_pj"],
                    reason="its fewer weights and fewer spikes save here, and hardly its balance; "
                    "the paper says neither its memories nor what they hold",
                )
            )
    return rows
