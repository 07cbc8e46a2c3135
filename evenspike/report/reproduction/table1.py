"""Table I and Fig. 1: what FIFOs, assignment and packing do beside balanced weights."""

from __future__ import annotations

from evenspike.report.reproduction.parts import (
    BROADCAST,
    SINGLE,
    Data,
    Row,
    claim,
    each,
    find,
    points,
    same_network,
    section,
    tenth,
)
from evenspike_core import published_uticket as paper
from evenspike_core.arch import preset

PAIR = {"network": "vgg16", "data": "cifar10", "pruned": None}
LTH, BALANCED = "imp", "imp, balanced"


def table1(record: Data) -> Data:
    """Utilization, cycles, area and energy of the ways to balance."""
    ways = _ways(record)
    convention = {
        method: find(record, "drawn", **PAIR, method=method, pes=paper.PES)
        for method in (LTH, BALANCED)
    }
    gain = None
    if all(convention.values()):
        before, after = (one["paper_convention"]["latency"]["mean"]  # type: ignore[index]
                         for one in convention.values())  # fmt: skip
        gain = before / after
    rows: list[Row] = []
    if ways:
        rows += _rows(record, ways, gain)
    plot = {
        "x": {"label": "entries of each PE's FIFO", "log": True},
        "y": {"label": "cycles"},
        "series": [
            {"name": f"{name}, one filter a pass", "points": points(
                [(w["fifo"], w[key]["cycles"]) for w in ways if w["preset"] == SINGLE])}
            for name, key in (("LTH", "lth"), ("LTH, balanced", "balanced"))
        ],
    }  # fmt: skip
    return section(
        "table1",
        "Ways to balance",
        "Table I and Fig. 1",
        "VGG-16 on CIFAR10 with LTH's fitted masks, and the same masks with every filter of 16 "
        "brought to their mean: balance alone, nothing else changed. By the hardware's counters, "
        "with deeper FIFOs (one filter a PE and pass, `packed` with `slots=1`), with many "
        "filters packed "
        "into a pass (`packed`), and with filters assigned to PEs by their cost. There is no "
        "shuffling or permuting network: the mapper permutes the output channels, and the next "
        "layer's weights absorb it. Area: transistors by the estimate behind `make compare`; "
        "extra, beside a FIFO of one entry.",
        rows,
        [
            {
                "title": "Every way",
                "columns": [
                    {"name": name, "format": form}
                    for name, form in (
                        ("preset", "text"),
                        ("FIFO", "count"),
                        ("assignment", "text"),
                        ("LTH: cycles", "count"),
                        ("utilization", "share"),
                        ("energy, pJ", "count"),
                        ("balanced: cycles", "count"),
                        ("utilization", "share"),
                        ("energy, pJ", "count"),
                        ("gain of balance", "factor"),
                        ("transistors", "count"),
                        ("extra area", "share"),
                    )
                ],
                "rows": [
                    [
                        way["preset"],
                        way["fifo"],
                        way["mapping"],
                        *(way["lth"][k] for k in ("cycles", "utilization", "energy_pj")),
                        *(way["balanced"][k] for k in ("cycles", "utilization", "energy_pj")),
                        way["gain"],
                        way["transistors"],
                        way["extra"],
                    ]
                    for way in ways
                ],
            }
        ],
        [plot],
    )


def _ways(record: Data) -> list[Data]:
    found = []
    for one in each(record, "runs", **PAIR, method=LTH, pes=paper.PES):
        other = find(record, "runs", **PAIR, method=BALANCED, arch=one["arch"],
                     mapping=one["mapping"])  # fmt: skip
        if other is None:
            continue
        machine = preset(one["arch"])
        name = SINGLE if one["arch"].startswith(SINGLE) else one["arch"].partition(",")[0]
        bare = f"{name},fifo_depth=1"
        least = find(record, "areas", arch=bare)
        found.append(
            {
                "preset": name,
                "fifo": machine.fifo_depth,
                "mapping": one["mapping"],
                "lth": one,
                "balanced": other,
                "gain": one["cycles"] / other["cycles"],
                "transistors": one["transistors"],
                "extra": one["transistors"] / least["transistors"] - 1 if least else None,
            }
        )
    order = ("natural", "cost")
    return sorted(
        found,
        key=lambda way: (way["preset"] != SINGLE, way["fifo"], order.index(way["mapping"])),
    )


def _rows(record: Data, ways: list[Data], gain: float | None) -> list[Row]:
    fifos = [way for way in ways if way["preset"] == SINGLE]
    rows: list[Row] = []
    if gain is not None:
        rows += [
            tenth(
                f"Gain of balance alone, FIFO of {way['fifo']}: the paper's convention on our "
                "masks, and by the counters",
                gain,
                way["gain"],
                form="factor",
                reason=BROADCAST,
            )
            for way in fifos
        ]
    if fifos:
        deepest = max(fifos, key=lambda way: way["fifo"])
        least = min(fifos, key=lambda way: way["fifo"])
        sparsity, _, stated = paper.BALANCERS["GoSPA"]
        rows += [
            same_network(
                f"Utilization with FIFOs (GoSPA at {sparsity:g} % sparse; ours at 98.2 %, "
                f"{deepest['fifo']} entries)",
                stated / 100,
                deepest["lth"]["utilization"],
                reason="another sparsity, and loads and drains are among our cycles",
            ),
            tenth(
                f"Area that FIFOs add ({deepest['fifo']} entries)",
                paper.FIFO_AREA / 100,
                deepest["extra"],
                reason="the paper says neither the FIFO's depth nor what the share is of",
            ),
            claim(
                "Deeper FIFOs recover utilization",
                "70 % with FIFOs",
                f"LTH: {least['lth']['utilization']:.3f} with {least['fifo']} entries, "
                f"{deepest['lth']['utilization']:.3f} with {deepest['fifo']}",
                deepest["lth"]["utilization"] > least["lth"]["utilization"],
                reason="they do not",
            ),
        ]
    packed = [way for way in ways if way["preset"] == "packed"]
    shallow = [way for way in fifos if way["fifo"] == preset(SINGLE).fifo_depth]
    for way in packed:
        for base in shallow:
            better = base["lth"]["cycles"] / way["lth"]["cycles"]
            kind = "and filters assigned by cost" if way["mapping"] == "cost" else "in their order"
            rows.append(
                claim(
                    "Balanced weights are what saves cycles: beside filters packed into a pass, "
                    f"{kind}",
                    "balance",
                    f"packing gains × {better:.2f} over `packed,slots=1` on LTH's own masks, "  # noqa: RUF001
                    "balance there "
                    f"× {base['gain']:.2f}",  # noqa: RUF001
                    better <= base["gain"],
                    reason="packing needs neither balanced weights nor a deeper FIFO",
                )
            )
    one = find(record, "drawn", **PAIR, method="u-ticket", pes=paper.PES)
    if one is not None:
        rows.append(
            same_network(
                "Utilization of u-Ticket without extra hardware, paper's convention",
                paper.BALANCERS["u-Ticket"][2] / 100,
                one["paper_convention"]["layer_mean"],
                reason="not balanced",
            )
        )
    run = find(record, "runs", **PAIR, method="u-ticket", arch=SINGLE, mapping="natural")
    if run is not None:
        rows.append(
            same_network(
                "The same by the counters, `packed` with `slots=1`",
                paper.BALANCERS["u-Ticket"][2] / 100,
                run["utilization"],
                reason=BROADCAST,
            )
        )
    return rows
