"""Bank: a psum is the saturated sum of what was added to it, whatever is forwarded."""

from __future__ import annotations

from types import ModuleType

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Elaboratable, Module, Mux, Signal, signed

from evenspike_core.arch import Arch
from tests.helpers.formal.prove import Opened, free

BITS = 24


class BankSums(Elaboratable):
    """One row, any of them, is followed, as the docstring of Bank says that it may be used.

    source: `evenspike_hw.rtl.pe.bank`. With one psum; those of a row know nothing of each other.
    """

    def __init__(self, source: ModuleType, arch: Arch) -> None:
        self.dut = source.Bank(arch, 1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        device = Opened(dut)
        issue, drain, carry = dut.issue, dut.drain, dut.carry
        free(m, issue, drain, carry, dut.addends)
        mine = AnyConst(len(issue.row))

        # What has happened in the last cycles: issues, those of the row, and drains.
        any1, any2, mine1, mine2 = Signal(), Signal(), Signal(), Signal()
        cleared, drained, drained_row = Signal(), Signal(), Signal.like(drain.row)
        addend = Signal(signed(16))  # of an issue two cycles ago
        m.d.sync += [
            *(any1.eq(issue.enable), any2.eq(any1)),
            *(mine1.eq(issue.enable & (issue.row == mine)), mine2.eq(mine1)),
            *(drained.eq(drain.enable), cleared.eq(drain.enable & ~drain.keep)),
            *(drained_row.eq(drain.row), addend.eq(dut.addends[0])),
        ]
        reads = issue.enable | drain.enable
        row = Mux(drain.enable, drain.row, issue.row)
        m.d.comb += [
            Assume(~(issue.enable & drain.enable)),
            Assume(~drain.enable | ~(any1 | any2)),
            Assume(~carry.enable | ~(any1 | any2 | cleared)),
            Assume(~(reads & drained & (row == drained_row))),
            Assume(~(reads & carry.enable & (row == carry.row))),
        ]

        # The psum as it is when all that has issued two cycles ago or earlier is added.
        psum, total = Signal(signed(BITS)), Signal(signed(BITS + 1))
        high, low = (1 << BITS - 1) - 1, -(1 << BITS - 1)
        m.d.comb += total.eq(psum + addend)
        with m.If(mine2):
            m.d.sync += psum.eq(Mux(total > high, high, Mux(total < low, low, total)))
            m.d.comb += Assert(dut.saturates == ((total > high) | (total < low)))
        with m.Elif(drain.enable & ~drain.keep & (drain.row == mine)):
            m.d.sync += psum.eq(0)
        with m.Elif(carry.enable & (carry.row == mine)):
            m.d.sync += psum.eq(carry.value)
        shown, known = Signal(signed(BITS)), Signal()
        with m.If(drain.enable & (drain.row == mine)):
            m.d.sync += [known.eq(1), shown.eq(psum)]
        with m.Elif(reads):
            m.d.sync += known.eq(0)
        with m.If(known):
            m.d.comb += Assert(dut.sums[0] == shown)

        # Reachable states.
        cell = device["rows"].read_port(domain="comb")
        read, write = device["read"], device["write"]
        collides = Signal()  # what the RAM shows then is not defined
        with m.If(read.en):
            m.d.sync += collides.eq(write.en & (write.addr == read.addr))
        written, held = device["written"][0], device["held"][0]
        m.d.comb += [
            cell.addr.eq(mine),
            Assert(device["reads"] == any1),
            Assert(device["adds"] == any2),
            Assert(device["clears"] == cleared),
            Assert(~mine1 | (device["read_row"] == mine)),
            Assert((any2 & (device["row"] == mine)) == mine2),
            Assert(~drained | (device["read_row"] == drained_row)),
            Assert(~(any1 & ~mine1 & (device["read_row"] == mine))),
            Assert(device["addends"][0] == addend),
            Assert(~(known & collides)),
            Assert(~(drained & (any1 | any2))),
        ]
        clearing = cleared & (drained_row == mine)
        with m.If(clearing):
            m.d.comb += Assert(psum == 0)
        with m.Else():
            m.d.comb += Assert(cell.data[0] == psum)
        with m.If(mine1):
            overtakes = device["overtakes"]
            m.d.comb += [
                Assert(Mux(overtakes, written, dut.sums[0]) == psum),
                Assert(~collides | overtakes),
            ]
        with m.If(mine2):
            m.d.comb += Assert(Mux(device["follows"], written, held) == psum)
        return m
