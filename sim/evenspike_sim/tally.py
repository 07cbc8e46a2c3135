"""Tally: what a run did, summed over its images, in a memory that does not grow with them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evenspike_core.counters import STATES
from evenspike_core.errors import EvenspikeError
from evenspike_sim.accelerator import LayerRun

I64 = npt.NDArray[np.int64]

COUNTS = ("cycles", "words_loaded", "spikes_in", "spikes_out", "accumulations", "overflows")
"""The counters of a `LayerRun` that are one number."""


@dataclass
class LayerTally:
    """What one layer did, summed over images.

    counts: by the names of `COUNTS`. actions: by the names of energy.toml. states: int64 [pes],
    cycles of each PE in each state. reached, reached_spikes: as in `LayerRun`, one for each
    segment. overflow: whether a sum has saturated in any PE and image.
    """

    name: str
    counts: Counter[str]
    actions: Counter[str]
    states: dict[str, I64]
    reached: tuple[int, ...]
    reached_spikes: tuple[int, ...]
    overflow: bool

    @staticmethod
    def of(run: LayerRun) -> LayerTally:
        """The tally of one image."""
        return LayerTally(
            run.name,
            Counter({name: int(getattr(run, name)) for name in COUNTS}),
            Counter(run.actions),
            {state: np.array(getattr(run, state), np.int64) for state in STATES},
            run.reached,
            run.reached_spikes,
            bool(run.accumulator_overflow.any() or run.membrane_overflow.any()),
        )

    def merge(self, other: LayerTally) -> None:
        """Add another tally of the same layer."""
        self.counts.update(other.counts)
        self.actions.update(other.actions)
        for state, cycles in other.states.items():
            self.states[state] = self.states[state] + cycles
        self.reached = tuple(a + b for a, b in zip(self.reached, other.reached, strict=True))
        self.reached_spikes = tuple(
            a + b for a, b in zip(self.reached_spikes, other.reached_spikes, strict=True)
        )
        self.overflow |= other.overflow


@dataclass
class Tally:
    """Sums over images, layer by layer. Two tallies of the same layers add up by `merge`."""

    images: int = 0
    layers: list[LayerTally] = field(default_factory=list)

    @staticmethod
    def of(images: Iterable[Iterable[LayerRun]]) -> Tally:
        """The tally of images, each of which is a `LayerRun` for each layer."""
        tally = Tally()
        for runs in images:
            tally.add(runs)
        return tally

    def add(self, runs: Iterable[LayerRun], images: int = 1) -> None:
        """Add one image, or a batch of so many: a `LayerRun` for each layer, always the same
        layers.
        """
        self.merge(Tally(images, [LayerTally.of(run) for run in runs]))

    def merge(self, other: Tally) -> None:
        """Add the images of another tally, which stays as it is.

        Raises EvenspikeError for a tally of other layers.
        """
        if not other.images:
            return
        if not self.images:
            self.layers = copy.deepcopy(other.layers)
        elif [one.name for one in self.layers] != [one.name for one in other.layers]:
            raise EvenspikeError(
                f"tally: {len(other.layers)} layers, not the {len(self.layers)} of the other images"
            )
        else:
            for mine, theirs in zip(self.layers, other.layers, strict=True):
                mine.merge(theirs)
        self.images += other.images

    @property
    def cycles(self) -> float:
        """Cycles of an image, on average."""
        return sum(layer.counts["cycles"] for layer in self.layers) / self.images
