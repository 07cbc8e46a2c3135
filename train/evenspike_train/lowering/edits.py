"""Edits: tensors that are changed in place, and what else looks at the same memory.

A value belongs to a tensor, and several tensors may be views of one memory. What has been written
through one of them is not known of the others.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


class Edits:
    """How often the memory of each tensor was changed while a network was followed, and where."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._lines: dict[int, str] = {}
        self._kept: list[Tensor] = []

    def count(self, tensor: Tensor) -> int:
        """Number of changes until now."""
        return self._counts.get(_memory(tensor), 0) if self._counts else 0

    def line(self, tensor: Tensor) -> str:
        """Where it was changed last, as ` (FILE:LINE)`; empty where nobody knows."""
        found = self._lines.get(_memory(tensor), "")
        return f" ({found})" if found else ""

    def note(self, tensor: Tensor, line: str) -> None:
        """A tensor has been changed in place, by a line of code."""
        where = _memory(tensor)
        if where not in self._counts:
            self._kept.append(tensor)  # so that no other tensor gets its memory
        self._counts[where] = self._counts.get(where, 0) + 1
        self._lines[where] = line


def versions(given: list[Tensor]) -> list[int]:
    """A number for each tensor that grows when it is changed in place."""
    return [-1 if one.is_inference() else one._version for one in given]  # noqa: SLF001 - no other


def changed(name: str, given: list[Tensor], before: list[int], result: Any) -> list[Tensor]:
    """The tensors that a function has changed.

    Inference mode counts no versions: there it is the one that comes out again, or is written to.
    """
    found = []
    for one, old, new in zip(given, before, versions(given), strict=True):
        if old != new or (new < 0 and (one is result or name == "__setitem__") and one is given[0]):
            found.append(one)
    return found


def _memory(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the same for all views
    except (NotImplementedError, RuntimeError):  # sparse, or of another kind: it has no views
        return id(tensor)
