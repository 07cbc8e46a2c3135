"""The benchmark of the two memory formats, and what a run takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from benchmarks import memory_format
from evenspike_train.recipes import recipe
from evenspike_train.runs.trainer import Trainer
from evenspike_train.tickets import masks as weight_masks
from tests.helpers.training import SHORT, make_sets


def test_both_orders_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["memory_format", "lenet5-mnist-short"])
    monkeypatch.setattr(memory_format, "STEPS", 1)
    assert memory_format.main() == 0
    (line,) = capsys.readouterr().out.splitlines()
    said = r"lenet5-mnist-short: (\d+) ms in the usual order, (\d+) ms with channels last, ratio"
    found = re.match(said, line)
    assert found
    assert all(int(number) > 0 for number in found.groups())


def test_a_run_on_a_cpu_has_its_filters_channels_last(tmp_path: Path) -> None:
    run = Trainer(recipe.parse(SHORT), make_sets(), tmp_path)
    weights = weight_masks.originals(run.model).values()
    filters = [one for one in weights if one.dim() == 4]
    assert filters
    assert all(one.is_contiguous(memory_format=torch.channels_last) for one in filters)
