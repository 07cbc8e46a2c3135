"""Markers: how far a PE has worked off its chunks and rounds."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Markers(wiring.Component):
    """Counts the markers that issue, modulo 4.

    marker: one issues in this cycle. ends_round: it ends its round. frees: it gives up its half of
        the scratchpad.
    rounds, worked, finished: those that end a round; those that give up their half without ending a
        round; all that give up their half. They count a marker from the next cycle on.

    docs/timing.md, "Barrier, drain, LIF, collector" and "Loader".
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "marker": In(1),
                "ends_round": In(1),
                "frees": In(1),
                "rounds": Out(2),
                "worked": Out(2),
                "finished": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.If(self.marker):
            m.d.sync += [
                self.rounds.eq(self.rounds + self.ends_round),
                self.worked.eq(self.worked + (self.frees & ~self.ends_round)),
                self.finished.eq(self.finished + self.frees),
            ]
        return m
