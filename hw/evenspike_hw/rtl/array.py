"""Array: the PEs, and what the sequencer has to know of all of them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import LOGIT_BITS, TIMESTEP_BITS, Layouts
from evenspike_hw.rtl.pe.pe import PE_LAYER, Pe
from evenspike_hw.rtl.repeat import repeat


class Array(wiring.Component):
    """`pes` PEs in lockstep at barriers and drains, on their own between them.

    words, send_word, word_ready: the loader's words, to which PEs, and which can take one. PE n
        gets that of lane n modulo the lanes.
    activation, send, full: the APU's broadcast, to which PEs, and whose FIFOs are full.
    loaded, worked, rounds: modulo 4, the least of all PEs, a register behind the PEs' own
        (docs/timing.md: "a register in the PE, a register behind the AND"). A PE is at most two
        ahead of another, since there are two halves of a scratchpad, so that two bits tell.
    pe_rounds, finished, busy: of each PE, for the counters.
    The rest is `Pe`'s, for all or for each.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        pes = arch.pes
        super().__init__(
            {
                "words": In(layouts.load_words),
                "send_word": In(pes),
                "word_ready": Out(pes),
                "activation": In(layouts.activation),
                "send": In(pes),
                "full": Out(pes),
                "presence_read": In(layouts.presence_read),
                "presence": Out(data.ArrayLayout(pes, pes)),
                "layer": In(PE_LAYER),
                "round": In(1),
                "drain": In(layouts.drain_read),
                "bias_low": In(1),
                "bias_high": In(1),
                "valid": In(1),
                "timesteps": In(TIMESTEP_BITS),
                "carries": In(1),
                "carry": In(layouts.row_read),
                "clear_overflow": In(1),
                "masks": Out(layouts.masks),
                "logits": Out(data.ArrayLayout(signed(LOGIT_BITS), pes)),
                "loaded": Out(2),
                "worked": Out(2),
                "rounds": Out(2),
                "busy": Out(pes),
                "pe_rounds": Out(data.ArrayLayout(2, pes)),
                "finished": Out(data.ArrayLayout(2, pes)),
                "accumulator_overflow": Out(pes),
                "membrane_overflow": Out(pes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pes = repeat(m, platform, "pe", self.arch.pes, lambda: Pe(self.arch))
        for number, pe in enumerate(pes):
            m.d.comb += [
                pe.word.payload.eq(self.words[number % self.arch.port_lanes]),
                pe.word.valid.eq(self.send_word[number]),
                self.word_ready[number].eq(pe.word.ready),
                pe.activation.payload.eq(self.activation),
                pe.activation.valid.eq(self.send[number]),
                self.full[number].eq(~pe.activation.ready),
                pe.presence_read.eq(self.presence_read),
                self.presence[number].eq(pe.presence),
                pe.layer.eq(self.layer),
                pe.round.eq(self.round),
                pe.drain.eq(self.drain),
                pe.bias_low.eq(self.bias_low),
                pe.bias_high.eq(self.bias_high),
                pe.valid.eq(self.valid),
                pe.timesteps.eq(self.timesteps),
                pe.carries.eq(self.carries),
                pe.carry.eq(self.carry),
                pe.clear_overflow.eq(self.clear_overflow),
                self.masks[number].eq(pe.mask),
                self.logits[number].eq(pe.logit),
                self.busy[number].eq(pe.busy),
                self.pe_rounds[number].eq(pe.rounds),
                self.finished[number].eq(pe.finished),
                self.accumulator_overflow[number].eq(pe.accumulator_overflow),
                self.membrane_overflow[number].eq(pe.membrane_overflow),
            ]
        for least, counters in (
            (self.loaded, [pe.unpacked for pe in pes]),
            (self.worked, [pe.worked for pe in pes]),
            (self.rounds, [pe.rounds for pe in pes]),
        ):
            m.d.sync += least.eq(least + Cat(counter != least for counter in counters).all())
        return m
