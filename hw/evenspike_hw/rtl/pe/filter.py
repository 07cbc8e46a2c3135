"""Filter: keeps activations out of a PE's FIFO that none of its weights can match."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import FILTER_SIDE, Arch
from evenspike_hw.rtl.layouts import FILTER_BITS, Layouts, pushed


class Filter(wiring.Component):
    """Two input registers, and the count of what the FIFO behind them has or may get.

    activation: what the APU broadcasts; ready: the PE is not full, a function of a register.
    pattern_read, pattern: the OR of the WSPs of the activation's channel; it comes in the next
        cycle.
    passed: to the FIFO, which has `fifo_depth` places and so takes it at once.
    popped: something leaves the FIFO in this cycle.

    Latency 2: what is broadcast in cycle c passes in c + 2, or is dropped. One activation a cycle.
    It has a place from c + 1 on: to the cycle after its pop, or to c + 3. For K > 3 everything
    passes, as every marker does.

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
                "passed": Out(pushed(layouts.activation)),
                "popped": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = self.arch.fifo_depth
        given = self.activation.payload
        taken = Signal()
        places, after, full = Signal(range(depth + 1)), Signal(range(depth + 1)), Signal()
        # The activation, first beside the memory's output, then beside what that was.
        arrived, looked_at = Signal.like(given), Signal.like(given)
        arrived_valid, valid, meets = Signal(), Signal(), Signal()
        popped, dropped = Signal(), Signal()
        pattern = Signal.like(self.pattern)
        m.d.comb += [
            self.activation.ready.eq(~full),
            taken.eq(self.activation.valid & ~full),
            self.pattern_read.enable.eq(taken),
            self.pattern_read.half.eq(given.half),
            self.pattern_read.line.eq(given.line),
        ]
        m.d.sync += [
            arrived_valid.eq(taken),
            arrived.eq(given),
            valid.eq(arrived_valid),
            looked_at.eq(arrived),
            pattern.eq(self.pattern),
        ]

        positions = Cat(
            looked_at.rows[r] & looked_at.columns[s]
            for r in range(FILTER_SIDE)
            for s in range(FILTER_SIDE)
        )
        m.d.comb += [
            meets.eq(looked_at.marker | (looked_at.kernel > 1) | (pattern & positions).any()),
            self.passed.payload.eq(looked_at),
            self.passed.valid.eq(valid & meets),
            after.eq(places + taken - popped - dropped),
        ]
        # Registers, since both are known late in their cycle.
        m.d.sync += [
            popped.eq(self.popped),
            dropped.eq(valid & ~meets),
            places.eq(after),
            full.eq(after == depth),
        ]
        return m
