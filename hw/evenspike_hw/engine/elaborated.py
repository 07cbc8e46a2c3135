"""Elaborated: a design whose inside is looked at before it becomes part of another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Elaboratable, Fragment


class Elaborated(Elaboratable):
    """A fragment as a submodule, which Amaranth takes of what can be elaborated only."""

    def __init__(self, fragment: Fragment) -> None:
        self.fragment = fragment

    def elaborate(self, platform: object) -> Fragment:
        return self.fragment


def found(fragment: Any, kind: type) -> Iterator[Any]:
    """The components of a kind in an elaborated design, in the order of their instances."""
    for origin in fragment.origins or ():
        if isinstance(origin, kind):
            yield origin
    for inner, *_ in fragment.subfragments:
        yield from found(inner, kind)
