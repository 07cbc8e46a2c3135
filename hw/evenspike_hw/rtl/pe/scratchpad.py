"""Scratchpad: the weights of a PE and the headers of its kernels, in two halves."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from evenspike_core.arch import HEADER_UNITS, Arch
from evenspike_hw.rtl.layouts import UNIT_BITS, WEIGHT_BITS, Layouts
from evenspike_hw.rtl.ram import Ram


class Scratchpad(wiring.Component):
    """Weight banks and a header bank (docs/timing.md, "Loader"; u-Ticket section IV-B).

    weight_write: addresses run over both halves. weight_read: likewise; where two weights are
        selected a cycle, the first read has an even address and the second an odd one, each with a
        bank of its own, and where four are, read n has an address that is n modulo 4. bias_read:
        any address; never in a cycle with a weight read.
    header_write, header_read: in a half; `header_write.unit` is a multiple of the units that a
        header of this kernel takes.
    weights, bias_unit, header: what was read.

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
                "weight_read": In(data.ArrayLayout(layouts.weight_read, arch.ways)),
                "bias_read": In(layouts.weight_read),
                "header_read": In(layouts.header_read),
                "weights": Out(data.ArrayLayout(signed(WEIGHT_BITS), arch.ways)),
                "bias_unit": Out(UNIT_BITS),
                "header": Out(arch.fetch_units * UNIT_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._weights(m)
        self._headers(m)
        return m

    def _weights(self, m: Module) -> None:
        banks = self.arch.ways
        depth = -(-2 * self.arch.weight_words // banks)
        shift = exact_log2(banks)
        given, bias = self.weight_write, self.bias_read
        for number in range(banks):
            memory = Ram(signed(WEIGHT_BITS), depth)
            m.submodules[f"weights{number}" if shift else "weights"] = memory
            write, read, wanted = memory.write_port(), memory.read_port(), self.weight_read[number]
            of_bias = bias.enable & (bias.address[:shift] == number if shift else 1)
            m.d.comb += [
                write.en.eq(given.enable & (given.address[:shift] == number if shift else 1)),
                write.addr.eq(given.address[shift:]),
                write.data.eq(given.data),
                read.en.eq(wanted.enable | of_bias),
                read.addr.eq(Mux(bias.enable, bias.address[shift:], wanted.address[shift:])),
                self.weights[number].eq(read.data),
            ]
        if not shift:
            m.d.comb += self.bias_unit.eq(self.weights[0])
            return
        odd = Signal(shift, reset_less=True)  # the bank; as the RAM's output, it stays
        with m.If(bias.enable):
            m.d.sync += odd.eq(bias.address[:shift])
        if shift > 1:
            m.d.comb += self.bias_unit.eq(self.weights[odd])
        else:
            m.d.comb += self.bias_unit.eq(Mux(odd, self.weights[1], self.weights[0]))

    def _headers(self, m: Module) -> None:
        """Lines of both halves alternate, so that the half is the low bit of an address: no adder.

        A header is offered at every place of the line where one of its kernel can be, and the
        enables say which.
        """
        line_units, fetch_units = self.layouts.header_line_units, self.arch.fetch_units
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
        if line_units == fetch_units:
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
            self.header.eq(read.data.word_select(high, fetch_units * UNIT_BITS)),
        ]
