"""Scratchpad: the weights of a PE and the headers of its kernels, in two halves."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from evenspike_core.arch import HEADER_UNITS, Arch
from evenspike_hw.rtl.layouts import FETCH_UNITS, UNIT_BITS, WEIGHT_BITS, Layouts
from evenspike_hw.rtl.ram import Ram


class Scratchpad(wiring.Component):
    """A weight bank and a header bank (docs/timing.md, "Loader"; u-Ticket section IV-B).

    weight_write, weight_read: addresses run over both halves. header_write, header_read: in a half;
        `header_write.unit` is a multiple of the units that a header of this kernel takes.
    weight, header: what was read.

    One read and one write of each bank a cycle. The data of a read in cycle c are there from c + 1
    until the next read of the bank. A write in c is seen by reads from c + 1 on; the other half is
    read while one is written. Nothing is reset.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "weight_write": In(layouts.weight_write),
                "header_write": In(layouts.header_write),
                "weight_read": In(layouts.weight_read),
                "header_read": In(layouts.header_read),
                "weight": Out(signed(WEIGHT_BITS)),
                "header": Out(FETCH_UNITS * UNIT_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._weights(m)
        self._headers(m)
        return m

    def _weights(self, m: Module) -> None:
        depth = 2 * self.arch.weight_words
        m.submodules.weights = memory = Ram(signed(WEIGHT_BITS), depth)
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.weight_write.enable),
            write.addr.eq(self.weight_write.address),
            write.data.eq(self.weight_write.data),
            read.en.eq(self.weight_read.enable),
            read.addr.eq(self.weight_read.address),
            self.weight.eq(read.data),
        ]

    def _headers(self, m: Module) -> None:
        """Lines of both halves alternate, so that the half is the low bit of an address: no adder.

        A header is offered at every place of the line where one of its kernel can be, and the
        enables say which.
        """
        line_units = self.layouts.header_line_units
        m.submodules.headers = memory = Ram(line_units * UNIT_BITS, 2 * self.layouts.header_lines)
        write, read = memory.write_port(granularity=UNIT_BITS), memory.read_port()
        given, wanted = self.header_write, self.header_read
        m.d.comb += write.addr.eq(Cat(given.half, given.unit[exact_log2(line_units) :]))
        with m.Switch(given.kernel):
            for code, side in enumerate(self.layouts.sides):
                units = HEADER_UNITS[side]
                header = given.data[: units * UNIT_BITS]
                with m.Case(code):
                    m.d.comb += write.data.eq(header.replicate(line_units // units))
                    for place in range(line_units // units):
                        chosen = given.unit[exact_log2(units) : exact_log2(line_units)] == place
                        m.d.comb += write.en[place * units : (place + 1) * units].eq(
                            (given.enable & chosen).replicate(units)
                        )

        m.d.comb += read.en.eq(wanted.enable)
        if line_units == FETCH_UNITS:
            m.d.comb += [
                read.addr.eq(Cat(wanted.half, wanted.word)),
                self.header.eq(read.data),
            ]
            return
        high = Signal(reset_less=True)  # as the RAM's output, it stays
        with m.If(wanted.enable):
            m.d.sync += high.eq(wanted.word[0])
        m.d.comb += [
            read.addr.eq(Cat(wanted.half, wanted.word[1:])),
            self.header.eq(read.data.word_select(high, FETCH_UNITS * UNIT_BITS)),
        ]
