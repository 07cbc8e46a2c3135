"""Bank: a memory of psums with its saturating adders."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import PSUM_BITS, PSUM_MAX, PSUM_MIN, WEIGHT_BITS, Layouts
from evenspike_hw.rtl.ram import Ram


class Bank(wiring.Component):
    """`psums` psums of each neuron, with one saturating adder each.

    issue: a weight is on its way to this row; its `addends` come in the next cycle.
    drain: read this row and, unless it is kept, clear it. Never in a cycle with `issue`.
    carry: this row gets `value` for its first psum, 0 for the others. Never in the two cycles
        after an issue, or in the one after a drain that clears.
    addends: signed; of the issue of the cycle before.
    sums: the row that was read in the cycle before; stays until the next read.
    saturates: an adder does, in this cycle.

    An issue in cycle g reads the row in g, adds to it and writes it in g + 2. A drain in cycle d
    gives `sums` in d + 1, in which the row is cleared. One issue or drain a cycle, the same row
    again included; no back-pressure. Only between issues is a sum forwarded: drains begin no
    earlier than 3 cycles after an issue, and a row is issued or drained again no earlier than 2
    cycles after a drain, or 1 after a carry; the barrier takes longer.

    docs/timing.md, "Selector, gates and accumulators"; u-Ticket section IV-B.
    """

    def __init__(self, arch: Arch, psums: int) -> None:
        self.arch = arch
        self.psums = psums
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "issue": In(layouts.row_read),
                "drain": In(layouts.row_drain),
                "carry": In(layouts.row_carry),
                "addends": In(data.ArrayLayout(signed(WEIGHT_BITS), psums)),
                "sums": Out(data.ArrayLayout(signed(PSUM_BITS), psums)),
                "saturates": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = data.ArrayLayout(signed(PSUM_BITS), self.psums)
        m.submodules.rows = rows = Ram(shape, self.arch.accumulators)
        read, write = rows.read_port(), rows.write_port()

        # reads: an issue has read its row. adds: that is added to now. clears: a drain has read.
        reads, adds, clears = Signal(), Signal(), Signal()
        read_row, row = Signal(self.layouts.row_bits), Signal(self.layouts.row_bits)
        m.d.comb += [
            read.en.eq(self.issue.enable | self.drain.enable),
            read.addr.eq(Mux(self.drain.enable, self.drain.row, self.issue.row)),
            self.sums.eq(read.data),
        ]
        m.d.sync += [
            reads.eq(self.issue.enable),
            adds.eq(reads),
            clears.eq(self.drain.enable & ~self.drain.keep),
            row.eq(read_row),
        ]
        with m.If(read.en):
            m.d.sync += read_row.eq(read.addr)

        # Sums that the RAM does not have yet come from the register of the last ones that were
        # written: those of two issues before, which are written while their row is read, and those
        # of the issue before, which are added to while it is.
        written, held = Signal(shape), Signal(shape)
        addends = Signal.like(self.addends)
        overtakes, follows = Signal(), Signal()
        m.d.sync += [
            overtakes.eq(adds & (self.issue.row == row)),
            follows.eq(adds & reads & (read_row == row)),
            held.eq(Mux(overtakes, written.as_value(), read.data.as_value())),
            addends.eq(self.addends),
        ]

        sums = Signal(shape)
        saturates = Signal(self.psums)
        for number in range(self.psums):
            before = Signal(signed(PSUM_BITS), name=f"before{number}")
            total = Signal(signed(PSUM_BITS + 1), name=f"total{number}")
            m.d.comb += [
                before.eq(Mux(follows, written[number], held[number])),
                total.eq(before + addends[number]),
                saturates[number].eq(total[-1] != total[-2]),
                sums[number].eq(Mux(saturates[number], Mux(total[-1], PSUM_MIN, PSUM_MAX), total)),
            ]
        # The sums come last, so that theirs is the shortest way: a gate for whether they count, one
        # for what is carried.
        carried = self.carry.value.as_unsigned()  # the other psums are 0
        m.d.comb += [
            write.en.eq(adds | clears | self.carry.enable),
            write.addr.eq(Mux(self.carry.enable, self.carry.row, Mux(adds, row, read_row))),
            write.data.eq(Mux(adds, sums.as_value(), 0) | Mux(self.carry.enable, carried, 0)),
            self.saturates.eq(adds & saturates.any()),
        ]
        with m.If(adds):
            m.d.sync += written.eq(sums)
        return m
