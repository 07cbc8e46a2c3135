"""How the views of a report write its numbers and names: one way everywhere."""
# ruff: noqa: RUF001  (a report is typeset: it has multiplication signs and dashes)

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evenspike.report.schema import Content
from evenspike.report.ticks import ENERGIES, unit
from evenspike_core.counters import STATES

DASH = "–"

STATE_TEXT = {
    "busy": "works on one or more weights that match an active neuron",
    "starved": "has its weights and no activation that matches one of them",
    "waiting": "is done and waits for the slowest PE, or for the layer's last write",
    "loading": "waits for the weights of the next chunk (first layer: for the input's spikes)",
    "draining": "hands its accumulators to the LIF units",
}
"""What a PE does in a cycle of each state."""

DEFINITIONS = {
    "cycles": "from the layer's first memory request to its last output write",
    "utilization": "busy PE-cycles / (PEs × cycles)",
    "efficiency": "accumulations / (PEs × adders × cycles); a PE has an adder for each timestep, "
    "and where it selects two weights a cycle so many up to the next power of two",
    "matched": "pairs of a living weight and an active neuron, one that fires in any timestep of a "
    "group: the weights that the PEs select",
    "bound": "the least cycles that a layer's weights take, spread evenly over the PEs and over "
    "their adders, and with nothing else to do: the larger of matched / (PEs × weights that a PE "
    "selects a cycle) and accumulations / (PEs × adders)",
    "over the mean": "busy cycles of the busiest PE of a layer above the mean over its PEs; of the "
    "whole network, of all layers' busiest PEs together",
    "dense": "the bound with every weight alive, on the same spikes; the first layer, whose spikes "
    "come from the host, as it is",
    "speed-up over dense": "dense / cycles: at least so much faster than the unpruned network",
    "speed-up over natural order": "cycles with filter f on PE f mod PEs / cycles, on the same "
    "images",
    "port": "words / cycles: the share of the run's cycles in which the memory port brings a word "
    "in; of a single layer it would mean nothing, since the next layer's words come ahead",
    "interval": "Wilson's score interval of the accuracy, 95 %: what so few images can tell",
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

BALANCE_TEXT = (
    "A layer ends when its slowest PE does, so the cycles follow the busiest PE, not the mean."
)

PAPER_TEXT = (
    "Static, from the weights alone: one living weight takes one PE-cycle for each output position "
    "and timestep, in groups of consecutive filters, without the first and the fully connected "
    "layers. It is for comparison with published tables, not with the cycles above."
)

ENERGY_TEXT = (
    "An estimate: counted actions times the energy that each takes on this accelerator, worked out "
    "of published figures. Wires of the clock tree and between blocks, what logic PEs share and "
    "the DRAM's row activations, refresh and pins are not in it. The source's DRAM access has "
    "two readings, 32 bits and 64; the first is shown, and the range is that of both."
)


def count(value: float) -> str:
    """A whole number with separators; what averages to less than one is not written as none."""
    if isinstance(value, int):
        return f"{value:,}"  # of any size
    return "<1" if 0 < value < 0.5 else f"{value:,.0f}"


def factor(value: float) -> str:
    """A ratio as a multiple."""
    return f"× {value:,.2f}" if value < 100 else f"× {value:,.0f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash for one that does not exist."""
    return DASH if share is None else f"{100 * share:.{digits}f} %"


def signed(share: float) -> str:
    """A deviation as a percentage with its sign."""
    return f"{100 * share:+.1f} %".replace("-", "−")


def action(name: str) -> str:
    """The name of an action in words: `and_gate` is an `AND gate`."""
    words = name.split("_")
    return " ".join(w.upper() if w in {"and", "lif", "fifo"} else w for w in words)


def energy(picojoules: float, of: float | None = None) -> str:
    """An energy in pJ, nJ, µJ or mJ: four significant digits.

    of: the largest of several that stand together, whose unit and decimals all of them have.
    """
    size, name = unit(picojoules if of is None else of, ENERGIES)
    if of is None:
        return f"{picojoules / size:.4g} {name}"
    whole = len(f"{abs(of) / size:.0f}")
    return f"{picojoules / size:,.{max(0, 4 - whole)}f} {name}"


def energy_range(report: Content) -> str:
    """Lowest and highest energy of the run by the readings of the table's sources."""
    low, high = report["energy"]["total_pj_range"]
    return f"{energy(low)} to {energy(high)}"


def shares(counts: Mapping[str, float]) -> dict[str, float]:
    """Share of each state in the PE-cycles of a layer or of the whole run; they add up to 1."""
    total = sum(counts[state] for state in STATES)
    return {state: counts[state] / total if total else 0.0 for state in STATES}


def timesteps(report: Content) -> str:
    """Timesteps of the network, and of the machine where it has another number."""
    used, there = report["compared"]["timesteps"], report["arch"]["timesteps"]
    if used > there:
        return f"{used} in groups of {there}"
    return str(used) if used == there else f"{used} of {there}"


def firing_rate(layer: Mapping[str, Any], timesteps: int) -> float | None:
    """Spikes out per output neuron (after pooling) and timestep; None where nothing fires."""
    s = layer["shape"]
    neurons = s["filters"] * (s["height"] // s["pool"]) * (s["width"] // s["pool"])
    return layer["spikes_out"] / (neurons * timesteps) if neurons and layer["spikes_out"] else None


def class_name(report: Content, label: int | None) -> str:
    """The name of a class, its number where the report has no names."""
    names: Sequence[str] = report.get("classes") or ()
    if label is None:
        return DASH
    return names[label] if 0 <= label < len(names) else str(label)


def verdict(report: Content) -> str:
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


LISTED = 8
"""Values of a list that are written out; of a longer one, the number of them."""


def facts(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(name, text) of every leaf of a nested object, names joined with a dot."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from facts(value, f"{name}.")
        else:
            yield name, fact(value)


def fact(value: Any) -> str:
    """A value in words."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: DASH}[value]
    if isinstance(value, int):
        return str(value) if abs(value) < 10_000 else count(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        if len(value) > LISTED or any(isinstance(item, dict | list) for item in value):
            return f"{len(value)} values"
        return ", ".join(map(fact, value))
    return f"{len(value)} values" if isinstance(value, dict) else str(value)


def machine(report: Content) -> str:
    """What the host is and how long it took."""
    host = report["machine"]
    if isinstance(host, Mapping):
        host = ", ".join(f"{name} {text}" for name, text in facts(host))
    times = ", ".join(f"{name} {value:.2f} s" for name, value in report["seconds"].items())
    return f"{times or DASH}, on {host}"


def paper(report: Content) -> list[tuple[str, str]]:
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


def balance(report: Content) -> float | None:
    """How far the busiest PE of each layer is above the mean over its PEs, of all layers together.

    None for a run in which no PE was ever busy.
    """
    busy = [layer["per_pe"]["busy"] for layer in report["layers"]]
    mean = sum(map(statistics.fmean, busy))
    return sum(map(max, busy)) / mean - 1 if mean else None


def balance_text(report: Content) -> str:
    """What the balance is about, and what the cycles were without the mapper's, if that was run."""
    natural = report.get("natural_order")
    if not natural:
        return BALANCE_TEXT
    several = natural["images"] != 1
    images = f"each image of a batch of {natural['images']}" if several else "the first image"
    return (
        f"{BALANCE_TEXT} With filters in their natural order {images} took "
        f"{count(natural['cycles'])} cycles, and {count(natural['mapped_cycles'])} as mapped here: "
        f"{factor(natural['speedup'])}."
    )


def interval(report: Content) -> str:
    """The accuracy's interval, or nothing where there is no accuracy."""
    ends = report["accuracy_interval"]
    return f"95 % interval {100 * ends[0]:.1f} to {100 * ends[1]:.1f} %" if ends else ""


def pes(report: Content) -> str:
    """How many PEs the machine has, of several clusters for each of them."""
    clusters, each = report["arch"].get("clusters", 1), report["arch"]["pes"]
    return f"{clusters} × {each}" if clusters > 1 else str(each)


def headline(report: Content) -> list[tuple[str, str, str]]:
    """(name, value, explanation) of the figures that a reader looks for first."""
    totals, clock = report["totals"], report["arch"]["clock_mhz"]
    program, images = report["program"], report["images"]
    of = f"{count(images)} image{'s' if images != 1 else ''}"
    added = count(totals["accumulations"])
    live = f"{count(program['nnz'])} of {count(program['weights'])} weights"
    over = balance(report)
    natural = report.get("natural_order")
    beside = f"; {factor(natural['speedup'])} over natural order (one image)" if natural else ""
    accuracy = DASH if report["accuracy"] is None else percent(report["accuracy"])
    told = f"{of}; {interval(report)} (Wilson)" if report["accuracy_interval"] else f"on {of}"
    batch = report.get("batch")
    time = f"{totals['latency_ms']:.4g} ms"
    latency = []
    if batch:
        note = f"{time} at {clock:g} MHz: a batch of {batch['images']} images"
        clusters = report["arch"].get("clusters", 1)
        if clusters > 1:
            note += f" on {clusters} clusters"
        copies = -images % batch["images"]
        if copies:
            of_it = "a copy" if copies == 1 else f"{copies} copies"
            note += f", the last one filled up with {of_it} of its last image"
        latency = [("Latency", f"{count(batch['cycles'])} cycles", note)]
    return [
        ("Cycles", count(totals["cycles"]), f"per image, average of {of}"),
        *latency,
        (
            "Frames/s",
            count(totals["frames_per_second"]),
            f"batch after batch, at {clock:g} MHz" if batch else f"{time} each, at {clock:g} MHz",
        ),
        (
            "Utilization",
            percent(totals["utilization"]),
            f"bound: {count(totals['bound_cycles'])} cycles",
        ),
        ("Busiest PEs", DASH if over is None else signed(over), "over the mean, layer by layer"),
        ("Speed-up", factor(totals["speedup_over_dense"]), f"over dense, at least{beside}"),
        ("Efficiency", percent(totals["efficiency"]), f"{added} accumulations"),
        ("Energy", energy(totals["energy_pj"]), f"per image, an estimate; {energy_range(report)}"),
        ("Accuracy", accuracy, told),
        ("Sparsity", percent(program["sparsity"], 2), live),
        ("Port", percent(totals["port_occupancy"]), f"{count(totals['words_loaded'])} words"),
    ]


def made(report: Content) -> str:
    """What made the report, and when."""
    command = report["command"] or "a call from Python"
    return f"evenspike {report['version']}, {report['date']}: {command}"
