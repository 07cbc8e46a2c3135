"""Which forms of a component the daily tests take: its first Arch; of further ones, all if asked.

A component's bench lists further Archs as its VARIANTS. Each is built, synthesised or proved anew,
so tests of them carry the mark `long`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from _pytest.mark import ParameterSet


def forms(components: Iterable[str], whole: Sequence[str] = ()) -> list[ParameterSet]:
    """A parameter for each component; `name:variant` is one of the long tests, as is what is in
    `whole`.
    """
    return [
        pytest.param(name, marks=[pytest.mark.long] if ":" in name or name in whole else [])
        for name in components
    ]
