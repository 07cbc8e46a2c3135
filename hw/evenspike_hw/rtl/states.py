"""States: what each PE does in each cycle, as the counters count it."""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch

STATE_BITS = 3


class State(IntEnum):
    """docs/timing.md, "Where a PE's cycles go"."""

    STARVED = 0
    BUSY = 1
    LOADING = 2
    WAITING = 3
    DRAINING = 4


class States(wiring.Component):
    """Combinational. From the sequencer: drains, tail, host (the input comes in), drained, seen;
    from each PE: busy, rounds, finished (counters modulo 4). state, out: `State` of each PE.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        pes = arch.pes
        super().__init__(
            {
                "drains": In(1),
                "tail": In(1),
                "host": In(1),
                "drained": In(2),
                "seen": In(2),
                "busy": In(pes),
                "rounds": In(data.ArrayLayout(2, pes)),
                "finished": In(data.ArrayLayout(2, pes)),
                "state": Out(data.ArrayLayout(STATE_BITS, pes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for number in range(self.arch.pes):
            state = self.state[number]
            with m.If(self.drains):
                m.d.comb += state.eq(State.DRAINING)
            with m.Elif(self.tail | (self.rounds[number] != self.drained)):
                m.d.comb += state.eq(State.WAITING)
            with m.Elif(self.host):
                m.d.comb += state.eq(State.LOADING)
            with m.Elif(self.busy[number]):
                m.d.comb += state.eq(State.BUSY)
            with m.Elif(self.finished[number] == self.seen):
                m.d.comb += state.eq(State.LOADING)
        return m
