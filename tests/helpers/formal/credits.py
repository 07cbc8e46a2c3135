"""Room that is promised: the queues of a PE have a place for everything that is sent to them."""

from __future__ import annotations

from types import ModuleType

from amaranth.hdl import Assert, Assume, Elaboratable, Module, Signal

from evenspike_core.arch import Arch
from tests.helpers.formal.prove import Opened, free


class Places(Elaboratable):
    """The filter passes nothing that the FIFO behind it has no place for; the PE is full exactly if
    as many activations as that has places are in it, on their way, or have just gone.

    source: `evenspike_hw.rtl.pe.filter`. Only what is in the FIFO is popped.
    """

    def __init__(self, source: ModuleType, arch: Arch) -> None:
        self.dut = source.Filter(arch)
        self.depth = arch.fifo_depth

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        device = Opened(dut)
        free(m, dut.activation.valid, dut.activation.payload, dut.pattern, dut.popped)
        level, under_way = Signal(range(self.depth + 1)), Signal(2)
        first, second, gone = Signal(), Signal(), Signal(2)
        m.d.sync += [
            level.eq(level + dut.passed.valid - dut.popped),
            first.eq(dut.activation.valid & dut.activation.ready),
            second.eq(first),
            gone.eq(dut.popped + (second & ~dut.passed.valid)),
        ]
        m.d.comb += [
            under_way.eq(first + second),
            Assume(~dut.popped | (level != 0)),
            Assert(~dut.passed.valid | (level != self.depth)),
            Assert(~dut.passed.valid | second),
            Assert(dut.activation.ready == (level + under_way + gone != self.depth)),
            # Reachable states.
            Assert(level + under_way + gone <= self.depth),
            Assert(device["places"] == level + under_way + gone),
            Assert(device["popped"] + device["dropped"] == gone),
            Assert(device["arrived_valid"] == first),
            Assert(device["valid"] == second),
        ]
        return m


class Credits(Elaboratable):
    """The matcher queues nothing that the match queue has no place for, and fetches whenever it has
    something to fetch and less is queued, or on its way, than that has places.

    source: `evenspike_hw.rtl.pe.matcher`. Only what is in the queue is taken from it.
    """

    def __init__(self, source: ModuleType, arch: Arch) -> None:
        self.dut = source.Matcher(arch)
        self.depth = arch.match_depth

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        device = Opened(dut)
        free(
            m,
            *(dut.activation.valid, dut.activation.payload, dut.round, dut.line, dut.header),
            dut.taken,
        )
        queued, under_way = Signal(range(self.depth + 1)), Signal(2)
        fetches, first, second = device["fetches"], Signal(), Signal()
        m.d.sync += [
            queued.eq(queued + dut.matched.valid - dut.taken),
            first.eq(fetches),
            second.eq(first),
        ]
        m.d.comb += [
            under_way.eq(first + second),
            Assume(~dut.taken | (queued != 0)),
            Assert(~dut.matched.valid | (queued != self.depth)),
            Assert(~dut.matched.valid | second),
            Assert(fetches == (device["m2_valid"] & (queued + under_way != self.depth))),
            # Reachable states.
            Assert(queued + under_way <= self.depth),
            Assert(device["left"] + queued + under_way == self.depth),
            Assert(device["credit"] == (device["left"] != 0)),
            Assert(device["fetched_valid"] == first),
            Assert(device["valid"] == second),
        ]
        return m
