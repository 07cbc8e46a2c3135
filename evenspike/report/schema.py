"""The report's JSON: the keys it must have, and what in it must add up.

`docs/report.md` defines every key. A report is checked before anything is made of it: a view can
only be as true as its source, so shares that do not add up are an error and not a picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evenspike.report.accuracy import accuracy
from evenspike_core.arch import Arch
from evenspike_core.counters import STATES
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import KINDS
from evenspike_core.metrics import least_cycles

Content = Mapping[str, Any]
"""A report's JSON."""

COUNT, TEXT, BOOL, DICT, COUNTS = "a number >= 0", "text", "true or false", "an object", "numbers"
MAYBE, NUMBERS, NAMES = "a number or null", "a list of numbers", "text or an object"
MAYBE_TEXT, INTERVAL = "text or null", "two numbers or null"

STATE_COUNTS = dict.fromkeys(STATES, COUNT)
SHAPE = ("filters", "channels", "height", "width", "pool")
KERNEL = ("kernel", "stride")
"""Of the shape; null of an input without a convolution."""
UTILIZATION = ("layer_mean", "parameter_weighted", "pooled")

LAYER: dict[str, Any] = {
    "name": TEXT,
    "shape": {**dict.fromkeys(SHAPE, COUNT), **dict.fromkeys(KERNEL, MAYBE)},
    "tile": NUMBERS,
    **dict.fromkeys(("filters_per_pass", "passes", "chunks", "cycles"), COUNT),
    **STATE_COUNTS,
    "utilization": COUNT,
    "per_pe": dict.fromkeys(STATES, NUMBERS),
    **dict.fromkeys(("words_loaded", "spikes_in", "spikes_out", "accumulations"), COUNT),
    **dict.fromkeys(("matched", "bound_cycles", "dense_cycles", "energy_pj"), COUNT),
    "density": MAYBE,
}

ACTION = {
    **dict.fromkeys(("count", "pj_each", "pj"), COUNT),
    "pj_range": NUMBERS,
    **dict.fromkeys(("unit", "node", "source"), TEXT),
}

BATCH = dict.fromkeys(("images", "cycles"), COUNT)
ARCH = ("pes", "timesteps", "issue", "slots", "gates", "clusters")
"""Fields that sums depend on; a report from before there were clusters has none."""
NATURAL = dict.fromkeys(("images", "cycles", "mapped_cycles", "speedup"), COUNT)

SCHEMA: dict[str, Any] = {
    "model": TEXT,
    "version": TEXT,
    "date": TEXT,
    "command": MAYBE_TEXT,
    "arch": {
        **dict.fromkeys(("preset", "digest"), TEXT),
        **dict.fromkeys(("pes", "timesteps", "issue", "clock_mhz"), COUNT),
    },
    "engine": TEXT,
    "program": {
        "digest": TEXT,
        "nnz": COUNT,
        "weights": COUNT,
        "sparsity": COUNT,
        "provenance": DICT,
    },
    "images": COUNT,
    "bit_exact": BOOL,
    "compared": {"spikes": COUNT, "layers": COUNT, "timesteps": COUNT},
    "accuracy": MAYBE,
    "accuracy_interval": INTERVAL,
    "totals": {
        **dict.fromkeys(("cycles", "utilization", "efficiency", "energy_pj"), COUNT),
        **dict.fromkeys(("latency_ms", "frames_per_second", "matched", "accumulations"), COUNT),
        **dict.fromkeys(("words_loaded", "port_occupancy"), COUNT),
        **dict.fromkeys(("bound_cycles", "dense_cycles", "speedup_over_dense"), COUNT),
        **STATE_COUNTS,
    },
    "paper_convention": {
        **dict.fromkeys(("work", "idle", "latency"), COUNT),
        "utilization": dict.fromkeys(UTILIZATION, MAYBE),
    },
    "layers": [LAYER],
    "energy": {"by_action": DICT, "total_pj": COUNT, "total_pj_range": NUMBERS},
    "predictions": [{"index": COUNT, "label": MAYBE, "prediction": COUNT, "logits": NUMBERS}],
    "mapping": TEXT,
    "seconds": COUNTS,
    "machine": NAMES,
}
"""Required keys. `batch` (`BATCH`), `natural_order` (`NATURAL`), `classes` (names), `divergence`
(text) and others are optional."""


def check(report: Content) -> None:
    """Raise EvenspikeError for a report with a missing or mistyped key, or sums that disagree.

    Parameters
    ----------
    report: in JSON's own types (`files.plain`).
    """
    check_keys(report, SCHEMA, "report")
    if report["mapping"] not in KINDS:
        raise EvenspikeError(f"report.mapping is {report['mapping']!r}, not one of {KINDS}")
    if not report["layers"] or report["images"] < 1:
        raise EvenspikeError("report: at least one layer and one image are needed")
    for name, action in report["energy"]["by_action"].items():
        where = f"report.energy.by_action.{name}"
        check_keys(action, ACTION, where)
        _check_range(f"{where}.pj_range", action["pj_range"], action["pj"])
    if "batch" in report:
        check_keys(report["batch"], BATCH, "report.batch")
    if "natural_order" in report:
        check_keys(report["natural_order"], NATURAL, "report.natural_order")
    names = [name for name in ARCH if name in report["arch"]]
    arch = Arch(**{name: report["arch"][name] for name in names})
    pes = arch.all_pes
    for index, layer in enumerate(report["layers"]):
        where = f"report.layers[{index}] ({layer['name']})"
        _check_states(where, layer, pes)
        _check_pes(where, layer, pes)
        least = least_cycles(layer["matched"], layer["accumulations"], arch)
        what = "bound_cycles = the least of matched weights and accumulations"
        _must(where, what, layer["bound_cycles"], least, 1e-6)
        if len(layer["tile"]) != 2:
            raise EvenspikeError(f"{where}: tile {layer['tile']} is not [height, width]")
    _check_states("report.totals", report["totals"], pes)
    _check_totals(report, arch)
    _check_accuracy(report)


def check_keys(value: Any, schema: Any, where: str) -> None:
    """Raise EvenspikeError, naming the key, for a value that is not what the schema says."""
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            raise EvenspikeError(f"{where} is not an object")
        for key, part in schema.items():
            if key not in value:
                raise EvenspikeError(f"{where}.{key} is missing")
            check_keys(value[key], part, f"{where}.{key}")
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise EvenspikeError(f"{where} is not a list")
        for index, item in enumerate(value):
            check_keys(item, schema[0], f"{where}[{index}]")
    elif not _matches(value, schema):
        raise EvenspikeError(f"{where} is {value!r}, not {schema}")


def _matches(value: Any, schema: str) -> bool:
    if schema == COUNT:
        return _is_number(value) and value >= 0
    if schema == MAYBE:
        return value is None or _is_number(value)
    if schema == NUMBERS:
        return isinstance(value, list) and all(map(_is_number, value))
    if schema == COUNTS:
        return isinstance(value, dict) and all(map(_is_number, value.values()))
    if schema == INTERVAL:
        pair = isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
        return value is None or pair
    types: dict[str, type | tuple[type, ...]] = {
        TEXT: str,
        MAYBE_TEXT: (str, type(None)),
        BOOL: bool,
        DICT: dict,
        NAMES: (str, dict),
    }
    return isinstance(value, types[schema])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(a: float, b: float, tolerance: float = 1e-9) -> bool:
    """Whether two numbers are equal but for the rounding of averages over images."""
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-6)


def _must(where: str, what: str, found: float, wanted: float, tolerance: float = 1e-9) -> None:
    if not _same(found, wanted, tolerance):
        raise EvenspikeError(f"{where}: {what}: {found:.10g} is not {wanted:.10g}")


def _check_states(where: str, row: Mapping[str, Any], pes: int) -> None:
    """Check that every PE is in one state in every cycle, and what follows from the counts."""
    total = sum(row[state] for state in STATES)
    _must(where, f"{' + '.join(STATES)} = PEs x cycles", total, pes * row["cycles"])
    if row["cycles"]:
        share = row["busy"] / (pes * row["cycles"])
        _must(where, "utilization = busy / (PEs x cycles)", row["utilization"], share, 1e-6)


def _check_pes(where: str, layer: Mapping[str, Any], pes: int) -> None:
    per_pe: Mapping[str, Sequence[float]] = layer["per_pe"]
    for state in STATES:
        if len(per_pe[state]) != pes:
            raise EvenspikeError(
                f"{where}: per_pe.{state} has {len(per_pe[state])} values for {pes} PEs"
            )
        _must(where, f"sum of per_pe.{state} = {state}", sum(per_pe[state]), layer[state])
    for pe in range(pes):
        total = sum(per_pe[state][pe] for state in STATES)
        _must(where, f"states of PE {pe} = cycles", total, layer["cycles"])


def _check_range(where: str, ends: Sequence[float], shown: float) -> None:
    if len(ends) != 2 or not 0 <= ends[0] <= ends[1]:
        raise EvenspikeError(f"{where} is not [low, high] of numbers >= 0")
    if not (_same(shown, ends[0], 1e-6) or _same(shown, ends[1], 1e-6)):
        raise EvenspikeError(f"{where}: {shown:.10g} is neither of its ends")


def _check_totals(report: Content, arch: Arch) -> None:
    totals, energy, clock_mhz = report["totals"], report["energy"], report["arch"]["clock_mhz"]
    keys = ("matched", "accumulations", "words_loaded", "bound_cycles", "dense_cycles")
    for key in ("cycles", *keys, *STATES):
        summed = math.fsum(layer[key] for layer in report["layers"])
        _must("report.totals", f"{key} = sum over the layers", totals[key], summed)
    additions = arch.all_pes * arch.adders * totals["cycles"]
    if additions:
        share = totals["accumulations"] / additions
        what = "efficiency = accumulations / (PEs x adders x cycles)"
        _must("report.totals", what, totals["efficiency"], share, 1e-6)
        port = totals["words_loaded"] / totals["cycles"]
        what = "port_occupancy = words_loaded / cycles"
        _must("report.totals", what, totals["port_occupancy"], port, 1e-6)
        speedup, frames = totals["dense_cycles"] / totals["cycles"], totals["frames_per_second"]
        what = "speedup_over_dense = dense_cycles / cycles"
        _must("report.totals", what, totals["speedup_over_dense"], speedup, 1e-6)
        clock = clock_mhz * 1e6 / totals["cycles"]
        _must("report.totals", "frames_per_second = clock / cycles", frames, clock, 1e-6)
    latency = totals["cycles"]
    if "batch" in report:
        latency, batch = report["batch"]["cycles"], report["batch"]["images"] * totals["cycles"]
        _must("report.batch", "cycles = images x cycles of one", latency, batch, 1e-6)
    latency /= clock_mhz * 1e3
    _must("report.totals", "latency_ms = cycles / clock", totals["latency_ms"], latency, 1e-6)
    summed = math.fsum(action["pj"] for action in energy["by_action"].values())
    _must("report.energy", "total_pj = sum over the actions", energy["total_pj"], summed, 1e-6)
    _check_range("report.energy.total_pj_range", energy["total_pj_range"], energy["total_pj"])
    for end, total in enumerate(energy["total_pj_range"]):
        ends = math.fsum(action["pj_range"][end] for action in energy["by_action"].values())
        _must("report.energy", "total_pj_range = sums over the actions", total, ends, 1e-6)
    _must("report.totals", "energy_pj = energy.total_pj", totals["energy_pj"], summed, 1e-6)
    summed = math.fsum(layer["energy_pj"] for layer in report["layers"])
    _must("report.totals", "energy_pj = sum over the layers", totals["energy_pj"], summed, 1e-6)


def _check_accuracy(report: Content) -> None:
    """Check that the accuracy is that of the predictions, where all are listed."""
    if len(report["predictions"]) != report["images"]:
        return
    wanted = accuracy(report["predictions"])
    if wanted["accuracy"] is None or report["accuracy"] is None:
        return
    what = "accuracy = right predictions / images"
    _must("report", what, report["accuracy"], wanted["accuracy"], 1e-6)
    found = report["accuracy_interval"] or [-1.0, -1.0]
    for end, value in zip(found, wanted["accuracy_interval"], strict=True):
        _must("report", "accuracy_interval = Wilson's of the predictions", end, value, 1e-6)
