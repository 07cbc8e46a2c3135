"""Fig. 10: energy and latency against the number of PEs, and the benefit against sparsity."""

from __future__ import annotations

import itertools

from evenspike.report.reproduction.energy import drawn_energy
from evenspike.report.reproduction.parts import (
    BROADCAST,
    TENTH,
    TITLES,
    Data,
    Row,
    claim,
    each,
    points,
    section,
)
from evenspike_core import published_uticket as paper

PAIR = {"network": "vgg16", "data": "cifar10", "pruned": None}


def scaling(record: Data) -> Data:
    """Both panels, in the paper's convention and by the counters."""
    ratio = record["ratio"]["value"]
    drawn = {
        method: sorted(each(record, "drawn", **PAIR, method=method), key=lambda one: one["pes"])
        for method in ("imp", "u-ticket")
    }
    runs = {
        method: sorted(
            (one for one in each(record, "runs", **PAIR, method=method, mapping="cost")
             if one["arch"].partition(",")[0] == "packed"),
            key=lambda one: one["pes"],
        )
        for method in ("imp", "u-ticket")
    }  # fmt: skip
    rows = _pes(drawn["u-ticket"], runs["u-ticket"], ratio)
    benefits = {network: _benefit(record, network, ratio) for network in TITLES}
    for network, found in benefits.items():
        rows += _grows(f"Fig. 10 (b), {TITLES[network]}: energy by Eq. 3", found)
    counted = _counted(record)
    rows += _grows("Fig. 10 (b), VGG-16: cycles by the counters", counted)
    table: list[list[object]] = []
    for number in dict.fromkeys(one["pes"] for one in drawn["imp"]):
        line: list[object] = [number]
        for method in ("imp", "u-ticket"):
            same = [one for one in drawn[method] if one["pes"] == number]
            counts = same[0]["paper_convention"] if same else {}
            line += [counts.get("latency"), drawn_energy(same[0], ratio) if same else None]
            other = [one for one in runs[method] if one["pes"] == number]
            line += [other[0]["cycles"], other[0]["energy_pj"]] if other else [None, None]
        area = [one for one in record["areas"] if one["pes"] == number
                and one["arch"].startswith("packed") and "fifo" not in one["arch"]]  # fmt: skip
        table.append([*line, area[0]["transistors"] if area else None])
    heads = [
        {"name": f"{name}: {text}", "format": "count"}
        for name in ("LTH", "u-Ticket")
        for text in ("latency", "Eq. 3", "cycles by the counters", "energy, pJ")
    ]
    return section(
        "scaling",
        "Number of PEs, and sparsity",
        "Fig. 10",
        "(a) VGG-16 on CIFAR10; a u-Ticket is made for each number of PEs. By the counters on "
        "`packed`, with a spike memory for as many neurons at every number. (b) The same masks of "
        "LTH before and after balancing, at the sparsity of every round of 25 %: what balance "
        "saves with nothing else changed; Eq. 3 with Table III's sparsity of spikes in every "
        "round. The paper's own u-Tickets are sparser than LTH beside them, too.",
        rows,
        [
            {
                "title": "Every number of PEs",
                "columns": [
                    {"name": "PEs", "format": "count"},
                    *heads,
                    {"name": "transistors", "format": "count"},
                ],
                "rows": table,
            }
        ],
        [
            {
                "x": {"label": "PEs", "log": True},
                "y": {"label": "latency, cycles of the paper's convention"},
                "series": [
                    {"name": name,
                     "points": points([(one["pes"], one["paper_convention"]["latency"])
                                       for one in drawn[method]])}
                    for name, method in (("LTH", "imp"), ("u-Ticket", "u-ticket"))
                ],
            },
            {
                "x": {"label": "PEs", "log": True},
                "y": {"label": "cycles by the counters, packed"},
                "series": [
                    {"name": name,
                     "points": points([(one["pes"], one["cycles"]) for one in runs[method]])}
                    for name, method in (("LTH", "imp"), ("u-Ticket", "u-ticket"))
                ],
            },
            {
                "x": {"label": "sparsity of the weights, %"},
                "y": {"label": "saved by balance, %"},
                "series": [
                    *({"name": f"{TITLES[network]}, Eq. 3",
                       "points": points([(100 * x, 100 * y) for x, y in found])}
                      for network, found in benefits.items()),
                    {"name": "VGG-16, cycles by the counters",
                     "points": points([(100 * x, 100 * y) for x, y in counted])},
                ],
            },
        ],
    )  # fmt: skip


def _pes(drawn: list[Data], runs: list[Data], ratio: float) -> list[Row]:
    rows: list[Row] = []
    if len(drawn) > 1:
        energies = [drawn_energy(one, ratio) for one in drawn]
        change = max(energies) / min(energies) - 1
        rows.append(
            claim(
                f"Fig. 10 (a): u-Ticket's energy by Eq. 3, {drawn[0]['pes']} to {drawn[-1]['pes']} "
                "PEs",
                "only slightly changes",
                f"changes by {100 * change:.1f} %",
                change <= TENTH,
                reason="rounding up in every group costs weights",
            )
        )
        cycles = [one["paper_convention"]["latency"]["mean"] * one["pes"] for one in drawn]
        rows.append(_linear("the paper's convention", drawn, cycles))
    if len(runs) > 1:
        cycles = [one["cycles"] * one["pes"] for one in runs]
        rows.append(_linear("the counters, `packed`", runs, cycles))
        energies = [one["energy_pj"] for one in runs]
        change = max(energies) / min(energies) - 1
        rows.append(
            claim(
                "Fig. 10 (a): u-Ticket's energy by the counters, memories and clock with it",
                "only slightly changes",
                f"changes by {100 * change:.0f} %",
                change <= TENTH,
                reason="memories leak and clocks run longer with few PEs, and each PE has its own",
            )
        )
    return rows


def _linear(kind: str, found: list[Data], products: list[float]) -> Row:
    """Latency times PEs is constant where latency falls as PEs grow."""
    change = max(products) / min(products) - 1
    return claim(
        f"Fig. 10 (a): u-Ticket's latency falls with the PEs, {found[0]['pes']} to "
        f"{found[-1]['pes']}, {kind}",
        "decreases linearly",
        f"latency × PEs changes by {100 * change:.0f} %",  # noqa: RUF001
        change <= TENTH,
        reason=BROADCAST if "counters" in kind else "rounding up in every group costs weights",
    )


def _benefit(record: Data, network: str, ratio: float) -> list[tuple[float, float]]:
    """(sparsity, share of the energy by Eq. 3 that balance saves), round by round."""
    found = []
    for one in each(record, "drawn", network=network, method="imp", data="cifar10"):
        other = each(record, "drawn", network=network, method="imp, balanced", data="cifar10",
                     pruned=one["pruned"])  # fmt: skip
        if one["pruned"] is not None and other:
            saved = 1 - drawn_energy(other[0], ratio) / drawn_energy(one, ratio)
            found.append((one["sparsity"], saved))
    return sorted(found)


def _counted(record: Data) -> list[tuple[float, float]]:
    """(sparsity, share of the cycles that balance saves), by the counters."""
    found = []
    for one in each(record, "runs", network="vgg16", method="imp"):
        other = each(record, "runs", network="vgg16", method="imp, balanced",
                     pruned=one["pruned"], arch=one["arch"])  # fmt: skip
        if one["pruned"] is not None and other:
            kept = (1 - paper.ROUND_RATE) ** one["pruned"]
            found.append((1 - kept, 1 - other[0]["cycles"] / one["cycles"]))
    return sorted(found)


def _grows(what: str, found: list[tuple[float, float]]) -> list[Row]:
    if len(found) < 2:
        return []
    values = [y for _, y in found]
    grows = all(b >= a - 1e-3 for a, b in itertools.pairwise(values))
    return [
        claim(
            f"{what}: the benefit of balance grows with sparsity",
            "gets larger",
            f"{100 * values[0]:.1f} % to {100 * values[-1]:.1f} % saved, "
            f"{100 * max(values):.1f} % at most",
            grows and values[-1] > values[0],
            reason="not at every step: by the counters balance of weights saves little at any"
            if "counters" in what
            else "not at every step",
        )
    ]
