"""The figures of the comparison, by name: each a function of the finished runs to a JSON object."""

from __future__ import annotations

from collections.abc import Callable

from evenspike.results import hardware, ladder, search
from evenspike.results.parts import Figure
from evenspike.results.rows import Row

FIGURES: dict[str, Callable[[list[Row]], Figure]] = {
    "rounds": ladder.rounds,
    "layers": ladder.layers,
    "convergence": ladder.convergence,
    "methods": search.methods,
    "search-time": search.search_time,
    "pes": search.pes,
    "sparsity": ladder.sparsity,
    "hardware": hardware.hardware,
}
