"""Filter: keeps activations out of a PE's FIFO that none of its weights can match."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import FILTER_SIDE, Arch
from evenspike_hw.rtl.layouts import FILTER_BITS, Layouts


class Filter(wiring.Component):
    """An input register, and the count of what the FIFO behind it has or may get.

    activation: what the APU broadcasts; ready: the PE is not full, a function of a register.
    pattern_read, pattern: the OR of the WSPs of the activation's channel; it comes in the next
        cycle.
    passed: to the FIFO, which has `fifo_depth` places and so takes it at once.
    popped: something leaves the FIFO in this cycle.

    Latency 1: what is broadcast in cycle c is in the register in c + 1, and passes in c + 1 or is
    dropped. One activation a cycle. It has a place from c + 1 on: until it is popped, or for that
    one cycle. For K > 3 everything passes, as every marker does.

    docs/timing.md, "Filter, FIFO and matcher".
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        super().__init__(
            {
                "activation": In(stream.Signature(layouts.activation)),
                "pattern_read": Out(layouts.table_read),
                "pattern": In(FILTER_BITS),
                "passed": Out(stream.Signature(layouts.activation, always_ready=True)),
                "popped": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        taken, valid, meets = Signal(), Signal(), Signal()
        depth = self.arch.fifo_depth
        places, full = Signal(range(depth + 1)), Signal()
        given, held = self.activation.payload, self.passed.payload
        held_item = Signal.like(given)
        m.d.comb += [
            self.activation.ready.eq(~full),
            taken.eq(self.activation.valid & ~full),
            self.pattern_read.enable.eq(taken),
            self.pattern_read.half.eq(given.half),
            self.pattern_read.line.eq(given.line),
        ]
        m.d.sync += valid.eq(taken)
        with m.If(taken):
            m.d.sync += held_item.eq(given)

        positions = Cat(
            held_item.rows[r] & held_item.columns[s]
            for r in range(FILTER_SIDE)
            for s in range(FILTER_SIDE)
        )
        m.d.comb += [
            held.eq(held_item),
            meets.eq(
                held_item.marker | (held_item.kernel > 1) | (self.pattern & positions).any()
            ),
            self.passed.valid.eq(valid & meets),
        ]

        # At most one comes and two go in a cycle.
        after = Signal.like(places)
        m.d.comb += after.eq(places + taken - self.popped - (valid & ~meets))
        m.d.sync += [places.eq(after), full.eq(after == depth)]
        return m
