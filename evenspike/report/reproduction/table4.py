"""Table IV: work, idle cycles, latency and utilization, in both families of figures."""

from __future__ import annotations

from typing import Any

from evenspike.report.reproduction.parts import (
    BROADCAST,
    SETS,
    SINGLE,
    TITLES,
    Data,
    Row,
    each,
    find,
    label,
    printed,
    same_network,
    section,
    tenth,
)
from evenspike_core import published_uticket as paper
from evenspike_core.counters import STATES

MACHINES = ((SINGLE, "natural"), ("packed", "cost"))
"""Arch and mapping by which Table IV's networks run."""

AVERAGES = {
    "layer_mean": "mean of the layers",
    "parameter_weighted": "weighted by parameters",
    "pooled": "Eq. 2 of the totals",
}


def table4(record: Data) -> Data:
    """Every row of the table but CIFAR100's."""
    rows: list[Row] = []
    drawn = [
        one
        for method in ("imp", "u-ticket")
        for one in each(record, "drawn", method=method, pruned=None, pes=paper.PES)
    ]
    drawn.sort(key=lambda one: (list(TITLES).index(one["network"]), list(SETS).index(one["data"])))
    unit = paper.UNIT / record["divisor"] ** 2
    for one in drawn:
        rows += _convention(one, unit)
    for one in drawn:
        if one["method"] == "imp":
            rows += _counters(record, one)
    rows += _tickets(record)
    return section(
        "table4",
        "Work, idle cycles, latency and utilization",
        "Table IV",
        "Networks of the paper's shapes with drawn masks. Three numbers of a mask are fitted to "
        "Table III's sparsity and Table IV's work and idle cycles: how the density falls from "
        "layer to layer, its level, and how far the filters of a layer differ. So work and idle "
        "cycles are ours only in that masks with them exist; the latency follows from them, and "
        "the utilizations are predicted. A u-Ticket has its own sparsity and work, and every "
        "filter of 16 the same number of weights, their mean rounded up. The last rows are of "
        "tickets that were trained. By the counters, spikes are drawn at Table III's sparsity, and "
        "a neuron that fires does so in as many timesteps as in LoAS's tickets of the same "
        "networks."
        + ("" if record["divisor"] == 1 else " The paper's cycles are scaled to the width."),
        rows,
        [_fits(record), _hardware(record)],
        [],
    )


def _convention(one: Data, unit: float) -> list[Row]:
    stated = paper.CYCLES[one["network"], one["data"], one["method"]]
    ours, name = one["paper_convention"], label(one)
    half = paper.HALF_DIGIT * unit
    ticket = one["method"] == "u-ticket"
    why = (
        "each group's mean is rounded up to whole weights"
        if ticket
        else "the fit is to the mean over masks, and one layer of few groups has most of it"
    )
    rows = [
        printed(f"{name}: work (fitted)", stated.work * unit, ours["work"], half,
                form="count", reason=why),
        printed(f"{name}: idle cycles ({'balanced' if ticket else 'fitted'})",
                stated.idle * unit, ours["idle"], half, form="count", reason=why),
        printed(f"{name}: latency", stated.latency * unit, ours["latency"], half,
                form="count", reason=why),
    ]  # fmt: skip
    share = stated.idle / (stated.work + stated.idle)
    total = 1 - share * paper.PES / (paper.PES - 1)
    reasons = {
        "layer_mean": "layers whose filters differ otherwise than one spread for all says",
        "parameter_weighted": "the paper's text says this average, the authors' code prints that "
        "of the layers",
        "pooled": f"not what the table prints: its own work and idle cycles give {total:.2f}",
    }
    for key, text in AVERAGES.items():
        what = f"{name}: utilization, {text}"
        rows.append(same_network(what, stated.utilization, ours[key], reason=reasons[key]))
    return rows


def _counters(record: Data, one: Data) -> list[Row]:
    """The latency's gain by the counters, beside that of Table IV."""
    key = one["network"], one["data"]
    before, after = (paper.CYCLES[*key, method] for method in ("imp", "u-ticket"))
    stated = (before.work + before.idle) / (after.work + after.idle)
    name = f"{TITLES[one['network']]}, {SETS[one['data']]}"
    rows = []
    for arch, mapping in MACHINES:
        runs = [
            find(record, "runs", network=key[0], data=key[1], method=method, pruned=None,
                 arch=arch, mapping=mapping)
            for method in ("imp", "u-ticket")
        ]  # fmt: skip
        if runs[0] is not None and runs[1] is not None:
            rows.append(
                tenth(
                    f"{name}: latency, LTH / u-Ticket, by the counters, `{arch}`",
                    stated,
                    runs[0]["cycles"] / runs[1]["cycles"],
                    form="factor",
                    reason=BROADCAST,
                )
            )
    return rows


def _tickets(record: Data) -> list[Row]:
    """The shipped ticket of the full width beside its own row."""
    rows: list[Row] = []
    for one in record["tickets"]:
        key = one["network"], one["data"], one["method"]
        if one["width"] != 64 or key not in paper.CYCLES:
            continue
        stated = paper.CYCLES[key]
        why = "its training left other layers dense; work depends on where the weights are"
        half = paper.HALF_DIGIT * paper.UNIT
        name = f"trained: `{one['name']}`"
        rows += [
            printed(f"{name}: work", stated.work * paper.UNIT, one["work"], half, form="count",
                    reason=why),
            printed(f"{name}: idle cycles", stated.idle * paper.UNIT, one["idle"], half,
                    form="count", reason=why),
            printed(f"{name}: latency", stated.latency * paper.UNIT, one["latency"], half,
                    form="count", reason=why),
        ]  # fmt: skip
        for average, text in AVERAGES.items():
            rows.append(
                same_network(f"{name}: utilization, {text}", stated.utilization, one[average],
                             reason=why)
            )  # fmt: skip
    return rows


def _fits(record: Data) -> Data:
    columns = (
        ("network", "text"),
        ("sparsity", "share"),
        ("density falls by layer to", "share"),
        ("spread of filters", "share"),
        ("density of the first layer, %", "number"),
        ("of the last, %", "share"),
    )
    rows: list[list[Any]] = []
    for one in record["fits"]:
        known = paper.TICKETS[one["network"], one["data"], one["method"]]
        rows.append(
            [
                label(one),
                known.sparsity / 100,
                2.718281828459045 ** -one["decay"],
                one["spread"],
                one["densities"][0],
                one["densities"][-1],
            ]
        )
    return {"title": "The fits", "columns": _columns(columns), "rows": rows}


def _hardware(record: Data) -> Data:
    """All counters of Table IV's networks, in PE-cycles of one image."""
    columns = (
        ("network", "text"),
        ("preset", "text"),
        ("cycles", "count"),
        ("utilization", "share"),
        *((state, "count") for state in STATES),
        ("energy, pJ", "count"),
    )
    rows = [
        [label(one), one["arch"], one["cycles"], one["utilization"],
         *(one[state] for state in STATES), one["energy_pj"]]
        for arch, mapping in MACHINES
        for one in each(record, "runs", arch=arch, mapping=mapping, pruned=None)
        if one["method"] != "imp, balanced"
    ]  # fmt: skip
    for ticket in record["tickets"]:
        rows += [
            [f"trained: `{ticket['name']}`", one["arch"], one["cycles"], one["utilization"],
             *(one[state] for state in STATES), one["energy_pj"]]
            for one in ticket["runs"]
        ]  # fmt: skip
    return {"title": "By the hardware's counters", "columns": _columns(columns), "rows": rows}


def _columns(given: tuple[tuple[str, str], ...]) -> list[Data]:
    return [{"name": name, "format": form} for name, form in given]
