"""Timeline: when each block and each PE did what in one layer, as spans of a trace.

The spans of a PE do not overlap and leave no gap: together they are its cycles in the layer. Two
states that take turns cycle by cycle (busy and starved, or loading and draining where the input's
spikes come in) are one span, which has the cycles of each as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.arch import Arch
from evenspike_core.trace import Span

CLUSTERED = ("APU", "collector")
"""Blocks that each cluster has one of."""

Cycles = npt.NDArray[np.int64] | int
"""One cycle for each PE, or one for all of them."""


@dataclass
class Timeline:
    """The spans of one layer.

    spans: they are appended here. layer: its name. place: pass, tile, group and chunk that the
    next spans belong to; cluster: whose they are.
    """

    spans: list[Span]
    layer: str
    arch: Arch
    place: dict[str, Any] = field(default_factory=dict)
    cluster: int = 0

    def block(self, track: str, first: int, duration: int, **args: Any) -> None:
        """A span of a block, from its first cycle on. Each cluster has a track of its own APU and
        collector.
        """
        if self.arch.clusters > 1 and track in CLUSTERED:
            track = f"{track} {self.cluster}"
        self.spans.append(Span(track, self.layer, first, duration, {**self.place, **args}))

    def pes(self, pes: int, after: Cycles, until: Cycles, **cycles: Cycles) -> None:
        """A span of each of so many PEs from the cluster's first on, from the cycle behind `after`
        to `until`, if there is one.

        cycles: the states that the PE is in, and for how many of these cycles. The first that it
        is in at all gives the span its name; the cycles are arguments where two states share it.
        """
        begins, ends = (np.broadcast_to(value, pes).tolist() for value in (after, until))
        counts = {state: np.broadcast_to(n, pes).tolist() for state, n in cycles.items()}
        for pe, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            if end <= begin:
                continue
            shared = {state: each[pe] for state, each in counts.items()}
            name = next((state for state, n in shared.items() if n), next(iter(shared)))
            args = {"layer": self.layer, **self.place, **(shared if len(shared) > 1 else {})}
            track = f"PE {self.cluster * self.arch.pes + pe}"
            self.spans.append(Span(track, name, begin + 1, end - begin, args))
