"""The halves of the scratchpad: none is written while it is in use."""

from __future__ import annotations

from types import ModuleType

from amaranth.hdl import Assert, Assume, Cat, Elaboratable, Module, Signal

from evenspike_core.arch import COUNT_BITS, Arch
from tests.helpers.formal.prove import Opened, free


class HandOver(Elaboratable):
    """The loader begins a chunk in a half only after the chunk before in that half was freed, fills
    the halves in turn, writes only the half that it has begun, and hands on every word of the
    stream once, unchanged, to one receiver in each lane that is ready.

    source: `evenspike_hw.rtl.loader`. A half is freed only when its chunk was loaded; each PE has a
    word of each chunk. The counts of a chunk are one word.
    """

    def __init__(self, source: ModuleType, arch: Arch) -> None:
        self.dut = source.Loader(arch)
        assert arch.count_words == 1
        self.pes, self.lanes = arch.pes, arch.port_lanes

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        device = Opened(dut)
        free(m, dut.prepare, dut.table, dut.word.valid, dut.word.payload, dut.ready, dut.free)

        # What the words say, seen from outside. `loads`: a chunk is begun and not complete.
        in_use, newest, loads = Signal(range(3)), Signal(), Signal()
        taken, sent, counted, begins, ends = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            taken.eq(dut.word.valid & dut.word.ready),
            sent.eq(dut.send.any()),
            counted.eq(taken & ~dut.input.valid & ~sent),
            begins.eq(counted & ~loads),
            ends.eq(sent & device["ends"]),
            *(
                Assume(~counted | (dut.word.payload.word_select(pe, COUNT_BITS) != 0))
                for pe in range(self.pes)
            ),
            Assume(~dut.free | (in_use > loads)),
            Assume(~dut.prepare | ~taken),
            # Every word has a receiver, that is ready for it, and the right half.
            Assert(~(dut.input.valid | sent) | taken),
            Assert(~(dut.input.valid & sent)),
            Assert(~(taken & loads & ~dut.input.valid) | sent),
            Assert((dut.send & ~dut.ready) == 0),
            Assert(~dut.input.valid | (dut.input.data == dut.word.payload)),
            # No half is begun while both are in use; a PE's word belongs to the one begun last.
            Assert(~begins | (in_use != 2)),
            Assert(~sent | loads),
            Assert(~sent | (in_use != 0)),
        ]
        left = device["left"]
        for lane, target in enumerate(device.each("target")):
            members = range(lane, self.pes, self.lanes)
            sends = Cat(dut.send[pe] for pe in members)
            words = Cat(left[pe] for pe in members)
            word = dut.words[lane]
            m.d.comb += [
                Assert((sends & (sends - 1)) == 0),
                # Only a lane whose PEs have all their words has none.
                Assert(~sent | sends.any() | ~words.any()),
                Assert(~sends.any() | (word.units == dut.word.payload.word_select(lane, 64))),
                Assert(~sends.any() | (word.context.half == newest)),
                Assert(~loads | words.word_select(target, COUNT_BITS).any() | ~words.any()),
                Assert(target < len(members)),
            ]
        m.d.sync += in_use.eq(in_use + begins - dut.free)
        with m.If(begins):
            m.d.sync += [newest.eq(~newest), loads.eq(1)]
        with m.If(ends):
            m.d.sync += loads.eq(0)
        with m.If(dut.prepare):
            m.d.sync += [in_use.eq(0), newest.eq(1), loads.eq(0)]

        # Reachable states. A fresh network begins with half 0; before any, so does the reset.
        started = Signal()
        m.d.sync += started.eq(1)
        with m.If(~started):
            m.d.comb += Assume(dut.prepare)
        with m.Else():
            occupied, oldest = device["occupied"], device["oldest"]
            m.d.comb += [
                Assert(device["half"] == (newest ^ ~loads)),
                Assert((device["head"] != 0) == loads),
                Assert(in_use <= 2),
                Assert(in_use >= loads),
                Assert((in_use == 0) == (occupied == 0)),
                Assert((in_use == 2) == (occupied == 3)),
                Assert((in_use != 1) | (occupied == 1 << newest)),
                Assert(oldest == (newest ^ (in_use != 1))),
                Assert(~loads | left.as_value().any()),
            ]
        return m


class GivenUp(Elaboratable):
    """The sequencer frees a half exactly once for each chunk that was given up: in the cycle in
    which it sees that the marker of a chunk within a round was issued, and in the last drain cycle
    of a round (of a pass, if there is one chunk). So none is freed too early, and none is lost.

    source: `evenspike_hw.rtl.sequencer`. Markers of a round are not issued while the round
    before is drained.
    """

    def __init__(self, source: ModuleType, arch: Arch) -> None:
        self.dut = source.Sequencer(arch)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        device = Opened(dut)
        free(
            m,
            *(dut.prepare, dut.go, dut.table, dut.loaded, dut.worked, dut.rounds, dut.marker),
            *(dut.ends_round, dut.ends_pass, dut.ends_layer, dut.filled),
        )
        worked, half = Signal(2), Signal()
        gives = Signal()
        m.d.comb += [
            Assume((dut.worked == worked) | (dut.worked == (worked + 1)[:2])),
            gives.eq(dut.worked != worked),
        ]
        late = Signal()
        with m.If(dut.layer.chunks == 1):
            m.d.comb += late.eq(dut.ends_pass)
        with m.Else():
            m.d.comb += late.eq(dut.ends_round)
        m.d.comb += [
            Assume(~(late & gives)),
            Assert(dut.free == (gives | late)),
            Assert(dut.half == half),
            Assert(device["freed"] == worked),
        ]
        m.d.sync += [
            worked.eq(dut.worked),
            half.eq(half ^ dut.free),
        ]
        return m
