"""The peers' own warnings are theirs."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/peers" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings("ignore"))
