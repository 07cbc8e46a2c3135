"""Neuron bank: psums in registers with an adder, and a LIF unit for each of them."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from evenspike_hw.rtl.layouts import (
    LEAK_BITS,
    LEAK_FRACTION,
    PSUM_BITS,
    PSUM_MAX,
    PSUM_MIN,
    WEIGHT_BITS,
)

VALUE_BITS = PSUM_BITS + 1
"""Of a membrane, or of a psum and its bias where the read-out is of these."""


class NeuronBank(wiring.Component):
    """`rows` neurons: of each a psum, a membrane, and what leaks, adds, compares and resets it.

    issue, row: a weight is on its way to the psum of this row; its `addend` comes in the next
        cycle.
    steps: every neuron adds its psum and the bias to its membrane, and the psum is cleared. Never
        within two cycles behind an issue.
    ends: every membrane leaks, less what a spike takes off, or without `carries` is cleared. Never
        with `steps`.
    bias, threshold, leak, hard, reset: as of `Lif`; stable from `steps` to `ends`. psums: the
        read-out is of psums, so that nothing saturates or fires.
    read: the row whose neuron is at the outputs: `value`, its membrane behind the last step or sum
        of psum and bias; `spike`; `saturated`: its membrane has, in the step or in what the round
        before has left.
    saturates: the adder does, in this cycle.

    An issue in cycle g writes its psum in g + 2; one a cycle. What `steps` or `ends` makes in c is
    there from c + 1 on. The outputs belong to the cycle's `read`.

    docs/timing.md, "Gates that are weights"; u-Ticket section IV-B.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        bits = exact_log2(rows)
        super().__init__(
            {
                "issue": In(1),
                "row": In(bits),
                "addend": In(signed(WEIGHT_BITS)),
                "steps": In(1),
                "ends": In(1),
                "carries": In(1),
                "bias": In(signed(PSUM_BITS)),
                "threshold": In(PSUM_BITS),
                "leak": In(LEAK_BITS),
                "hard": In(1),
                "reset": In(signed(PSUM_BITS)),
                "psums": In(1),
                "read": In(bits),
                "value": Out(signed(VALUE_BITS)),
                "spike": Out(1),
                "saturated": Out(1),
                "saturates": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        psums = Array(Signal(signed(PSUM_BITS), name=f"psum{n}") for n in range(self.rows))
        values = Array(Signal(signed(VALUE_BITS), name=f"value{n}") for n in range(self.rows))
        spikes = Array(Signal(name=f"spike{n}") for n in range(self.rows))
        saturated = Array(Signal(name=f"saturated{n}") for n in range(self.rows))
        m.d.comb += [
            self.value.eq(values[self.read]),
            self.spike.eq(spikes[self.read]),
            self.saturated.eq(saturated[self.read]),
        ]

        # The adder: the weight is there a cycle behind its issue, and in a register in the next.
        gated, adds = Signal(), Signal()
        gated_row, row = Signal(len(self.row)), Signal(len(self.row))
        addend = Signal.like(self.addend)
        total, added = Signal(signed(PSUM_BITS + 1)), Signal(signed(PSUM_BITS))
        m.d.sync += [
            gated.eq(self.issue),
            gated_row.eq(self.row),
            adds.eq(gated),
            row.eq(gated_row),
            addend.eq(self.addend),
        ]
        m.d.comb += [
            total.eq(psums[row] + addend),
            self.saturates.eq(adds & (total[-1] != total[-2])),
            added.eq(Mux(self.saturates, Mux(total[-1], PSUM_MIN, PSUM_MAX), total)),
        ]
        for n in range(self.rows):
            with m.If(self.steps):
                m.d.sync += psums[n].eq(0)
            with m.Elif(adds & (row == n)):
                m.d.sync += psums[n].eq(added)
            self._unit(m, n, psums[n], values[n], spikes[n], saturated[n])
        return m

    def _unit(
        self, m: Module, n: int, psum: Signal, value: Signal, spike: Signal, saturated: Signal
    ) -> None:
        """A LIF unit: a step in one cycle, and what it leaves in another."""
        margin = Signal(signed(PSUM_BITS + 2), name=f"margin{n}")
        drive = Signal(signed(PSUM_BITS + 3), name=f"drive{n}")
        kept = Signal(signed(PSUM_BITS), name=f"kept{n}")
        product = Signal(signed(PSUM_BITS + LEAK_BITS + 1), name=f"product{n}")
        left = Signal(signed(PSUM_BITS + 3), name=f"left{n}")
        m.d.comb += [
            margin.eq(value - self.threshold),
            spike.eq(~self.psums & ~margin[-1]),
            drive.eq(value + psum + self.bias),
            kept.eq(Mux(spike & self.hard, 0, value)),
            product.eq(kept * self.leak),
            left.eq((product >> LEAK_FRACTION) - Mux(spike, self.reset, 0)),
        ]
        steps_over, leaves_over = (
            _beyond(m, f"{name}{n}", total) for name, total in (("drive", drive), ("left", left))
        )
        with m.If(self.steps):
            over = steps_over & ~self.psums
            m.d.sync += [
                value.eq(Mux(over, Mux(drive[-1], PSUM_MIN, PSUM_MAX), drive)),
                saturated.eq(saturated | over),
            ]
        with m.Elif(self.ends):
            m.d.sync += [
                value.eq(
                    Mux(
                        self.carries,
                        Mux(leaves_over, Mux(left[-1], PSUM_MIN, PSUM_MAX), left),
                        0,
                    )
                ),
                saturated.eq(self.carries & leaves_over),
            ]


def _beyond(m: Module, name: str, total: Signal) -> Signal:
    """Whether a number has more than the bits of a membrane."""
    found = Signal(name=f"{name}_beyond")
    top = Cat(total[PSUM_BITS - 1 :])
    m.d.comb += found.eq(top.any() & ~top.all())
    return found
