"""The JSON of a report: no key is missing, and what must add up does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from evenspike.report import format as fmt
from evenspike.report.accuracy import accuracy
from evenspike.report.pages import Report
from evenspike.report.schema import LAYER, SCHEMA, check
from evenspike_core.counters import STATES
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import plain
from evenspike_core.wilson import wilson
from tests.helpers.synthetic_report import PES, Data, at, synthetic_report

DOCS = Path(__file__).parents[2] / "docs" / "report.md"


def schema_paths(schema: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(schema, dict):
        for key, part in schema.items():
            yield (*path, key)
            yield from schema_paths(part, (*path, key))
    elif isinstance(schema, list):
        yield from schema_paths(schema[0], (*path, 0))


@pytest.mark.parametrize("path", list(schema_paths(SCHEMA)), ids=lambda p: ".".join(map(str, p)))
def test_every_key_is_required_and_typed(path: tuple[str | int, ...]) -> None:
    data = synthetic_report()
    value = at(data, path)
    at(data, path[:-1])[path[-1]] = object()
    with pytest.raises(EvenspikeError, match=re.escape(str(path[-1]))):
        check(data)
    del at(data, path[:-1])[path[-1]]
    with pytest.raises(EvenspikeError, match=rf"\.{path[-1]} is missing"):
        check(data)
    at(data, path[:-1])[path[-1]] = value
    check(data)


def test_every_key_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    names = {path[-1] for path in schema_paths(SCHEMA)} | set(LAYER)
    missing = sorted(str(name) for name in names if f"`{name}`" not in text)
    assert missing == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("mapping",), "random", "report.mapping is 'random'"),
        (("layers",), [], "at least one layer and one image"),
        (("images",), 0, "at least one layer and one image"),
        (("totals", "cycles"), -1, "report.totals.cycles is -1, not a number >= 0"),
        (("images",), True, "report.images is True, not a number"),
        (("layers", 2, "tile"), [4], r"layers\[2\] \(conv3\): tile \[4\] is not \[height, width\]"),
        (("energy", "by_action", "lif_step"), {"count": 1}, r"lif_step\.pj_each is missing"),
        (("energy", "total_pj_range"), [1.0], r"total_pj_range is not \[low, high\]"),
        (
            ("energy", "by_action", "memory_word", "pj_range"),
            [2.0, 1.0],
            r"word.pj_range is not \[",
        ),
        (("energy", "by_action", "lif_step", "pj_range"), [0.0, 1.0], "is neither of its ends"),
        (("predictions", 1, "logits"), ["1"], r"predictions\[1\]\.logits is \['1'\]"),
        (("accuracy_interval",), [0.5], r"accuracy_interval is \[0.5\], not two numbers or null"),
        (("natural_order",), {"images": 1, "cycles": 2}, "natural_order.mapped_cycles is missing"),
    ],
)
def test_bad_values(path: tuple[str | int, ...], value: object, message: str) -> None:
    data = synthetic_report()
    at(data, path[:-1])[path[-1]] = value
    with pytest.raises(EvenspikeError, match=message):
        check(data)


def test_numpy_is_taken_and_nan_is_not(tmp_path: Path) -> None:
    data = synthetic_report()
    data["layers"][0]["per_pe"] = {
        state: np.array(values) for state, values in data["layers"][0]["per_pe"].items()
    }
    data["totals"]["cycles"] = np.int64(data["totals"]["cycles"])
    data["predictions"] = tuple(data["predictions"])
    Report(data).save(tmp_path)
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(synthetic_report()))
    data["accuracy"] = float("nan")
    with pytest.raises(EvenspikeError, match=r"report\.accuracy is nan, not a finite number"):
        Report(data)
    with pytest.raises(EvenspikeError, match=r"report\.x\[1\] is a set, which JSON cannot hold"):
        plain({"x": [1, {2}]})
    with pytest.raises(EvenspikeError, match="key 3 is not text"):
        plain({3: 1})


def spoil(data: Data, where: str) -> None:
    layer, totals = data["layers"][1], data["totals"]
    if where == "layer":
        layer["busy"] += 1
    elif where == "moved":  # the sum holds, the PEs disagree
        layer["busy"] += 1
        layer["starved"] -= 1
    elif where == "pe":  # sums over the PEs hold, two PEs have impossible cycles
        layer["per_pe"]["busy"][0] += 1
        layer["per_pe"]["busy"][1] -= 1
    elif where == "narrow":
        layer["per_pe"]["waiting"].pop()
    elif where == "totals":
        totals["draining"] += PES
        totals["cycles"] += 1
        totals["utilization"] = totals["busy"] / (PES * totals["cycles"])
    elif where == "average":
        layer["cycles"] += 0.1
    else:
        *outer, key = (int(part) if part.isdecimal() else part for part in where.split("."))
        at(data, tuple(outer))[key] *= 1.01


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("layer", r"\(conv2\): busy \+ starved .* = PEs x cycles: 3712001 is not 3712000"),
        ("moved", r"\(conv2\): utilization|\(conv2\): sum of per_pe.busy"),
        ("pe", r"\(conv2\): states of PE 0 = cycles: 232001 is not 232000"),
        ("narrow", r"\(conv2\): per_pe.waiting has 15 values for 16 PEs"),
        ("totals", "report.totals: cycles = sum over the layers"),
        ("average", r"\(conv2\): busy \+ starved .* is not 3712001.6"),
        ("totals.utilization", "utilization = busy"),
        ("totals.efficiency", "efficiency = accumulations"),
        ("totals.latency_ms", "latency_ms = cycles / clock"),
        ("totals.words_loaded", "words_loaded = sum over the layers"),
        ("totals.accumulations", "accumulations = sum over the layers"),
        ("totals.energy_pj", "energy_pj = energy.total_pj"),
        ("energy.total_pj", "total_pj = sum over the actions"),
        ("totals.bound_cycles", "bound_cycles = sum over the layers"),
        ("totals.matched", "matched = sum over the layers"),
        ("layers.1.bound_cycles", "bound_cycles = the least of matched weights and accumulations"),
        ("totals.dense_cycles", "dense_cycles = sum over the layers"),
        ("totals.speedup_over_dense", "speedup_over_dense = dense_cycles / cycles"),
        ("totals.port_occupancy", "port_occupancy = words_loaded / cycles"),
        ("totals.frames_per_second", "frames_per_second = clock / cycles"),
        ("accuracy", "accuracy = right predictions / images"),
        ("accuracy_interval.0", "accuracy_interval = Wilson's"),
    ],
)
def test_sums_that_disagree_are_no_report(where: str, message: str) -> None:
    data = synthetic_report()
    spoil(data, where)
    with pytest.raises(EvenspikeError, match=message):
        Report(data)


def test_a_range_that_disagrees() -> None:
    data = synthetic_report()
    data["energy"]["total_pj_range"][0] *= 0.9
    with pytest.raises(EvenspikeError, match="total_pj_range = sums over the actions"):
        check(data)


def test_a_layer_energy_that_disagrees() -> None:
    data = synthetic_report()
    data["layers"][0]["energy_pj"] *= 2
    with pytest.raises(EvenspikeError, match="energy_pj = sum over the layers"):
        Report(data)


def test_averages_over_images_add_up() -> None:
    data = synthetic_report()
    for row in [*data["layers"], data["totals"]]:
        for key in ("cycles", "matched", "accumulations", "bound_cycles", "dense_cycles", *STATES):
            row[key] /= 3
    for layer in data["layers"]:
        layer["per_pe"] = {s: [n / 3 for n in values] for s, values in layer["per_pe"].items()}
    data["totals"]["latency_ms"] /= 3
    data["totals"]["frames_per_second"] *= 3
    data["totals"]["port_occupancy"] *= 3
    check(data)
    assert fmt.count(data["layers"][2]["cycles"]) == "23,667"
    assert [fmt.count(value) for value in (0.0, 0.1, 0.7, 10**20)] == [
        "0",
        "<1",
        "1",
        f"{10**20:,}",
    ]


def test_the_interval_is_wilsons() -> None:
    for right, of in ((9, 10), (0, 4), (4, 4), (903, 1000)):
        wanted = binomtest(right, of).proportion_ci(0.95, "wilson")
        assert wilson(right, of) == pytest.approx(list(wanted), abs=1e-12)
    labels: list[Data] = [{"label": 1, "prediction": 1}, {"label": None, "prediction": 1}]
    assert accuracy(labels) == {"accuracy": 1.0, "accuracy_interval": wilson(1, 1)}
    assert accuracy(labels[1:]) == {"accuracy": None, "accuracy_interval": None}
