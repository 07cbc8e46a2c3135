"""Markers: how far a PE has worked off its chunks and rounds."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import Layouts


class Markers(wiring.Component):
    """Counts the markers that issue, modulo 4.

    marker: one issues in this cycle.
    rounds, worked, finished: those that end a round; those that give up their half without ending a
        round; all that give up their half. They count a marker from the next cycle on.

    docs/timing.md, "Barrier, drain, LIF, collector" and "Loader".
    """

    def __init__(self, arch: Arch) -> None:
        super().__init__(
            {
                "marker": In(Layouts(arch).marker),
                "rounds": Out(2),
                "worked": Out(2),
                "finished": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        marker = self.marker
        with m.If(marker.enable):
            m.d.sync += [
                self.rounds.eq(self.rounds + marker.ends_round),
                self.worked.eq(self.worked + (marker.frees & ~marker.ends_round)),
                self.finished.eq(self.finished + marker.frees),
            ]
        return m
