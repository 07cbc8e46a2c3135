"""Fifo: nothing is lost, duplicated, changed or reordered; full and empty never lie."""

from __future__ import annotations

from types import ModuleType

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Elaboratable, Module, Mux, Signal

from tests.helpers.formal.prove import Opened, free

WIDTH = 3


class FifoOrder(Elaboratable):
    """One word, of any push, is followed: it must come out behind exactly those pushed before it,
    unchanged. Since it can be any word, that holds for all.

    source: `evenspike_hw.rtl.fifo`.
    """

    def __init__(self, source: ModuleType, depth: int) -> None:
        self.dut = source.Fifo(WIDTH, depth)
        self.depth = depth

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        device = Opened(dut)
        free(m, dut.w.valid, dut.w.payload, dut.r.ready)
        push, pop = Signal(), Signal()
        level = Signal(range(self.depth + 1))
        m.d.comb += [push.eq(dut.w.valid & dut.w.ready), pop.eq(dut.r.valid & dut.r.ready)]
        m.d.sync += level.eq(level + push - pop)
        m.d.comb += [
            Assert(dut.w.ready == (level != self.depth)),
            Assert(dut.r.valid == (level != 0)),
        ]

        follows, ahead, word = Signal(), Signal(range(self.depth + 1)), Signal(WIDTH)
        with m.If(follows & pop):
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(ahead == 0):
                m.d.comb += Assert(dut.r.payload == word)
                m.d.sync += follows.eq(0)
        with m.If(push & ~follows & AnySeq(1)):
            m.d.sync += [follows.eq(1), word.eq(dut.w.payload), ahead.eq(level - pop)]

        # Reachable states.
        m.d.comb += [Assert(level <= self.depth), Assert(device["level"] == level)]
        with m.If(follows):
            m.d.comb += Assert(ahead < level)
        if self.depth == 1:
            with m.If(follows):
                m.d.comb += Assert(device["recent"] == word)
            return m
        memory = device["memory"]
        [read], [write] = memory._read_ports, memory._write_ports
        head, tail = Signal(range(self.depth)), Signal(range(self.depth))
        place = Signal(range(2 * self.depth))
        at_head, at_place = memory.read_port(domain="comb"), memory.read_port(domain="comb")
        with m.If(pop):
            m.d.sync += head.eq(Mux(head == self.depth - 1, 0, head + 1))
        with m.If(push):
            m.d.sync += tail.eq(Mux(tail == self.depth - 1, 0, tail + 1))
        m.d.comb += [
            at_head.addr.eq(head),
            place.eq(head + ahead),
            at_place.addr.eq(Mux(place >= self.depth, place - self.depth, place)),
            Assert(head < self.depth),
            Assert(tail < self.depth),
            Assert(write.addr == tail),
            Assert(read.addr == self._after(head)),
            Assert((head + level == tail) | (head + level == tail + self.depth)),
        ]
        with m.If(level != 0):
            m.d.comb += Assert(dut.r.payload == at_head.data)
        # What a RAM gives for a word that is being written is not defined, and never the head.
        undefined = Signal()
        with m.If(read.en):
            m.d.sync += undefined.eq(write.en & (write.addr == read.addr))
        m.d.comb += Assert(~(undefined & (level != 0) & ~device["is_recent"]))
        with m.If(follows):
            m.d.comb += Assert(at_place.data == word)
        return m

    def _after(self, place: Signal) -> Signal:
        return Mux(place == self.depth - 1, 0, place + 1)
