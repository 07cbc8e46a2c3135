"""The ADMM paper's tables, made of small runs: cells, record, page, and what goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from evenspike.flows import tables as flow
from evenspike.report.compression import figure
from evenspike_core import published_admm as published
from evenspike_core.documents import read_json
from evenspike_core.errors import EvenspikeError
from evenspike_train.runs.run_record import digest
from tests.helpers.training import write_set

RECIPE = """
name = "small"
seed = 1
[data]
name = "fmnist"
validation = 10
[augmentation]
flip = false
shift = 0
[network]
name = "lenet5"
width = 2
timesteps = 2
input = "bernoulli"
[network.neuron]
gain = 1.0
threshold = 0.2
surrogate = "boxcar"
alpha = 0.5
[method]
name = "admm"
bits = 1
[optimizer]
name = "adam"
batch = 15
weight_decay = 0.0
loss = "rate"
[dense]
images = 60
timesteps = 2
lr = 0.01
[round]
images = 30
timesteps = 2
[final]
images = 30
timesteps = 2
[compute]
precision = "fp32"
round_validation = 10
round_cycles_images = 0
"""


def test_a_table_from_nothing_to_its_page(tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    given: dict[str, Any] = {
        "recipe": str(recipe),
        "seeds": (1,),
        "folder": tmp_path / "runs",
        "out": tmp_path / "pages",
        "data": write_set(tmp_path),
    }
    trained: list[str] = []
    found = flow.tables(["III"], **given, done=lambda name, _: trained.append(name))
    assert not found.failed
    assert len(trained) == 5
    # One dense network for all of them.
    logs = [(tmp_path / "runs" / "runs" / name / "log.jsonl").read_text() for name in trained]
    assert sum('"taken_from"' in log for log in logs) == 4
    record = read_json(tmp_path / "pages" / "admm-mnist.json", "record", dict)
    assert len(record["cells"]) == 5
    rows = next(t for t in record["tables"] if t["title"].startswith("Table III"))["rows"]
    assert [row[2] for row in rows] == ["32 (FP)", "4", "3", "2", "1"]
    assert [row[7] for row in rows] == [100, 12.5, 9.375, 6.25, 3.125]  # R_mem
    text = (tmp_path / "pages" / "admm-mnist.md").read_text()
    assert "## Table III: Quantisation" in text
    assert "Figure 4" in text
    # The same call trains nothing, and keeps what there is.
    again: list[str] = []
    flow.tables(["III"], **given, done=lambda name, _: again.append(name))
    assert again == []
    assert read_json(tmp_path / "pages" / "admm-mnist.json", "record", dict) == record


def test_cells_of_the_recipe_as_it_was_do_not_stay(tmp_path: Path) -> None:
    run = flow._run(flow.RECIPE, "dense", published.DENSE, 1)
    one = cell("dense", published.DENSE, 99.0, 0.1) | {"recipe_digest": digest(run.recipe)}
    other = one | {"seed": 2}  # whose recipe has another text
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"recipe": flow.RECIPE, "cells": [one, other]}))
    assert [found["seed"] for found in flow._earlier(record, flow.RECIPE)] == [1]
    assert list(flow._earlier(record, "another")) == []


def test_every_point_is_a_run_once() -> None:
    assert len(figure.cells(["II"])) == len(published.PRUNING)
    assert len(figure.cells(["VII"])) == 1 + 2 * len(published.HARD)
    everything = figure.cells(figure.TABLES)
    assert len(everything) == len(set(everything))
    assert everything[0] == ("dense", published.DENSE)


def cell(method: str, at: tuple[float, int, float], accuracy: float, rate: float) -> dict[str, Any]:
    point = list(at)
    return {
        "name": f"{method}-{at}",
        "method": method,
        "point": point,
        "seed": 1,
        "accuracy": accuracy,
        "rate": rate,
        "living": {"conv2": 0.5, "fc1": 0.7},
        "seconds": 1.0,
    }


def test_bars_say_what_is_met() -> None:
    """The paper's own figures meet every bar but those of Table VII, which it has on CIFAR10."""
    found = [
        cell("dense", published.DENSE, 99.07, 0.33),
        cell("admm", (0.5, 0, 0.0), 99.10, 0.3),
        cell("hard", (0.5, 0, 0.0), 99.20, 0.3),
        cell("admm", (0.25, 1, 0.01), 98.81, 0.13),
    ]
    facts = {"recipe": "x"}
    bars = {bar["bar"]: bar for bar in figure.made(found, {}, facts)["bars"]}
    assert bars["dense accuracy, %"]["met"]
    assert bars["loss at 50 % of the connections"]["measured"] == pytest.approx(-0.03)
    assert bars["loss with 25 %, one bit, 0.01"]["met"]
    assert bars["the same, R_ops, % from the paper's 0.91 %"]["met"]
    assert bars["loss with one bit"]["met"] is None
    behind = next(bar for name, bar in bars.items() if name.startswith("ADMM before"))
    assert behind["met"] is False


@pytest.mark.parametrize(
    ("names", "keys", "said"),
    [
        (["VIII"], {}, "there is no table 'VIII'; there are II, III, IV, V, VI, VII, bars"),
        (["II"], {"recipe": "vgg16-tiny"}, "vgg16-tiny trains vgg16 with u-ticket; the"),
        (["II"], {"jobs": 0}, "at least 1 of each"),
        (["II"], {"seeds": ()}, "at least 1 of each"),
    ],
)
def test_what_cannot_be(tmp_path: Path, names: list[str], keys: dict[str, Any], said: str) -> None:
    with pytest.raises(EvenspikeError, match=said):
        flow.tables(names, folder=tmp_path, out=tmp_path, **keys)
