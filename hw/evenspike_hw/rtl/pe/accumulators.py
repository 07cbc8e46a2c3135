"""Accumulators: the psums of a PE's neurons."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.bits import exchange
from evenspike_hw.rtl.layouts import WEIGHT_BITS, Layouts
from evenspike_hw.rtl.pe.bank import Bank


class Accumulators(wiring.Component):
    """A row of `timesteps` psums for each neuron.

    Where one weight issues a cycle, the row is in one bank, and its weight comes with the addends
    of all timesteps. Where two are selected, each psum is in a bank of its own, that of timestep t
    in bank t XOR `Layouts.skew(row)`, and each bank has an issue and an addend of its own.

    issue, addends, drain, carry: as of `Bank`; one issue a bank, and an addend for each of its
        psums, bank by bank.
    sums: the row that was drained in the cycle before, by timesteps; stays until the next read.
    overflow: an adder has saturated since `clear_overflow`, which a new saturation outweighs.

    Latency and throughput are those of `Bank`; `overflow` shows an issue in cycle g from g + 3 on.

    docs/timing.md, "Selector, gates and accumulators"; u-Ticket section IV-B.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.layouts = Layouts(arch)
        self.banks = arch.banks if arch.issue > 1 else 1
        self.psums = 1 if arch.issue > 1 else arch.timesteps
        super().__init__(
            {
                "issue": In(data.ArrayLayout(self.layouts.row_read, self.banks)),
                "addends": In(data.ArrayLayout(signed(WEIGHT_BITS), self.banks * self.psums)),
                "drain": In(self.layouts.row_drain),
                "carry": In(self.layouts.row_carry),
                "clear_overflow": In(1),
                "sums": Out(self.layouts.sums),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        banks = [Bank(self.arch, self.psums) for _ in range(self.banks)]
        saturates = Signal(self.banks)
        for number, bank in enumerate(banks):
            m.submodules[f"bank{number}"] = bank
            first = number * self.psums
            m.d.comb += [
                bank.issue.eq(self.issue[number]),
                *(bank.addends[n].eq(self.addends[first + n]) for n in range(self.psums)),
                bank.drain.eq(self.drain),
                bank.carry.eq(self.carry),
                saturates[number].eq(bank.saturates),
            ]
        if self.banks == 1:
            m.d.comb += self.sums.eq(banks[0].sums)
        else:
            self._skew(m, banks)
        with m.If(saturates.any()):
            m.d.sync += self.overflow.eq(1)
        with m.Elif(self.clear_overflow):
            m.d.sync += self.overflow.eq(0)
        return m

    def _skew(self, m: Module, banks: list[Bank]) -> None:
        """Psums of a row in their banks, and back."""
        carried = self.layouts.skew(self.carry.row)
        drained = Signal(len(carried))
        with m.If(self.drain.enable):
            m.d.sync += drained.eq(self.layouts.skew(self.drain.row))
        for number, bank in enumerate(banks):
            m.d.comb += bank.carry.value.eq(Mux(carried == number, self.carry.value, 0))
        psums = exchange([bank.sums[0] for bank in banks], drained)
        m.d.comb += [self.sums[time].eq(psums[time]) for time in range(self.arch.timesteps)]
