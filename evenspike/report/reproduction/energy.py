"""Fig. 9: Eq. 3 on the paper's numbers and on ours, and the energy table on the counters."""

from __future__ import annotations

import itertools

from evenspike.report.reproduction.parts import (
    BROADCAST,
    SETS,
    SINGLE,
    TITLES,
    Data,
    Row,
    find,
    printed,
    row,
    section,
    tenth,
)
from evenspike_core import published_uticket as paper
from evenspike_core.metrics import paper_energy


def _stated(network: str, data: str, ratio: float) -> tuple[float, float, float]:
    """The reduction that Tables III and IV give, and the ends of what their digits leave open."""
    steps = (-1, 0, 1)
    found = []
    before, after = (paper.CYCLES[network, data, method] for method in ("imp", "u-ticket"))
    silent = [paper.TICKETS[network, data, m].spike_sparsity for m in ("imp", "u-ticket")]
    for a, b, c, d, e in itertools.product(steps, repeat=5):
        half = paper.HALF_DIGIT
        least = _energy(before.work + a * half, before.idle + b * half, silent[0] + d * 0.05, ratio)
        best = _energy(after.work + c * half, 0.0, silent[1] + e * 0.05, ratio)
        found.append(1 - best / least)
    return found[len(found) // 2], min(found), max(found)


def _energy(work: float, idle: float, silent: float, ratio: float) -> float:
    scale = 1_000_000
    return paper_energy(round(work * scale), round(idle * scale), silent / 100, ratio)


def drawn_energy(one: Data, ratio: float) -> float:
    """Eq. 3 of a drawn network, in units of E_l."""
    method = "u-ticket" if one["method"] == "u-ticket" else "imp"
    silent = paper.TICKETS[one["network"], one["data"], method].spike_sparsity / 100
    counts = one["paper_convention"]
    return paper_energy(round(counts["work"]["mean"]), round(counts["idle"]["mean"]), silent, ratio)


def energy(record: Data) -> Data:
    """The six reductions."""
    ratio, source = record["ratio"]["value"], record["ratio"]["source"]
    rows: list[Row] = []
    table: list[list[object]] = []
    for (network, data), stated in paper.REDUCTIONS.items():
        name = f"{TITLES[network]}, {SETS[data]}"
        middle, low, high = _stated(network, data, ratio)
        rows.append(
            row(
                f"{name}: Eq. 3 on the paper's own Tables III and IV ({100 * low:.1f} to "
                f"{100 * high:.1f} % by their digits)",
                stated / 100,
                middle,
                "rounding",
                100 * low - 0.05 <= stated <= 100 * high + 0.05,
                reason="this ratio of E_d and E_l is not the paper's",
            )
        )
        both = [
            find(record, "drawn", network=network, data=data, method=method, pruned=None,
                 pes=paper.PES)
            for method in ("imp", "u-ticket")
        ]  # fmt: skip
        if both[0] is None or both[1] is None:
            continue
        before, after = (drawn_energy(one, ratio) for one in both if one is not None)
        cut = 1 - after / before
        rows.append(
            printed(
                f"{name}: Eq. 3 on our masks (fitted to Table IV)",
                stated / 100,
                {"mean": cut, "std": _deviation(both[0], both[1]), "n": 1},
                (high - low) / 2,
                reason="work and idle cycles of the draws are not Table IV's to the last digit, or "
                "this ratio of E_d and E_l is not the paper's",
            )
        )
        for arch, mapping in ((SINGLE, "natural"), ("packed", "cost")):
            runs = [
                find(record, "runs", network=network, data=data, method=method, pruned=None,
                     arch=arch, mapping=mapping)
                for method in ("imp", "u-ticket")
            ]  # fmt: skip
            if runs[0] is not None and runs[1] is not None:
                rows.append(
                    tenth(
                        f"{name}: energy of all actions that the counters see, `{arch}`",
                        stated / 100,
                        1 - runs[1]["energy_pj"] / runs[0]["energy_pj"],
                        reason=BROADCAST,
                    )
                )
                table.append(
                    [name, arch, *(one["energy_pj"] for one in runs if one),
                     *(one["by_action"]["memory_word"]["pj"] for one in runs if one)]
                )  # fmt: skip
    return section(
        "energy",
        "Energy",
        "Fig. 9 and section V-B-3",
        f"Eq. 3 with E_d / E_l = {ratio:g} ({source}): the paper states no ratio. Work and idle "
        "cycles are the paper's convention. Below them, what the table of energies "
        "(`sim/evenspike_sim/energy.toml`) gives of the hardware's own counts, with the memory "
        "port: another quantity, whose agreement would be chance.",
        rows,
        [
            {
                "title": "By the table of energies, pJ an image",
                "columns": [
                    {"name": "network", "format": "text"},
                    {"name": "preset", "format": "text"},
                    {"name": "LTH", "format": "count"},
                    {"name": "u-Ticket", "format": "count"},
                    {"name": "LTH: words of the port", "format": "count"},
                    {"name": "u-Ticket: words of the port", "format": "count"},
                ],
                "rows": table,
            }
        ],
    )


def _deviation(before: Data, after: Data) -> float:
    """Of the reduction, from those of work and idle cycles over the draws, taken as independent."""
    total = 0.0
    for one in (before, after):
        for key in ("work", "idle"):
            spread = one["paper_convention"][key]
            whole = one["paper_convention"]["work"]["mean"]
            total += ((spread["std"] or 0.0) / whole) ** 2
    return float(total**0.5)
