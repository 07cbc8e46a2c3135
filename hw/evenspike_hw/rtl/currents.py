"""Currents: the host's words of the first layer, gathered to one current for each PE."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import PSUM_BITS, WORD_BITS


class Currents(wiring.Component):
    """`current_words` words of 64 bits make `pes` signed currents of 24 bits, PE 0 in the low bits.

    word: valid, data; taken in every cycle in which it is valid.
    block: the cycle after a block's last word, which is the block's drain cycle.
    values: the currents of the block, in the cycle after `block`.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__(
            {
                "word": In(data.StructLayout({"valid": 1, "data": WORD_BITS})),
                "block": Out(1),
                "values": Out(data.ArrayLayout(signed(PSUM_BITS), arch.pes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = self.arch.current_words
        words = [Signal(WORD_BITS, name=f"word{n}") for n in range(count)]
        at = Signal(range(max(2, count)))
        last = Signal()
        m.d.comb += last.eq(at == count - 1)
        m.d.sync += self.block.eq(self.word.valid & last)
        with m.If(self.word.valid):
            m.d.sync += at.eq(at + 1)
            with m.If(last):
                m.d.sync += at.eq(0)
            for number, word in enumerate(words):
                with m.If(at == number):
                    m.d.sync += word.eq(self.word.data)
        # The next block's first word may come while this block is read.
        with m.If(self.block):
            m.d.sync += self.values.eq(Cat(*words))
        return m
