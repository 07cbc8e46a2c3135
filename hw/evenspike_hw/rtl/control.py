"""Control: from a host's command to the cycles of an inference, and the filling of the table."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import FILL_BITS


class Control(wiring.Component):
    """Resets the blocks, lets them read what they start with, and says `go`.

    start, fill: commands, in a cycle in which `busy` is low.
    table_words: how many words the table gets. word_valid: a word of the port is there, with one of
        them in each lane. word_done: in the cycle of the last of its lanes that counts.
    pending: the memory owes answers, which an inference that an error has ended leaves behind.
    prepared: all blocks are. running, error: of the sequencer.
    reset: clears the registers of the core (the memories keep what they hold), for a cycle or for
        as long as answers are pending.
    prepare, go: pulses; `go` is cycle 0. filling, fill_address: words go to the table, one a cycle
        where `word_valid` is high, and where; its low bits are the lane.
    begin_fill: pulse. done: the inference is over, in good or bad.
    """

    def __init__(self, arch: Arch) -> None:
        self.lanes = arch.port_lanes
        super().__init__(
            {
                "start": In(1),
                "fill": In(1),
                "table_words": In(FILL_BITS),
                "word_valid": In(1),
                "word_done": Out(1),
                "pending": In(1),
                "prepared": In(1),
                "running": In(1),
                "error": In(1),
                "reset": Out(1),
                "prepare": Out(1),
                "go": Out(1),
                "begin_fill": Out(1),
                "filling": Out(1),
                "fill_address": Out(ceil_log2(arch.table_words)),
                "busy": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(FILL_BITS)
        with m.FSM() as fsm:
            with m.State("IDLE"):
                with m.If(self.start):
                    m.next = "RESET"
                with m.Elif(self.fill):
                    m.next = "RESET_FILL"
            with m.State("RESET"):
                m.d.comb += self.reset.eq(1)
                with m.If(~self.pending):
                    m.next = "PREPARE"
            with m.State("PREPARE"):
                m.d.comb += self.prepare.eq(1)
                m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(self.error):
                    m.next = "IDLE"
                with m.Elif(self.prepared):
                    m.d.comb += self.go.eq(1)
                    m.next = "RUN"
            with m.State("RUN"), m.If(~self.running):
                m.d.comb += self.done.eq(~self.error)
                m.next = "IDLE"
            with m.State("RESET_FILL"):
                m.d.comb += self.reset.eq(1)
                m.d.sync += [left.eq(self.table_words), self.fill_address.eq(0)]
                with m.If(~self.pending):
                    m.next = "BEGIN_FILL"
            with m.State("BEGIN_FILL"):
                m.d.comb += self.begin_fill.eq(left != 0)
                m.next = "FILL"
            with m.State("FILL"):
                lane = self.fill_address[: exact_log2(self.lanes)]
                m.d.comb += [
                    self.filling.eq(1),
                    self.word_done.eq((left <= 1) | (lane == self.lanes - 1)),
                ]
                with m.If(left == 0):
                    m.next = "IDLE"
                with m.Elif(self.word_valid):
                    m.d.sync += [
                        left.eq(left - 1),
                        self.fill_address.eq(self.fill_address + 1),
                    ]
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
        return m
