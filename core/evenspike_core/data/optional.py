"""Packages that only some data sets need: their absence is an error that says what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from evenspike_core.errors import EvenspikeError

DISTRIBUTIONS = {"PIL": "Pillow"}
"""What a module is called where it is installed from, if not as it is imported."""


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Around an import: EvenspikeError with the missing package and the extra that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = str(error.name).split(".")[0]
        raise EvenspikeError(
            f"{what} needs {DISTRIBUTIONS.get(module, module)}: pip install -e '.[{extra}]'"
        ) from error
