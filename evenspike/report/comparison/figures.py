"""The figures of the comparison, by name: each a function of the finished runs to a JSON object."""

from __future__ import annotations

from collections.abc import Callable

from evenspike.report.comparison import agc, compression, hardware, ladder, search
from evenspike.report.comparison.parts import Figure
from evenspike.report.comparison.rows import FinishedRun

FIGURES: dict[str, Callable[[list[FinishedRun]], Figure]] = {
    "rounds": ladder.rounds,
    "layers": ladder.layers,
    "convergence": ladder.convergence,
    "methods": search.methods,
    "search-time": search.search_time,
    "pes": search.pes,
    "sparsity": ladder.sparsity,
    "hardware": hardware.hardware,
    "agc": agc.agc,
    "compression": compression.compression,
}
