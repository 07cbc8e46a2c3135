"""Data in memory, and one thread for the tests that compare what two runs compute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread, and no denormal numbers, which a compiled kernel would switch off for good."""
    import torch

    from evenspike_train.runs import command
    from tests.helpers.training import alike

    before = torch.get_num_threads()
    alike()
    yield
    torch.set_flush_denormal(False)
    command.set_threads(before)


@pytest.fixture(scope="session")
def sets() -> Any:
    """Sixty images to train with, twenty of each other split."""
    from tests.helpers.training import make_sets

    return make_sets()
