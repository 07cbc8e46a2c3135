"""Fig. 7: LTH and u-Ticket layer by layer."""

from __future__ import annotations

from evenspike.report.reproduction.parts import (
    SINGLE,
    Data,
    Row,
    claim,
    find,
    points,
    section,
)
from evenspike_core import published_uticket as paper

PAIR = {"network": "vgg16", "data": "cifar10", "pruned": None}
CYCLES = ("work", "idle", "latency")
KEYS = {
    "work": "work, PE-cycles",
    "idle": "idle, PE-cycles",
    "latency": "latency, cycles",
    "utilization": "utilization",
}


def layers(record: Data) -> Data:
    """The four panels, and the counters' own."""
    both = {
        method: find(record, "drawn", **PAIR, method=method, pes=paper.PES)
        for method in ("imp", "u-ticket")
    }
    runs = {
        method: find(record, "runs", **PAIR, method=method, arch=SINGLE, mapping="natural")
        for method in ("imp", "u-ticket")
    }
    before, after = both["imp"], both["u-ticket"]
    rows: list[Row] = []
    plots = []
    table: list[list[object]] = []
    if before is not None and after is not None:
        rows = _rows(before, after)
        names = [one["name"] for one in before["layers"]]
        for key, text in KEYS.items():
            plots.append(
                {
                    "x": {"label": "layer", "ticks": names},
                    "y": {"label": text},
                    "series": [
                        {"name": name, "points": points(
                            [(n, one[key]) for n, one in enumerate(entry["layers"])])}
                        for name, entry in (("LTH", before), ("u-Ticket", after))
                    ],
                }
            )  # fmt: skip
        for number, name in enumerate(names):
            line: list[object] = [name]
            for entry in (before, after):
                line += [entry["layers"][number][key] for key in KEYS]
            for run in runs.values():
                line += [run["layers"][number]["cycles"] if run else None]
            table.append(line)
        if runs["imp"] and runs["u-ticket"]:
            rows.append(_counted(runs["imp"], runs["u-ticket"]))
    return section(
        "layers",
        "Layer by layer",
        "Fig. 7",
        "VGG-16 on CIFAR10, fitted masks (one draw). The paper prints pictures; what it says of "
        "them is below. The last two columns are of the hardware's counters, `packed` with "
        "`slots=1`, and "
        "are another kind of cycle.",
        rows,
        [
            {
                "title": "Every layer",
                "columns": [{"name": "layer", "format": "text"}]
                + [
                    {"name": f"{name}: {key}", "format": "count" if key in CYCLES else "share"}
                    for name in ("LTH", "u-Ticket")
                    for key in KEYS
                ]
                + [{"name": f"{name}: cycles by the counters", "format": "count"}
                   for name in ("LTH", "u-Ticket")],
                "rows": table,
            }
        ],
        plots,
    )  # fmt: skip


def _rows(before: Data, after: Data) -> list[Row]:
    idle = [a["idle"] - b["idle"] for a, b in zip(before["layers"], after["layers"], strict=True)]
    half = len(idle) // 2
    early, late = sum(idle[:half]), sum(idle[half:])
    order = {
        key: [_largest_first([one[key] for one in entry["layers"]]) for entry in (before, after)]
        for key in ("work", "latency")
    }
    rows = [
        claim(
            "u-Ticket removes more idle cycles in the earlier layers",
            "earlier layers",
            f"{early:,.0f} in the first {half} layers, {late:,.0f} in the other {len(idle) - half}",
            early > late,
            reason="not here",
        )
    ]
    for key, text in (("work", "work cycles"), ("latency", "latency")):
        a, b = order[key]
        alike = sum(x == y for x, y in zip(a, b, strict=True))
        rows.append(
            claim(
                f"The layers' {text} share a trend: the three largest are the same",
                "similar trends",
                f"{alike} of {len(a)} layers have the same rank in both",
                a[:3] == b[:3],
                reason="other layers are the largest",
            )
        )
    return rows


def _largest_first(values: list[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda number: -values[number])


def _counted(before: Data, after: Data) -> Row:
    def waits(run: Data) -> float:
        return float(run["starved"] + run["waiting"])

    return claim(
        "By the counters, too: PEs wait less",
        "idle cycles vanish",
        f"starved and waiting PE-cycles {waits(before):,.0f} and {waits(after):,.0f}, of all "
        f"{waits(before) / (before['cycles'] * before['pes']):.3f} and "
        f"{waits(after) / (after['cycles'] * after['pes']):.3f}",
        waits(after) < 0.1 * waits(before),
        reason="a PE waits for spikes and for the others' spikes, which weights do not balance",
    )
