"""The report's JSON: the keys it must have, and what in it must add up.

`docs/report.md` defines every key. A report is checked before anything is written: a view can only
be as true as its source, so shares that do not add up are an error and not a picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evenspike_core.counters import STATES
from evenspike_core.errors import EvenspikeError

Report = Mapping[str, Any]

COUNT, TEXT, BOOL, DICT, COUNTS = "a number >= 0", "text", "true or false", "an object", "numbers"
MAYBE, NUMBERS, NAMES = "a number or null", "a list of numbers", "text or an object"

STATE_COUNTS = dict.fromkeys(STATES, COUNT)
SHAPE = ("filters", "channels", "kernel", "stride", "height", "width", "pool")
UTILIZATION = ("layer_mean", "parameter_weighted", "pooled")

LAYER: dict[str, Any] = {
    "name": TEXT,
    "shape": dict.fromkeys(SHAPE, COUNT),
    "tile": NUMBERS,
    **dict.fromkeys(("filters_per_pass", "passes", "chunks", "cycles"), COUNT),
    **STATE_COUNTS,
    "utilization": COUNT,
    "per_pe": dict.fromkeys(STATES, NUMBERS),
    **dict.fromkeys(("words_loaded", "spikes_in", "spikes_out", "accumulations"), COUNT),
    **dict.fromkeys(("density", "energy_pj"), COUNT),
}

ACTION = {"count": COUNT, "pj_each": COUNT, "pj": COUNT, **dict.fromkeys(("unit", "node"), TEXT)}

SCHEMA: dict[str, Any] = {
    "model": TEXT,
    "arch": {"preset": TEXT, "digest": TEXT, "pes": COUNT, "timesteps": COUNT, "clock_mhz": COUNT},
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
    "totals": {
        **dict.fromkeys(("cycles", "utilization", "efficiency", "energy_pj"), COUNT),
        **dict.fromkeys(("latency_ms", "accumulations", "words_loaded"), COUNT),
        **STATE_COUNTS,
    },
    "paper_convention": {
        **dict.fromkeys(("work", "idle", "latency"), COUNT),
        "utilization": dict.fromkeys(UTILIZATION, MAYBE),
    },
    "layers": [LAYER],
    "energy": {"by_action": DICT, "total_pj": COUNT},
    "predictions": [{"index": COUNT, "label": MAYBE, "prediction": COUNT, "logits": NUMBERS}],
    "mapping": TEXT,
    "seconds": COUNTS,
    "machine": NAMES,
}
"""Required keys. `classes` (names), `divergence` (text) and further keys are optional."""

MAPPINGS = ("cost", "natural")


def plain(value: Any, where: str = "report") -> Any:
    """The same value in JSON's own types: numpy numbers and arrays become numbers and lists.

    Raises EvenspikeError naming the key of a value that JSON cannot hold (NaN included).
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise EvenspikeError(f"{where}: key {key!r} is not text")
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise EvenspikeError(f"{where} is {value}, not a finite number")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise EvenspikeError(f"{where} is a {type(value).__name__}, which JSON cannot hold")


def check(report: Report) -> None:
    """Raise EvenspikeError for a report with a missing or mistyped key, or sums that disagree.

    Parameters
    ----------
    report: in JSON's own types (`plain`).
    """
    _check_keys(report, SCHEMA, "report")
    if report["mapping"] not in MAPPINGS:
        raise EvenspikeError(f"report.mapping is {report['mapping']!r}, not one of {MAPPINGS}")
    if not report["layers"] or report["images"] < 1:
        raise EvenspikeError("report: at least one layer and one image are needed")
    for name, action in report["energy"]["by_action"].items():
        _check_keys(action, ACTION | {"source": TEXT}, f"report.energy.by_action.{name}")
    pes = report["arch"]["pes"]
    for index, layer in enumerate(report["layers"]):
        where = f"report.layers[{index}] ({layer['name']})"
        _check_states(where, layer, pes)
        _check_pes(where, layer, pes)
        if len(layer["tile"]) != 2:
            raise EvenspikeError(f"{where}: tile {layer['tile']} is not [height, width]")
    _check_states("report.totals", report["totals"], pes)
    _check_totals(report)
    _check_accuracy(report)


def _check_keys(value: Any, schema: Any, where: str) -> None:
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            raise EvenspikeError(f"{where} is not an object")
        for key, part in schema.items():
            if key not in value:
                raise EvenspikeError(f"{where}.{key} is missing")
            _check_keys(value[key], part, f"{where}.{key}")
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise EvenspikeError(f"{where} is not a list")
        for index, item in enumerate(value):
            _check_keys(item, schema[0], f"{where}[{index}]")
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
    types: dict[str, type | tuple[type, ...]] = {
        TEXT: str,
        BOOL: bool,
        DICT: dict,
        NAMES: (str, dict),
    }
    return isinstance(value, types[schema])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(a: float, b: float, tolerance: float = 1e-9) -> bool:
    """Equal but for the rounding of averages over images."""
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-6)


def _must(where: str, what: str, found: float, wanted: float, tolerance: float = 1e-9) -> None:
    if not _same(found, wanted, tolerance):
        raise EvenspikeError(f"{where}: {what}: {found:.10g} is not {wanted:.10g}")


def _check_states(where: str, counts: Mapping[str, Any], pes: int) -> None:
    """Every PE is in one state in every cycle."""
    total = sum(counts[state] for state in STATES)
    _must(where, f"{' + '.join(STATES)} = PEs x cycles", total, pes * counts["cycles"])
    if counts["cycles"]:
        share = counts["busy"] / (pes * counts["cycles"])
        _must(where, "utilization = busy / (PEs x cycles)", counts["utilization"], share, 1e-6)


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


def _check_totals(report: Report) -> None:
    totals, arch, energy = report["totals"], report["arch"], report["energy"]
    for key in ("cycles", "accumulations", "words_loaded", *STATES):
        summed = math.fsum(layer[key] for layer in report["layers"])
        _must("report.totals", f"{key} = sum over the layers", totals[key], summed)
    gates = arch["pes"] * arch["timesteps"] * totals["cycles"]
    if gates:
        share = totals["accumulations"] / gates
        what = "efficiency = accumulations / (PEs x timesteps x cycles)"
        _must("report.totals", what, totals["efficiency"], share, 1e-6)
    latency = totals["cycles"] / (arch["clock_mhz"] * 1e3)
    _must("report.totals", "latency_ms = cycles / clock", totals["latency_ms"], latency, 1e-6)
    summed = math.fsum(action["pj"] for action in energy["by_action"].values())
    _must("report.energy", "total_pj = sum over the actions", energy["total_pj"], summed, 1e-6)
    _must("report.totals", "energy_pj = energy.total_pj", totals["energy_pj"], summed, 1e-6)
    summed = math.fsum(layer["energy_pj"] for layer in report["layers"])
    _must("report.totals", "energy_pj = sum over the layers", totals["energy_pj"], summed, 1e-6)


def _check_accuracy(report: Report) -> None:
    """The accuracy is that of the predictions, where all are listed with their labels."""
    pairs = [(p["label"], p["prediction"]) for p in report["predictions"] if p["label"] is not None]
    if report["accuracy"] is not None and len(pairs) == report["images"]:
        right = sum(label == prediction for label, prediction in pairs) / len(pairs)
        _must("report", "accuracy = right predictions / images", report["accuracy"], right, 1e-6)
