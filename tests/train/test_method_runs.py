"""Every method from its recipe to a ticket, and the same when the run is killed on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from evenspike_train import data, masks, recipe
from evenspike_train.tickets import METHODS
from evenspike_train.tickets.figures import paper_utilisation
from evenspike_train.trainer import Trainer
from tests.train.killing import run_killed

BASE = """
    name = "tiny"
    seed = 5
    [data]
    validation = 20
    [network]
    width = 4
    timesteps = 3
    [method]
    pes = 4
    METHOD
    [optimizer]
    batch = 16
    [dense]
    images = DENSE
    timesteps = 3
    lr = 0.01
    [round]
    images = 32
    timesteps = 3
    lr = 0.01
    [final]
    images = 40
    timesteps = 3
    lr = 0.01
    [compute]
    precision = "fp32"
    checkpoint_seconds = 0
    round_validation = 10
"""

LADDER = 'rounds = 2\nrate = 0.5\nscope = "local"\nsnapshot = 16'

TABLES = {
    "dense": 'name = "dense"',
    "random": 'name = "random"\nsparsity = 0.75\nbalance = "weights"',
    "snip": 'name = "snip"\nsparsity = 0.5\nsaliency_images = 20',
    "imp": f'name = "imp"\n{LADDER}',
    "u-ticket": f'name = "u-ticket"\n{LADDER}\nremove = "magnitude"',
    "cycle-aware": f'name = "cycle-aware"\n{LADDER}',
    "early-bird": 'name = "early-bird"\nscope = "local"\nsparsity = 0.7\nwindow = 2\n'
    'distance = 0.5\nbalance = "weights"',
    "transferred": f'name = "transferred"\n{LADDER}\nbalance = "weights"',
    "imp+early-time": f'name = "imp"\n{LADDER}\nearly_time = true\nearly_time_images = 32',
    "early-bird+early-time": 'name = "early-bird"\nscope = "local"\nsparsity = 0.7\nwindow = 2\n'
    'distance = 0.001\nearly_time = true\nbalance = "cycles"',
    "u-ticket+early-time": f'name = "u-ticket"\n{LADDER}\nearly_time = true\n'
    "early_time_images = 16",
}


def tiny(method: str, dense_images: int = 200) -> recipe.Recipe:
    return recipe.parse(BASE.replace("METHOD", TABLES[method]).replace("DENSE", f"{dense_images}"))


@pytest.fixture(scope="module")
def sets() -> data.Dataset:
    rng = np.random.default_rng(0)

    def split(count: int) -> data.Split:
        labels = rng.integers(0, 10, count)
        images = rng.integers(0, 64, (count, 32, 32))
        for image, label in zip(images, labels, strict=True):  # a class is a bright bar
            image[3 * label : 3 * label + 3] += 160
        return data.to_split(images[:, None].astype(np.uint8), labels, torch.device("cpu"))

    return data.Dataset(split(40), split(20), split(20))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def finished(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(directory / "ticket.pt", weights_only=True)
    return content


def lines(directory: Path, event: str) -> list[dict[str, Any]]:
    every = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    return [line for line in every if line["event"] == event]


def test_every_method_is_run_here() -> None:
    assert {name.split("+")[0] for name in TABLES} == METHODS.keys()


@pytest.mark.parametrize("method", TABLES)
def test_method_makes_its_ticket_and_survives_being_killed(
    method: str, sets: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tiny(method)
    whole = Trainer(given, sets, tmp_path / "whole").run()
    deaths = run_killed(given, sets, tmp_path / "killed", monkeypatch, every=2)
    assert deaths >= 1
    a, b = finished(tmp_path / "whole"), finished(tmp_path / "killed")
    assert a["figures"] == b["figures"] == whole
    for name, tensor in a["model"].items():
        assert torch.equal(tensor, b["model"][name]), name

    expected = {"dense": 0.0, "random": 0.75, "snip": 0.5, "early-bird": 0.7}.get(
        method.split("+", maxsplit=1)[0], 0.75
    )
    assert whole["sparsity"] == pytest.approx(expected, abs=0.02)
    alive = {k.split(".param")[0]: m for k, m in a["model"].items() if k.endswith(".mask")}
    assert masks.sparsity(alive) == whole["sparsity"]
    balanced = given.method.balancing == "weights"
    assert (paper_utilisation(alive, 4) == 1.0) == (balanced or method == "dense")

    trained = lines(tmp_path / "whole", "trained")
    searched = [] if method in ("random", "snip") else [0]
    if given.method.rounds == 2:
        searched = [0, 1]
    assert [line["round"] for line in trained] == [*searched, max(whole_rounds(given), 1)]
    for line in trained:
        known = {"sparsity", "accuracy", "utilisation", "round_seconds", "timesteps"}
        if method != "transferred" or line["phase"] == "final":
            known |= {"firing_rate", "expected_utilisation"}
        assert known <= line.keys()
        assert 0 <= line["round_seconds"] <= line["seconds"]
    assert trained[-1]["timesteps"] == 3
    assert trained[-1]["sparsity"] == pytest.approx(whole["sparsity"], abs=1e-5)


def whole_rounds(given: recipe.Recipe) -> int:
    return METHODS[given.method.name](given.method).rounds
