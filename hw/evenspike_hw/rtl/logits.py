"""Logit writer: the results of the last layer, on their way to the memory."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import ADDRESS_BITS, LOGIT_BITS, Layouts


class LogitWriter(wiring.Component):
    """Writes the logits of a block in words of the port (docs/timing.md, "Last layer").

    start: the next block is written from `base` on, each further one behind the one before.
    valid, logits: a block, one logit a lane. write: a word; lane 0 is in the low bits of the first.

    A block in cycle c is written in c + 1 ... c + n, n = `Arch.logit_words`; one block every n
    cycles, no back-pressure. `start` comes when none is being written.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.layouts = Layouts(arch)
        fields = {"enable": 1, "address": ADDRESS_BITS, "data": arch.port_bits}
        write = data.StructLayout(fields)
        super().__init__(
            {
                "start": In(1),
                "base": In(ADDRESS_BITS),
                "valid": In(1),
                "logits": In(data.ArrayLayout(signed(LOGIT_BITS), arch.pes)),
                "write": Out(write),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words, width = self.arch.logit_words, self.arch.port_bits
        shift = Signal(words * width)
        left = Signal(range(words + 1))  # words still to write; the next is the lowest of `shift`
        m.d.comb += [
            self.write.enable.eq(left != 0),
            self.write.data.eq(shift[:width]),
        ]
        with m.If(self.valid):
            m.d.sync += [shift.eq(self.logits), left.eq(words)]
        with m.Elif(self.write.enable):
            m.d.sync += [shift.eq(shift >> width), left.eq(left - 1)]
        with m.If(self.start):
            m.d.sync += self.write.address.eq(self.base)
        with m.Elif(self.write.enable):
            m.d.sync += self.write.address.eq(self.write.address + 1)
        return m
