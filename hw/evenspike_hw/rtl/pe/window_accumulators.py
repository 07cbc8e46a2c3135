"""Window accumulators: the psums of a PE's neurons, one each, a bank for each place of a window."""

from __future__ import annotations

from dataclasses import replace

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from evenspike_core.arch import GATE_WEIGHTS, TIMESTEPS, WINDOW, Arch
from evenspike_hw.rtl.bits import select
from evenspike_hw.rtl.layouts import WEIGHT_BITS, Layouts
from evenspike_hw.rtl.pe.bank import Bank

SIDE_BITS = exact_log2(WINDOW)
"""Bits of a row or a column of a window."""

WIDTH_BITS = 4
"""Bits of the logarithm of a tile's width."""


def bank_arch(arch: Arch) -> Arch:
    """Returns the Arch of one of the banks: the rows of `Arch.accumulators` that it has."""
    return replace(arch, gates=TIMESTEPS, accumulators=arch.accumulators // arch.window_banks)


class WindowAccumulators(wiring.Component):
    """A psum for each neuron, in 16 banks, so that four weights of a kernel are added in a cycle.

    log_tile_width: log2 of the width of a tile; stable while its psums are in flight.
    issue, addends: as of `Bank`, for each of four ways; the rows are in different banks. drain,
        carry: as of `Bank`. clear_overflow, sums, overflow: as of `Accumulators`.

    Of a tile 4 wide or wider the bank of a row of the accumulators is made of the low two bits of
    the neuron's row and of its column: bits 1:0 of the row's number, and the two from
    `log_tile_width` on. In a narrower tile these are bits 3:2, of further rows; where the tile is
    so wide that there are no two bits behind its columns, the number's topmost two.

    Latency and throughput are those of `Bank`, for four rows of different banks; `overflow` shows
    an issue in cycle g from g + 3 on.

    docs/timing.md, "Gates that are weights"; u-Ticket section IV-B.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.layouts = Layouts(arch)
        super().__init__(
            {
                "log_tile_width": In(WIDTH_BITS),
                "issue": In(data.ArrayLayout(self.layouts.row_read, GATE_WEIGHTS)),
                "addends": In(data.ArrayLayout(signed(WEIGHT_BITS), GATE_WEIGHTS)),
                "drain": In(self.layouts.row_drain),
                "carry": In(self.layouts.row_carry),
                "clear_overflow": In(1),
                "sums": Out(self.layouts.sums),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = self.arch.window_banks
        banks = [Bank(bank_arch(self.arch), 1) for _ in range(count)]
        width = self.log_tile_width
        issued = [place(m, f"issue{n}", self.issue[n].row, width) for n in range(GATE_WEIGHTS)]
        drained = place(m, "drain", self.drain.row, width)
        carried = place(m, "carry", self.carry.row, width)
        saturates, read = Signal(count), Signal(count)
        for number, bank in enumerate(banks):
            m.submodules[f"bank{number}"] = bank
            chosen, ways = Signal(GATE_WEIGHTS), Signal(GATE_WEIGHTS)
            drains = drained[0] == number
            m.d.comb += [
                chosen.eq(
                    Cat(
                        one.enable & (at == number)
                        for one, (at, _) in zip(self.issue, issued, strict=True)
                    )
                ),
                bank.issue.enable.eq(chosen.any()),
                bank.issue.row.eq(select(chosen, [line for _, line in issued])),
                bank.addends[0].eq(
                    select(ways, [addend.as_unsigned() for addend in self.addends]).as_signed()
                ),
                bank.drain.enable.eq(self.drain.enable & drains),
                bank.drain.keep.eq(self.drain.keep),
                bank.drain.row.eq(drained[1]),
                bank.carry.enable.eq(self.carry.enable & (carried[0] == number)),
                bank.carry.row.eq(carried[1]),
                bank.carry.value.eq(self.carry.value),
                saturates[number].eq(bank.saturates),
            ]
            m.d.sync += ways.eq(chosen)
            with m.If(self.drain.enable):
                m.d.sync += read[number].eq(drains)
        m.d.comb += self.sums[0].eq(
            select(read, [bank.sums[0].as_unsigned() for bank in banks]).as_signed()
        )
        with m.If(saturates.any()):
            m.d.sync += self.overflow.eq(1)
        with m.Elif(self.clear_overflow):
            m.d.sync += self.overflow.eq(0)
        return m


def place(m: Module, name: str, row: Value, log_tile_width: Value) -> tuple[Signal, Signal]:
    """The bank of a row of the accumulators, and the row in it."""
    bits = len(row)
    bank = Signal(2 * SIDE_BITS, name=f"{name}_bank")
    line = Signal(bits - 2 * SIDE_BITS, name=f"{name}_line")
    low, rest = row[:SIDE_BITS], row[SIDE_BITS:]
    first, last = 0, len(rest) - SIDE_BITS
    with m.Switch(log_tile_width):
        for at in range(first + 1, last):
            with m.Case(at + SIDE_BITS):
                _split(m, bank, line, low, rest, at)
        narrow = [n for n in range(1 << WIDTH_BITS) if n <= SIDE_BITS]
        with m.Case(*narrow):
            _split(m, bank, line, low, rest, first)
        with m.Default():
            _split(m, bank, line, low, rest, last)
    return bank, line


def _split(m: Module, bank: Signal, line: Signal, low: Value, rest: Value, at: int) -> None:
    """rest: the number of a row without its low two bits; two of them, from `at` on, are the
    bank's.
    """
    m.d.comb += [
        bank.eq(Cat(low, rest[at : at + SIDE_BITS])),
        line.eq(Cat(rest[:at], rest[at + SIDE_BITS :])),
    ]
