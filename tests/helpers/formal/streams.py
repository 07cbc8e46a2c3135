"""Stream handshakes: the unpacker's holding register, the memory port's requests and credits."""

from __future__ import annotations

from types import ModuleType

from amaranth.hdl import Assert, Assume, Elaboratable, Module, Mux, Signal

from evenspike_core.arch import Arch
from tests.helpers.formal.prove import Opened, free


class HoldingRegister(Elaboratable):
    """A word that the unpacker takes stays until each of its units was processed, once and in
    order: four, or five with weights of 4 bits. Only a chunk's last word completes it. The next is
    taken when it has gone, or, with weights of 8 or 4 bits, in its last cycle, if it is not the
    chunk's last.

    source: `evenspike_hw.rtl.pe.unpacker`. All words of a chunk have weights of the same width.
    """

    def __init__(self, source: ModuleType, arch: Arch) -> None:
        self.dut = source.Tokens(arch)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        device = Opened(dut)
        free(m, dut.word.valid, dut.word.payload)
        held, word, units = Signal(), Signal.like(dut.word.payload), Signal(3)
        skips, tokens = device["skips"], device["tokens"]
        width, taken, offered = word.context.width, Signal(), dut.word.payload
        beside, coded = width != 0, width >= 2
        room = Mux(coded, 5, 4)
        m.d.comb += [
            taken.eq(dut.word.valid & dut.word.ready),
            Assume(~taken | offered.first | (offered.context.width == width)),
            Assert(dut.word.ready == (~held | (beside & (units == room - 1) & ~word.last))),
        ]
        acts = dut.counts | dut.weighs | dut.biases
        unit, expected = Signal(16), Signal(16)
        m.d.comb += [
            unit.eq(
                Mux(coded, (word.units >> 12 * units)[:12], word.units.word_select(units[:2], 16))
            ),
            expected.eq(unit),
        ]
        with m.If(dut.weighs & (width == 1)):
            m.d.comb += expected.eq(unit[8:].as_signed())
        with m.Elif(dut.weighs & coded):
            size = 1 << (word.context.base + unit[8:11])[:4]
            m.d.comb += expected.eq(Mux(unit[11], -size, size))
        with m.If(held & ~skips):
            m.d.comb += [Assert(units < room), Assert(dut.unit == expected)]
            m.d.sync += units.eq(units + 1)
        with m.Else():
            m.d.comb += Assert(~acts)
        with m.If(held):
            m.d.comb += [
                Assert(dut.context == word.context),
                Assert(device["units"] == units),
                Assert(device["hold"] == word),
                Assert(~dut.counts | (word.first & (units == 0))),
            ]
        with m.Else():
            m.d.comb += [Assert(device["units"] == 0), Assert(~dut.completes), Assert(~skips)]
        # Vacated in the cycle of the last unit, or of the last skip token behind it.
        ends = held & (device["next_units"] == room) & ~device["next_skips"]
        with m.If(ends):
            m.d.sync += [held.eq(0), units.eq(0)]
            m.d.comb += [
                Assert((units == room - 1) | ((units == room) & skips)),
                Assert(dut.completes == word.last),
            ]
        with m.Else():
            m.d.comb += Assert(~dut.completes)
        with m.If(taken):
            m.d.sync += [held.eq(1), word.eq(offered), units.eq(0)]
        # No pair of tokens is kept where each has its weight beside it.
        begins = held & word.first & (units == 0)
        m.d.comb += [
            Assert(device["full"] == held),
            Assert(units <= room),
            Assert((units != room) | (held & skips)),
            Assert(~beside | begins | (tokens == 0)),
            Assert(~beside | ~skips),
        ]
        return m


class Requests(Elaboratable):
    """The memory port's FIFO has room for every word that comes, whenever it comes; a request that
    waits does not change.

    source: `evenspike_hw.rtl.port`. The memory answers each request once, at any time; nothing is
    ordered while requests wait or words are under way.
    """

    def __init__(self, source: ModuleType, arch: Arch) -> None:
        self.dut = source.MemoryPort(arch)
        self.depth = arch.stream_depth

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        device = Opened(dut)
        fifo = device["fifo"]
        queue = Opened(fifo)
        free(
            m,
            *(dut.prepare, dut.go, dut.fill, dut.input, dut.weights, dut.pass_base, dut.table),
            dut.filled,
            *(dut.fill_address, dut.fill_words, dut.request.ready, dut.word.ready),
            *(dut.response, dut.response_valid),
        )
        under_way = Signal(range(self.depth + 1))
        asked = Signal()
        m.d.comb += asked.eq(dut.request.valid & dut.request.ready)
        m.d.sync += under_way.eq(under_way + asked - dut.response_valid)
        m.d.comb += [
            Assume(~dut.response_valid | (under_way != 0)),
            Assume(~(dut.prepare | dut.fill) | ((under_way == 0) & ~dut.request.valid)),
            Assert(~dut.response_valid | fifo.w.ready),
        ]

        waits, address = Signal(), Signal(32)
        m.d.sync += [
            waits.eq(dut.request.valid & ~dut.request.ready),
            address.eq(dut.request.payload),
        ]
        with m.If(waits):
            m.d.comb += [Assert(dut.request.valid), Assert(dut.request.payload == address)]

        # Reachable states: every credit is one word, somewhere.
        m.d.comb += [
            Assert(queue["level"] <= self.depth),
            Assert(fifo.r.valid == (queue["level"] != 0)),
            Assert(under_way <= self.depth),
            Assert(device["credits_"] <= self.depth),
            Assert(device["credits_"] + under_way + queue["level"] == self.depth),
        ]
        return m
