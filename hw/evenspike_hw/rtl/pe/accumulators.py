"""Accumulators: the psums of a PE's neurons, and their adders."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import PSUM_BITS, PSUM_MAX, PSUM_MIN, WEIGHT_BITS, Layouts
from evenspike_hw.rtl.ram import Ram


class Accumulators(wiring.Component):
    """A row of `timesteps` psums for each neuron, with one saturating adder a timestep.

    issue: a weight is on its way to this row; its `addends` come in the next cycle.
    drain: read this row and, unless it is kept, clear it. Never in a cycle with `issue`. The row of
        each is 0 in a cycle of the other: a choice would lengthen the longest path of the PE.
    carry: this row gets `value` for its first psum, 0 for the others. Never in the cycle after an
        issue or after a drain that clears.
    addends: signed; of the issue of the cycle before.
    sums: the row that was read in the cycle before; stays until the next read.
    overflow: an adder has saturated since `clear_overflow`, which a new saturation outweighs.

    An issue in cycle g reads the row in g, adds and writes it in g + 1; `overflow` shows it from
    g + 2 on. A drain in cycle d gives `sums` in d + 1, in which the row is cleared. One issue or
    drain a cycle, the same row again included; no back-pressure. Only between issues is a sum
    forwarded: a row is drained no earlier than 2 cycles after an issue to it, and issued or drained
    again no earlier than 2 cycles after a drain, or 1 after a carry; the barrier takes longer.

    docs/timing.md, "Gates and accumulators"; u-Ticket section IV-B.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "issue": In(layouts.row_read),
                "drain": In(layouts.row_drain),
                "carry": In(layouts.row_carry),
                "addends": In(data.ArrayLayout(signed(WEIGHT_BITS), arch.timesteps)),
                "clear_overflow": In(1),
                "sums": Out(layouts.sums),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.rows = rows = Ram(self.layouts.sums, self.arch.accumulators)
        read, write = rows.read_port(), rows.write_port()

        adds, clears = Signal(), Signal()  # the row that was read is added to, is cleared
        row = Signal(self.layouts.row_bits)
        m.d.comb += [
            read.en.eq(self.issue.enable | self.drain.enable),
            read.addr.eq(self.issue.row | self.drain.row),
            self.sums.eq(read.data),
        ]
        m.d.sync += [
            adds.eq(self.issue.enable),
            clears.eq(self.drain.enable & ~self.drain.keep),
        ]
        with m.If(read.en):
            m.d.sync += row.eq(read.addr)

        # A row read in the cycle of its own write is old: its sums come from this register.
        written = Signal(self.layouts.sums)
        forwards = Signal()
        m.d.sync += forwards.eq(adds & (self.issue.row == row))

        sums = Signal(self.layouts.sums)
        saturates = Signal(self.arch.timesteps)
        for time in range(self.arch.timesteps):
            before = Signal(signed(PSUM_BITS), name=f"before{time}")
            total = Signal(signed(PSUM_BITS + 1), name=f"total{time}")
            m.d.comb += [
                before.eq(Mux(forwards, written[time], read.data[time])),
                total.eq(before + self.addends[time]),
                saturates[time].eq(total[-1] != total[-2]),
                sums[time].eq(Mux(saturates[time], Mux(total[-1], PSUM_MIN, PSUM_MAX), total)),
            ]
        # The sums come last, so that theirs is the shortest way: a gate for whether they count, one
        # for what is carried.
        carried = self.carry.value.as_unsigned()  # the psums of the other timesteps are 0
        m.d.comb += [
            write.en.eq(adds | clears | self.carry.enable),
            write.addr.eq(Mux(self.carry.enable, self.carry.row, row)),
            write.data.eq(Mux(adds, sums.as_value(), 0) | Mux(self.carry.enable, carried, 0)),
        ]
        with m.If(adds):
            m.d.sync += written.eq(sums)

        with m.If(adds & saturates.any()):
            m.d.sync += self.overflow.eq(1)
        with m.Elif(self.clear_overflow):
            m.d.sync += self.overflow.eq(0)
        return m
