"""Progress: what long work says while it goes on, to whoever wants to show it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and how much there is in all (None where
nobody knows). The command line makes a bar on stderr of it."""


def silent(what: str, done: int, total: int | None) -> None:
    """Say nothing: what long work does that was given no callback."""
