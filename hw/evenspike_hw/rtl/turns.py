"""Turns: the clusters' results, one after the other on the one port."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.logits import result_write


class Turns(wiring.Component):
    """Gives each cluster its turn to write a result (docs/timing.md, "Clusters").

    writes: a word of each cluster, which stays until it is taken. taken: the cluster's word is, in
        this cycle. write: the word of the cluster whose turn it is. ready: the memory takes it.

    The turn is cluster 0's in the first cycle, and the next cluster's in the cycle after one in
    which the word was taken, or there was none; behind the last comes cluster 0. So a memory that
    takes each word at once gives a cluster every `Arch.clusters`-th cycle, and what is on the port
    stays until it is taken. Combinational but for the turn.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        word = result_write(arch)
        super().__init__(
            {
                "writes": In(data.ArrayLayout(word, arch.clusters)),
                "taken": Out(arch.clusters),
                "write": Out(word),
                "ready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        turn = Signal(range(self.arch.clusters))
        with m.Switch(turn):
            for number in range(self.arch.clusters):
                with m.Case(number):
                    m.d.comb += [
                        self.write.eq(self.writes[number]),
                        self.taken[number].eq(self.write.enable & self.ready),
                    ]
        with m.If(~self.write.enable | self.ready):
            m.d.sync += turn.eq(Mux(turn == self.arch.clusters - 1, 0, turn + 1))
        return m
