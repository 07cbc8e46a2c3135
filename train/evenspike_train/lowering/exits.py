"""Exits: what somebody's code does that would end the process."""

from __future__ import annotations


def exits(error: SystemExit) -> str:
    """It, in words."""
    return f"it calls sys.exit({'' if error.code is None else repr(error.code)})"
