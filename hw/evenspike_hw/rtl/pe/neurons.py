"""Neurons: the psums and the LIF units of a PE, one of each for each neuron."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import BIAS_BITS, GATE_WEIGHTS, Arch
from evenspike_hw.rtl.bits import select
from evenspike_hw.rtl.layouts import (
    LEAK_BITS,
    LOGIT_BITS,
    PSUM_BITS,
    UNIT_BITS,
    WEIGHT_BITS,
    Layouts,
)
from evenspike_hw.rtl.pe.lif import COUNT, PSUM
from evenspike_hw.rtl.pe.neuron_bank import VALUE_BITS, NeuronBank
from evenspike_hw.rtl.pe.window_accumulators import WIDTH_BITS, place


class Neurons(wiring.Component):
    """`Arch.lif_units` neurons in 16 banks, in the place of `WindowAccumulators` and `Lif`.

    log_tile_width, issue, addends: of `WindowAccumulators`.
    steps, ends, carries: of `NeuronBank`, for all banks. threshold, leak, hard, reset, readout,
        bias_unit, bias_low, bias_high: of `Lif`; the layer's are stable from `steps` to `ends`.
    read: a neuron is read, in this row.
    mask: it has a spike. logit: what the read-out says of it; its membrane where there is none.
    accumulator_overflow, membrane_overflow: an adder, a membrane that was read has saturated since
        `clear_overflow`, which a new saturation outweighs.

    A neuron that is read in cycle d has `mask` and `logit` in d + 1, and a saturated membrane shows
    from d + 2 on; one a cycle. The accumulators' latency is that of `NeuronBank`, and a saturation
    of an issue in g shows from g + 3 on.

    docs/timing.md, "Gates that are weights"; u-Ticket section IV-B.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "log_tile_width": In(WIDTH_BITS),
                "issue": In(data.ArrayLayout(layouts.row_read, GATE_WEIGHTS)),
                "addends": In(data.ArrayLayout(signed(WEIGHT_BITS), GATE_WEIGHTS)),
                "steps": In(1),
                "ends": In(1),
                "carries": In(1),
                "threshold": In(PSUM_BITS),
                "leak": In(LEAK_BITS),
                "hard": In(1),
                "reset": In(signed(PSUM_BITS)),
                "readout": In(2),
                "bias_unit": In(UNIT_BITS),
                "bias_low": In(1),
                "bias_high": In(1),
                "read": In(layouts.row_read),
                "clear_overflow": In(1),
                "mask": Out(1),
                "logit": Out(signed(LOGIT_BITS)),
                "accumulator_overflow": Out(1),
                "membrane_overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = self.arch.window_banks
        low, bias = Signal(BIAS_BITS), Signal(signed(PSUM_BITS))
        with m.If(self.bias_low):
            m.d.sync += low.eq(self.bias_unit)
        with m.If(self.bias_high):
            m.d.sync += bias.eq(Cat(low, self.bias_unit[:BIAS_BITS]))

        width = self.log_tile_width
        issued = [place(m, f"issue{n}", one.row, width) for n, one in enumerate(self.issue)]
        number, line = place(m, "read", self.read.row, width)
        chosen = Cat(number == n for n in range(count))
        saturates = Signal(count)
        values: list[Value] = []
        spikes, saturated = Signal(count), Signal(count)
        for n in range(count):
            m.submodules[f"bank{n}"] = bank = NeuronBank(self.arch.lif_units // count)
            ways, weights = Signal(GATE_WEIGHTS, name=f"ways{n}"), Signal(GATE_WEIGHTS)
            pairs = zip(self.issue, issued, strict=True)
            m.d.comb += [
                ways.eq(Cat(one.enable & (at == n) for one, (at, _) in pairs)),
                bank.issue.eq(ways.any()),
                bank.row.eq(select(ways, [row for _, row in issued])),
                bank.addend.eq(
                    select(weights, [addend.as_unsigned() for addend in self.addends]).as_signed()
                ),
                bank.steps.eq(self.steps),
                bank.ends.eq(self.ends),
                bank.carries.eq(self.carries),
                bank.bias.eq(bias),
                bank.threshold.eq(self.threshold),
                bank.leak.eq(self.leak),
                bank.hard.eq(self.hard),
                bank.reset.eq(self.reset),
                bank.psums.eq(self.readout == PSUM),
                bank.read.eq(line),
                saturates[n].eq(bank.saturates),
                spikes[n].eq(bank.spike),
                saturated[n].eq(bank.saturated),
            ]
            m.d.sync += weights.eq(ways)
            values.append(bank.value.as_unsigned())

        # The neuron that is read, a cycle later.
        value, spike, hard = Signal(signed(VALUE_BITS)), Signal(), Signal()
        membrane = Signal()
        m.d.sync += [
            value.eq(select(chosen, values).as_signed()),
            spike.eq((chosen & spikes).any()),
            membrane.eq(self.read.enable & (chosen & saturated).any()),
        ]
        m.d.comb += [
            self.mask.eq(spike),
            hard.eq(spike & self.hard),
            self.logit.eq(Mux(self.readout == COUNT, spike, Mux(hard, 0, value))),
        ]
        for flag, sets in (
            (self.accumulator_overflow, saturates.any()),
            (self.membrane_overflow, membrane),
        ):
            with m.If(sets):
                m.d.sync += flag.eq(1)
            with m.Elif(self.clear_overflow):
                m.d.sync += flag.eq(0)
        return m
