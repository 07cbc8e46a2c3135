"""How the views of a report write its numbers and names: one way everywhere."""
# ruff: noqa: RUF001  (a report is typeset: it has multiplication signs and dashes)

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evenspike.report.schema import Report
from evenspike_core.counters import STATES

DASH = "–"

STATE_TEXT = {
    "busy": "works on a weight that matches an active neuron",
    "starved": "has its weights and no activation that matches one of them",
    "waiting": "is done and waits for the slowest PE, or for the layer's last write",
    "loading": "waits for the weights of the next chunk (first layer: for currents)",
    "draining": "hands its accumulators to the LIF units",
}
"""What the PE does in a cycle of each state."""

DEFINITIONS = {
    "cycles": "from the layer's first memory request to its last output write",
    "utilization": "busy PE-cycles / (PEs × cycles)",
    "efficiency": "accumulations / (PEs × AND gates × cycles); one gate for each timestep",
    "accumulations": "pairs of a spike and a living weight that were added, timesteps apart",
    "words": "words that the memory port brought in",
    "spikes": "true spikes (a neuron counts once for each timestep in which it fires), in: of all "
    "that the layer reads; out: after pooling",
    "firing rate": "spikes out / (output neurons × timesteps)",
    "F": "filters that a PE works on in one pass",
    "density": "living weights / weights of the dense layer",
}
"""Every quantity that a view shows and that its name does not say."""

STATES_SUM = (
    "In every cycle a PE is in exactly one of five states, so the five add up to PEs × cycles: in "
    "every layer, for every PE and in the total."
)

PAPER_TEXT = (
    "Static, from the weights alone: one living weight takes one PE-cycle for each output position "
    "and timestep, in groups of consecutive filters, without the first and the fully connected "
    "layers. It is for comparison with published tables, not with the cycles above."
)

ENERGY_TEXT = (
    "An estimate: counted actions times a published energy for each. Clock tree, control and wires "
    "between blocks are not in it."
)


def count(value: float) -> str:
    """A count with separators; a small average over images keeps one decimal."""
    if isinstance(value, int):
        return f"{value:,}"  # of any size
    return f"{value:,.0f}" if float(value).is_integer() or value >= 1e5 else f"{value:,.1f}"


def short(value: float) -> str:
    """Three significant digits with a prefix, for the axis of a picture."""
    for prefix, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g}{prefix}"
    return f"{value:.3g}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash for one that does not exist."""
    return DASH if share is None else f"{100 * share:.{digits}f} %"


def action(name: str) -> str:
    """`and_gate` as `AND gate`."""
    words = name.split("_")
    return " ".join(w.upper() if w in {"and", "lif", "fifo"} else w for w in words)


def energy(picojoules: float) -> str:
    """Four significant digits in pJ, nJ, µJ or mJ."""
    for unit, scale in (("mJ", 1e9), ("µJ", 1e6), ("nJ", 1e3)):
        if picojoules >= scale:
            return f"{picojoules / scale:.4g} {unit}"
    return f"{picojoules:.4g} pJ"


def shares(counts: Mapping[str, float]) -> dict[str, float]:
    """Share of each state in the PE-cycles of a layer or of the whole run; they add up to 1."""
    total = sum(counts[state] for state in STATES)
    return {state: counts[state] / total if total else 0.0 for state in STATES}


def firing_rate(layer: Mapping[str, Any], timesteps: int) -> float | None:
    """Spikes out per output neuron (after pooling) and timestep; None where nothing fires."""
    s = layer["shape"]
    neurons = s["filters"] * (s["height"] // s["pool"]) * (s["width"] // s["pool"])
    return layer["spikes_out"] / (neurons * timesteps) if neurons and layer["spikes_out"] else None


def class_name(report: Report, label: int | None) -> str:
    """The name of a class, its number where the report has no names."""
    names: Sequence[str] = report.get("classes") or ()
    if label is None:
        return DASH
    return names[label] if 0 <= label < len(names) else str(label)


def verdict(report: Report) -> str:
    """What was compared, with what outcome, and whether anything has saturated."""
    c = report["compared"]
    rtl = c.get("rtl") or {}
    what = f"{count(c['spikes'])} spike bits in {c['layers']} layers × {c['timesteps']} timesteps"
    if report["bit_exact"] or rtl.get("differences"):
        said = f"Bit-exact: all {what} equal the integer reference."
    else:
        said = f"NOT bit-exact: of {what}, not all equal the integer reference."
    if rtl:
        values = f"{count(rtl['spikes'])} spike bits and {count(rtl['counters'])} counters"
        equal = "NOT all" if rtl["differences"] else "all"
        said += (
            f" RTL, {rtl['images']} of the images, {count(rtl['cycles'])} cycles: {equal} {values} "
            "equal the cycle model's."
        )
    if report.get("divergence"):
        said += f" First: {report['divergence']}"
    saturated = [layer["name"] for layer in report["layers"] if layer.get("overflow")]
    if saturated:
        said += f" OVERFLOW: a sum has saturated in {', '.join(saturated)}."
    return said


def facts(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(name, text) of every leaf of a nested object, names joined with a dot."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from facts(value, f"{name}.")
        elif isinstance(value, bool) or value is None:
            yield name, {True: "yes", False: "no", None: DASH}[value]
        elif isinstance(value, int):
            yield name, str(value) if abs(value) < 10_000 else count(value)
        elif isinstance(value, float):
            yield name, f"{value:.6g}"
        elif isinstance(value, list):
            yield name, json.dumps(value, ensure_ascii=False)
        else:
            yield name, str(value)


def machine(report: Report) -> str:
    """What the host is and how long it took."""
    host = report["machine"]
    if isinstance(host, Mapping):
        host = ", ".join(f"{name} {text}" for name, text in facts(host))
    times = ", ".join(f"{name} {value:.2f} s" for name, value in report["seconds"].items())
    return f"{times or DASH}, on {host}"


def paper(report: Report) -> list[tuple[str, str]]:
    """(name, value) of the paper's convention."""
    given = report["paper_convention"]
    used = given["utilization"]
    return [
        ("work, PE-cycles", count(given["work"])),
        ("idle, PE-cycles", count(given["idle"])),
        ("latency, cycles", count(given["latency"])),
        ("utilization, mean of the layers", percent(used["layer_mean"])),
        ("utilization, weighted by parameters", percent(used["parameter_weighted"])),
        ("utilization, pooled", percent(used["pooled"])),
    ]


def headline(report: Report) -> list[tuple[str, str, str]]:
    """(name, value, explanation) of the figures that a reader looks for first."""
    totals, clock = report["totals"], report["arch"]["clock_mhz"]
    program, images = report["program"], report["images"]
    of = f"{images} image{'s' if images != 1 else ''}"
    added = count(totals["accumulations"])
    live = f"{count(program['nnz'])} of {count(program['weights'])} weights"
    accuracy = DASH if report["accuracy"] is None else percent(report["accuracy"])
    return [
        ("Cycles", count(totals["cycles"]), f"per image, average of {of}"),
        ("Latency", f"{totals['latency_ms']:.4g} ms", f"at {clock:g} MHz"),
        ("Utilization", percent(totals["utilization"]), "busy PE-cycles of all"),
        ("Efficiency", percent(totals["efficiency"]), f"{added} accumulations"),
        ("Energy", energy(totals["energy_pj"]), "per image, an estimate"),
        ("Accuracy", accuracy, f"on these {of}" if images != 1 else "on this image"),
        ("Sparsity", percent(program["sparsity"], 2), live),
        ("Words", count(totals["words_loaded"]), "brought in by the memory port"),
    ]
