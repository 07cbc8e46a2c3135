"""The terminal: where a verb prints its result."""

from __future__ import annotations

from rich.console import Console


def console() -> Console:
    """The terminal, for text that is not ours: a name or a path in brackets is no markup."""
    return Console(markup=False, emoji=False)
