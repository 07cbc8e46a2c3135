"""A run that dies again and again, and is resumed until it has finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenspike_train.data import Dataset
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.runs.trainer import Trainer
from evenspike_train.runs.training_step import TrainingStep


class KilledError(Exception):
    """Stands for a signal in the middle of a step."""


def run_killed(
    given: Recipe,
    sets: Dataset,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    every: int,
    make: Callable[..., Trainer] = Trainer,
) -> int:
    """Run to the end, dying after `every` steps; says how often it died.

    make: of recipe, data and folder.
    """
    original = TrainingStep.train
    deaths = 0
    for _ in range(100):
        count = 0

        def step(self: TrainingStep, *arguments: Any) -> float:
            nonlocal count
            count += 1
            if count > every:
                raise KilledError
            return original(self, *arguments)

        monkeypatch.setattr(TrainingStep, "train", step)
        try:
            make(given, sets, directory).run()
        except KilledError:
            deaths += 1
        else:
            monkeypatch.setattr(TrainingStep, "train", original)
            return deaths
    raise AssertionError("never finished")
