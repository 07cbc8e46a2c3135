"""Registry: the pruning methods by name, those of other packages among them.

A class with a `name` is a method as soon as it is defined. Another package names its module in the
entry point group ``evenspike.methods``; it is imported when a recipe asks for a name that is not
known.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from evenspike_core.errors import EvenspikeError

if TYPE_CHECKING:
    from evenspike_train.tickets.base import Method

GROUP = "evenspike.methods"

METHODS: dict[str, type[Method]] = {}
"""The methods that have been defined, by name."""


def find(name: str) -> type[Method] | None:
    """The method of a name, or None; looks into other packages where it has to.

    Raises EvenspikeError, naming the package, where its module cannot be imported.
    """
    if name not in METHODS:
        for point in entry_points(group=GROUP):
            try:
                point.load()
            except Exception as error:  # whatever the module of another package does
                package = point.dist.name if point.dist else point.value
                raise EvenspikeError(f"methods of {package}: {error}") from error
    return METHODS.get(name)


def known(name: str) -> type[Method]:
    """The method of a name; raises ValueError, with the names that there are, for none."""
    method = find(name)
    if method is None:
        raise ValueError(f"method: name must be one of {sorted(METHODS)}, not {name!r}")
    return method
