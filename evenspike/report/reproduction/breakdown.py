"""Fig. 11: energy of adders, neurons and scratchpad, dynamic and leakage."""

from __future__ import annotations

from evenspike.report.reproduction.parts import (
    SINGLE,
    Data,
    Row,
    claim,
    find,
    picture,
    section,
)
from evenspike_core import published_uticket as paper

PAIR = {"network": "resnet19", "data": "cifar10", "pruned": None}

PARTS: dict[str, tuple[str, ...]] = {
    "MAC, dynamic": (
        "and_gate", "lane_push", "lane_pop", "accumulate", "accumulator_read", "accumulator_write",
        "match", "select", "queue_push", "queue_pop",
    ),
    "LIF, dynamic": ("lif_step",),
    "MEM, dynamic": (
        "scratchpad_read", "scratchpad_write", "header_read", "table_read", "table_write", "unpack",
        "filter", "fifo_push", "fifo_pop",
    ),
    "memories of the PEs, leakage": ("leakage_cycle",),
    "registers of the PEs, clock": ("clock_cycle",),
}  # fmt: skip
"""Of a PE. Spike memory, shared registers and the memory port are not the PE's."""


def breakdown(record: Data) -> Data:
    """By the table of energies, and the shares that Eq. 3 gives."""
    runs = {
        method: find(record, "runs", **PAIR, method=method, arch=SINGLE, mapping="natural")
        for method in ("imp", "u-ticket")
    }
    drawn = {
        method: find(record, "drawn", **PAIR, method=method, pes=paper.PES)
        for method in ("imp", "u-ticket")
    }
    rows: list[Row] = []
    if drawn["imp"] and drawn["u-ticket"]:
        rows += _eq3(drawn["imp"], drawn["u-ticket"], record["ratio"]["value"])
    table: list[list[object]] = []
    if runs["imp"] and runs["u-ticket"]:
        before, after = (parts(one) for one in (runs["imp"], runs["u-ticket"]))
        still = ("memories of the PEs, leakage", "registers of the PEs, clock")
        cut = 1 - sum(after[k] for k in still) / sum(before[k] for k in still)
        rows.append(
            claim(
                "By the counters, `packed,slots=1`: what runs in every cycle falls with the "
                "idle cycles",
                "significantly reduced",
                f"leakage and clock of the PEs fall by {100 * cut:.1f} %",
                cut > 0.1,
                reason="the cycles fall less than the paper's convention says",
            )
        )
        whole = [sum(found.values()) for found in (before, after)]
        for name in PARTS:
            table.append([name, before[name], before[name] / whole[0], after[name],
                          after[name] / whole[1]])  # fmt: skip
            if whole[0]:
                rows.append(picture(f"u-Ticket, by the counters: {name}, share of the PEs' energy",
                                    after[name] / whole[1]))  # fmt: skip
    return section(
        "breakdown",
        "Energy by part of the PE",
        "Fig. 11",
        "ResNet-19 on CIFAR10. The paper prints a picture. By Eq. 3 dynamic energy goes with the "
        "work and leakage with all cycles, whatever the part. By the hardware's counts and the "
        "table of energies (`packed` with `slots=1`): adders with accumulators and what selects "
        "a weight, "
        "neurons, and scratchpad with channel table and FIFO. Leakage is of memories, and the "
        "clock of registers is its own line: the table has neither for adders and neurons apart.",
        rows,
        [
            {
                "title": "By the table of energies, pJ an image",
                "columns": [
                    {"name": "part", "format": "text"},
                    {"name": "LTH", "format": "count"},
                    {"name": "share", "format": "share"},
                    {"name": "u-Ticket", "format": "count"},
                    {"name": "share", "format": "share"},
                ],
                "rows": table,
            }
        ],
    )


def parts(run: Data) -> dict[str, float]:
    """Energy of a run's PEs by part, pJ."""
    return {
        name: sum(run["by_action"][action]["pj"] for action in actions)
        for name, actions in PARTS.items()
    }


def _eq3(before: Data, after: Data, ratio: float) -> list[Row]:
    cycles, shares = [], []
    for one in (before, after):
        key = one["network"], one["data"], one["method"]
        counts = one["paper_convention"]
        work, idle = counts["work"]["mean"], counts["idle"]["mean"]
        dynamic = work * ratio * (1 - paper.TICKETS[key].spike_sparsity / 100)
        cycles.append(work + idle)
        shares.append(dynamic / (dynamic + work + idle))
    cut = 1 - cycles[1] / cycles[0]
    return [
        claim(
            "Eq. 3: leakage falls",
            "significantly reduced",
            f"by {100 * cut:.1f} %",
            cut > 0.5,
            reason="not by half",
        ),
        claim(
            "Eq. 3: the share of dynamic energy grows",
            "increases",
            f"{shares[0]:.3f} to {shares[1]:.3f}",
            shares[1] > shares[0],
            reason="it does not",
        ),
    ]
