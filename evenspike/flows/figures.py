"""Figures: what a run on the cycle model says of its layers and PEs, whatever it was a run of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike.flows.frame import frame
from evenspike.report.pages import Report
from evenspike_core.counters import STATES
from evenspike_core.program import immutable
from evenspike_sim.tally import Tally


@dataclass(frozen=True)
class LayerFigures:
    """One layer, per image on average.

    cycles: of the layer. utilization: busy PE-cycles / (PEs x cycles). busy to draining: float64
    [pes], cycles of each PE in each state. words_loaded: of the memory port. spikes_in, spikes_out:
    true spikes. accumulations: pairs of a spike and a living weight. energy_pj: an estimate.
    density: living weights of all.
    """

    name: str
    cycles: float
    utilization: float
    busy: npt.NDArray[np.float64]
    starved: npt.NDArray[np.float64]
    waiting: npt.NDArray[np.float64]
    loading: npt.NDArray[np.float64]
    draining: npt.NDArray[np.float64]
    words_loaded: float
    spikes_in: float
    spikes_out: float
    accumulations: float
    energy_pj: float
    density: float


class Figures(ABC):
    """Numbers of one image, on average over all that were run."""

    tally: Tally

    @property
    @abstractmethod
    def bit_exact(self) -> bool:
        """Whether all that was compared is equal."""

    @property
    def cycles(self) -> float:
        """Cycles of one image."""
        return self.tally.cycles

    @property
    def utilization(self) -> float:
        """Busy PE-cycles of all, by the counters."""
        return float(self._totals["utilization"])

    @property
    def energy_pj(self) -> float:
        """Energy of one image, an estimate."""
        return float(self._totals["energy_pj"])

    @property
    def words_loaded(self) -> float:
        """Words of the memory port for one image."""
        return float(self._totals["words_loaded"])

    @cached_property
    def layers(self) -> tuple[LayerFigures, ...]:
        """One for each layer, in the order of the Program."""
        found = []
        for layer in self._contents["layers"]:
            values: dict[str, Any] = {key.name: layer.get(key.name) for key in fields(LayerFigures)}
            values |= {state: immutable(np.array(layer["per_pe"][state])) for state in STATES}
            found.append(LayerFigures(**values))
        return tuple(found)

    @property
    def pes(self) -> dict[str, npt.NDArray[np.float64]]:
        """float64 [pes] by state: cycles of each PE in it, all layers together."""
        return {
            state: np.sum([getattr(layer, state) for layer in self.layers], axis=0)
            for state in STATES
        }

    def to_dict(self) -> dict[str, Any]:
        """All numbers of the run, as the report's JSON (docs/report.md)."""
        return self.report().to_dict()

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each layer; raises EvenspikeError without pandas."""
        columns = [
            {
                name: float(np.sum(value)) if name in STATES else value
                for name, value in vars(layer).items()
            }
            for layer in self.layers
        ]
        return frame(columns, index="name")

    @abstractmethod
    def report(self, command: str | None = None) -> Report:
        """The run as a report that can be saved and shows itself in a notebook.

        command: the command line that made it, for the page; None for a call from Python.
        """

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()

    @property
    def _totals(self) -> dict[str, Any]:
        totals: dict[str, Any] = self._contents["totals"]
        return totals

    @property
    @abstractmethod
    def _contents(self) -> dict[str, Any]:
        """The report's JSON, as far as the cycle model makes it."""
