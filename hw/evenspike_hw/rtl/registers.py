"""Command and status registers: how a host starts the accelerator and sees what became of it."""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenspike_core.arch import Arch
from evenspike_hw.rtl.fetch import LAYER_BITS
from evenspike_hw.rtl.layouts import FILL_BITS

REGISTER_BITS = 32

BUS = data.StructLayout({"write": 1, "address": 4, "data": REGISTER_BITS})
"""write: `data` goes to the register at `address`, which is read in any case."""


class Register(IntEnum):
    """Addresses of the registers, 32 bits each. Memory addresses count 64-bit words."""

    CONTROL = 0
    """written: bit 0 starts an inference, bit 1 fills the table. Read: `Status`."""
    INPUT = 1
    """where the input's spikes are"""
    WEIGHTS = 2
    """where the weight stream is"""
    LOGITS = 3
    """where the logits go"""
    TABLE = 4
    """where the table's words are"""
    TABLE_WORDS = 5
    PASS_BASE = 6
    """address of the list of passes in the table"""
    CYCLES = 7
    """read: of the inference that runs or ran"""
    DIGEST = 8
    """read: first 32 bits of `Arch.digest`"""


class Status(IntEnum):
    """Bits of the status that CONTROL reads."""

    BUSY = 0
    DONE = 1
    """an inference has ended since the last start"""
    ERROR = 2
    """stopped at a descriptor that the hardware cannot run; LAYER says which"""
    OVERFLOW = 3
    """a partial sum or a membrane has saturated since the last start"""
    LAYER = 16
    """from this bit on: the layer that runs, or at which it stopped"""


class Registers(wiring.Component):
    """A bus of 32-bit registers.

    bus: address, write, write data; the register at `address` is on `read` in the cycle after.
    start, fill: pulses; ignored while busy.
    busy, done, error, overflow, number: what `Status` tells; done and overflow are pulses.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__(
            {
                "bus": In(BUS),
                "read": Out(REGISTER_BITS),
                "start": Out(1),
                "fill": Out(1),
                "input": Out(REGISTER_BITS),
                "weights": Out(REGISTER_BITS),
                "logits": Out(REGISTER_BITS),
                "table": Out(REGISTER_BITS),
                "table_words": Out(FILL_BITS),
                "pass_base": Out(ceil_log2(arch.table_words)),
                "busy": In(1),
                "running": In(1),
                "done": In(1),
                "error": In(1),
                "overflow": In(1),
                "number": In(LAYER_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cycles = Signal(REGISTER_BITS)
        done, overflow = Signal(), Signal()
        control = Signal()
        m.d.comb += [
            control.eq(self.bus.write & (self.bus.address == Register.CONTROL) & ~self.busy),
            self.start.eq(control & self.bus.data[0]),
            self.fill.eq(control & self.bus.data[1] & ~self.bus.data[0]),
        ]
        stored = {
            Register.INPUT: self.input,
            Register.WEIGHTS: self.weights,
            Register.LOGITS: self.logits,
            Register.TABLE: self.table,
            Register.TABLE_WORDS: self.table_words,
            Register.PASS_BASE: self.pass_base,
        }
        # While it runs the registers keep what it runs with.
        for address, register in stored.items():
            with m.If(self.bus.write & ~self.busy & (self.bus.address == address)):
                m.d.sync += register.eq(self.bus.data)
        with m.If(self.start):
            m.d.sync += [cycles.eq(0), done.eq(0), overflow.eq(0)]
        with m.Else():
            m.d.sync += [
                cycles.eq(cycles + self.running),
                done.eq(done | self.done),
                overflow.eq(overflow | self.overflow),
            ]
        status = Signal(REGISTER_BITS)
        m.d.comb += [
            status[Status.BUSY].eq(self.busy),
            status[Status.DONE].eq(done),
            status[Status.ERROR].eq(self.error),
            status[Status.OVERFLOW].eq(overflow),
            status[Status.LAYER : Status.LAYER + LAYER_BITS].eq(self.number),
        ]
        with m.Switch(self.bus.address):
            with m.Case(Register.CONTROL):
                m.d.sync += self.read.eq(status)
            for address, register in stored.items():
                with m.Case(address):
                    m.d.sync += self.read.eq(register)
            with m.Case(Register.CYCLES):
                m.d.sync += self.read.eq(cycles)
            with m.Case(Register.DIGEST):
                m.d.sync += self.read.eq(int(self.arch.digest[:8], 16))
            with m.Default():
                m.d.sync += self.read.eq(0)
        return m
