"""Command and status registers: how a host starts the accelerator and sees what became of it."""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenspike_core.arch import Arch
from evenspike_hw.rtl.faults import FAULT_BITS
from evenspike_hw.rtl.fetch import LAYER_BITS
from evenspike_hw.rtl.layouts import FILL_BITS
from evenspike_hw.rtl.watchdog import LIMIT, LIMIT_BITS

REGISTER_BITS = 32

REGISTERS = wiring.Signature(
    {
        "write": Out(1),
        "address": Out(4),
        "data": Out(REGISTER_BITS),
        "read": In(REGISTER_BITS),
    }
)
"""The registers, from the side of the host. write: `data` goes to the register at `address`. read:
the register at the address of the cycle before, written or not. One access a cycle, no
back-pressure.
"""


class Register(IntEnum):
    """Addresses of the registers, 32 bits each; what each is says `MEANING`."""

    CONTROL = 0
    INPUT = 1
    WEIGHTS = 2
    LOGITS = 3
    TABLE = 4
    TABLE_WORDS = 5
    PASS_BASE = 6
    CYCLES = 7
    DIGEST = 8
    FAULT = 9
    WATCHDOG = 10


MEANING = {
    Register.CONTROL: "written: a command of `CONTROL`; read: the bits of `Status`",
    Register.INPUT: "address of the input's spikes",
    Register.WEIGHTS: "address of the weight stream",
    Register.LOGITS: "address where the results go",
    Register.TABLE: "address of the table's words",
    Register.TABLE_WORDS: f"number of the table's 64-bit words; its low {FILL_BITS} bits count",
    Register.PASS_BASE: "address of the list of passes in the table",
    Register.CYCLES: "read only: cycles of the inference that runs or ran",
    Register.DIGEST: "read only: first 32 bits of the Arch's digest",
    Register.FAULT: "read only: why it has stopped, a code of `Fault`",
    Register.WATCHDOG: "log2 of the cycles without any event after which it stops, in its low "
    f"{LIMIT_BITS} bits; 0: never; {LIMIT} after a reset",
}
"""In words. Addresses of the memory count words of the port."""

CONTROL = {
    "START": (0, "starts an inference"),
    "FILL": (1, "fills the table; once for a network"),
    "ABORT": (2, "ends whatever runs, and leaves no trace of it"),
}
"""Commands: the bit of CONTROL that is written, and what it does. While busy all but ABORT are
ignored, and those that come with it."""


class Status(IntEnum):
    """Bits of the status that CONTROL reads."""

    BUSY = 0
    DONE = 1
    ERROR = 2
    OVERFLOW = 3
    LAYER = 16

    @property
    def meaning(self) -> str:
        """In words."""
        return {
            Status.BUSY: "it runs, fills the table, or cleans up behind what was stopped",
            Status.DONE: "an inference has ended since the last start",
            Status.ERROR: "stopped by itself since the last start, fill or abort; FAULT says why",
            Status.OVERFLOW: "a partial sum or a membrane has saturated since the last start",
            Status.LAYER: "8 bits from here on: the layer that runs, or at which it stopped",
        }[self]


class Registers(wiring.Component):
    """A bus of 32-bit registers.

    bus: see `REGISTERS`.
    start, fill: pulses; ignored while busy. abort: pulse, which is not.
    input, weights, logits, table, table_words, pass_base, watchdog: what the registers of these
        names hold; none of them changes while busy. running: a cycle that CYCLES counts.
    busy, done, overflow, number: what `Status` tells; done and overflow are pulses.
    stopped: a `Fault` in the cycle in which it stops by itself, else 0; the layer of this cycle is
        shown from then on, instead of `number`, until the next command.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__(
            {
                "bus": In(REGISTERS),
                "start": Out(1),
                "fill": Out(1),
                "abort": Out(1),
                "input": Out(arch.address_bits),
                "weights": Out(arch.address_bits),
                "logits": Out(arch.address_bits),
                "table": Out(arch.address_bits),
                "table_words": Out(FILL_BITS),
                "pass_base": Out(ceil_log2(arch.table_words)),
                "watchdog": Out(LIMIT_BITS, init=LIMIT),
                "busy": In(1),
                "running": In(1),
                "done": In(1),
                "stopped": In(FAULT_BITS),
                "overflow": In(1),
                "number": In(LAYER_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cycles = Signal(REGISTER_BITS)
        done, overflow = Signal(), Signal()
        fault, layer = Signal(FAULT_BITS), Signal(LAYER_BITS)
        control, free = Signal(), Signal()
        start, fill, abort = (self.bus.data[bit] for bit, _ in CONTROL.values())
        m.d.comb += [
            control.eq(self.bus.write & (self.bus.address == Register.CONTROL)),
            free.eq(control & ~self.busy & ~abort),
            self.start.eq(free & start),
            self.fill.eq(free & fill & ~start),
            self.abort.eq(control & abort),
        ]
        stored = {
            Register.INPUT: self.input,
            Register.WEIGHTS: self.weights,
            Register.LOGITS: self.logits,
            Register.TABLE: self.table,
            Register.TABLE_WORDS: self.table_words,
            Register.PASS_BASE: self.pass_base,
            Register.WATCHDOG: self.watchdog,
        }
        # While it runs the registers keep what it runs with.
        for address, register in stored.items():
            with m.If(self.bus.write & ~self.busy & (self.bus.address == address)):
                m.d.sync += register.eq(self.bus.data)
        with m.If(self.start | self.fill | self.abort):
            m.d.sync += fault.eq(0)
        with m.Elif(self.stopped != 0):
            m.d.sync += [fault.eq(self.stopped), layer.eq(self.number)]
        with m.If(self.start | self.abort):
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
            status[Status.ERROR].eq(fault != 0),
            status[Status.OVERFLOW].eq(overflow),
            status[Status.LAYER : Status.LAYER + LAYER_BITS].eq(
                Mux(fault != 0, layer, self.number)
            ),
        ]
        with m.Switch(self.bus.address):
            with m.Case(Register.CONTROL):
                m.d.sync += self.bus.read.eq(status)
            for address, register in stored.items():
                with m.Case(address):
                    m.d.sync += self.bus.read.eq(register)
            with m.Case(Register.CYCLES):
                m.d.sync += self.bus.read.eq(cycles)
            with m.Case(Register.FAULT):
                m.d.sync += self.bus.read.eq(fault)
            with m.Case(Register.DIGEST):
                m.d.sync += self.bus.read.eq(int(self.arch.digest[:8], 16))
            with m.Default():
                m.d.sync += self.bus.read.eq(0)
        return m
