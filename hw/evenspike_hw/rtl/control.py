"""Control: from a host's command to the cycles of an inference, the filling of the table, and back
to where the reset leaves the accelerator.
"""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from evenspike_core.arch import Arch
from evenspike_hw.rtl.faults import FAULT_BITS, Fault
from evenspike_hw.rtl.layouts import FILL_BITS, Layouts


class Phase(IntEnum):
    """What it is at."""

    CLEAN = 0
    IDLE = 1
    RESET = 2
    PREPARE = 3
    WAIT = 4
    RUN = 5
    RESET_FILL = 6
    BEGIN_FILL = 7
    FILL = 8
    STOP = 9


def quiet_cycles(arch: Arch) -> int:
    """Cycles without an answer of the memory in which all accumulators are cleared; the next
    command may come then.
    """
    return max(arch.accumulators, 1 << ceil_log2(4 * arch.memory_latency))


class Control(wiring.Component):
    """Resets the blocks, lets them read what they start with, says `go`; stops and cleans up.

    start, fill: commands, in a cycle in which `busy` is low. abort: a command, in any cycle.
    table_words: how many words the table gets; stable while it is filled. word_valid: a word of the
        port is there, with one of them in each lane. word_done: in the cycle of the last of its
        lanes that counts.
    pending: the memory owes answers, which an inference that was stopped leaves behind.
    answers: the memory gives an answer in this cycle.
    prepared: all blocks are. running: of the sequencer. written: all results are.
    fault: what a block has found that cannot be run, a `Fault`; until `reset`. barks: of the
        watchdog, which `watches` while a command waits for anything but the end of what was
        stopped.
    reset: clears the registers of the core (the memories keep what they hold), for a cycle or for
        as long as answers are pending.
    clear: a row of all PEs' accumulators to be read and cleared.
    prepare, go: pulses; `go` is cycle 0. filling, fill_address: words go to the table, one a cycle
        where `word_valid` is high, and where; its low bits are the lane.
    filled: words that the table has. begin_fill: pulse. done: pulse; the inference is over.
    stopped: in the cycle in which it stops by itself, why; else 0.

    After a reset, an abort and a fault the accumulators hold sums of an inference that nobody ends.
    They are cleared, a row a cycle, behind a reset of the core that lasts until the memory owes
    nothing. What it owes is forgotten in a reset of the accelerator: so there have to be
    `quiet_cycles` in a row without an answer, which begin anew with each that still comes.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__(
            {
                "start": In(1),
                "fill": In(1),
                "abort": In(1),
                "table_words": In(FILL_BITS),
                "word_valid": In(1),
                "word_done": Out(1),
                "pending": In(1),
                "answers": In(1),
                "prepared": In(1),
                "running": In(1),
                "written": In(1),
                "fault": In(FAULT_BITS),
                "barks": In(1),
                "watches": Out(1),
                "reset": Out(1),
                "clear": Out(Layouts(arch).row_read),
                "prepare": Out(1),
                "go": Out(1),
                "begin_fill": Out(1),
                "filling": Out(1),
                "fill_address": Out(ceil_log2(arch.table_words)),
                "filled": Out(FILL_BITS),
                "busy": Out(1, init=1),
                "done": Out(1),
                "stopped": Out(FAULT_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: PLR0915  (one state machine)
        m = Module()
        phase = Signal(Phase, init=Phase.CLEAN)
        filled = Signal(range(self.arch.table_words + 1))
        quiet = Signal(range(quiet_cycles(self.arch)))
        found = Signal(FAULT_BITS)
        m.d.comb += [
            self.busy.eq(phase != Phase.IDLE),
            self.watches.eq((phase != Phase.IDLE) & (phase != Phase.CLEAN) & (phase != Phase.STOP)),
            self.filled.eq(filled),
            self.fill_address.eq(filled),
            self.clear.row.eq(Mux(self.clear.enable, quiet, 0)),
        ]
        with m.Switch(phase):
            with m.Case(Phase.CLEAN):
                # A row's second visit, in a new beginning, comes two cycles after its first.
                m.d.comb += self.clear.enable.eq((quiet < self.arch.accumulators) & ~self.answers)
                m.d.sync += quiet.eq(quiet + 1)
                with m.If(self.answers):
                    m.d.sync += quiet.eq(0)
                with m.Elif(quiet == quiet_cycles(self.arch) - 1):
                    m.d.sync += phase.eq(Phase.IDLE)
            with m.Case(Phase.IDLE):
                with m.If(self.start):
                    m.d.sync += phase.eq(Phase.RESET)
                with m.Elif(self.fill):
                    m.d.sync += phase.eq(Phase.RESET_FILL)
            with m.Case(Phase.RESET):
                m.d.comb += self.reset.eq(1)
                with m.If(~self.pending):
                    m.d.sync += phase.eq(Phase.PREPARE)
            with m.Case(Phase.PREPARE):
                m.d.comb += self.prepare.eq(1)
                m.d.sync += phase.eq(Phase.WAIT)
            with m.Case(Phase.WAIT):
                m.d.comb += found.eq(self.fault)
                with m.If(self.prepared):
                    m.d.comb += self.go.eq(1)
                    m.d.sync += phase.eq(Phase.RUN)
            with m.Case(Phase.RUN):
                m.d.comb += found.eq(self.fault)
                with m.If(~self.running & self.written):
                    m.d.comb += self.done.eq(1)
                    m.d.sync += phase.eq(Phase.IDLE)
            with m.Case(Phase.RESET_FILL):
                m.d.comb += self.reset.eq(1)
                m.d.sync += filled.eq(0)
                with m.If(~self.pending):
                    m.d.sync += phase.eq(Phase.BEGIN_FILL)
            with m.Case(Phase.BEGIN_FILL):
                with m.If(self.table_words > self.arch.table_words):
                    m.d.comb += found.eq(Fault.TABLE)
                m.d.comb += self.begin_fill.eq((self.table_words != 0) & (found == 0))
                m.d.sync += phase.eq(Phase.FILL)
            with m.Case(Phase.FILL):
                lanes = self.arch.port_lanes
                lane = self.fill_address[: exact_log2(lanes)]
                m.d.comb += [
                    self.filling.eq(1),
                    self.word_done.eq((lane == lanes - 1) | (filled + 1 == self.table_words)),
                ]
                with m.If(filled == self.table_words):
                    m.d.sync += phase.eq(Phase.IDLE)
                with m.Elif(self.word_valid):
                    m.d.sync += filled.eq(filled + 1)
            with m.Case(Phase.STOP):
                m.d.comb += self.reset.eq(1)
                m.d.sync += quiet.eq(0)
                with m.If(~self.pending):
                    m.d.sync += phase.eq(Phase.CLEAN)
        with m.If(self.watches & ~self.abort):
            m.d.comb += self.stopped.eq(Mux(found != 0, found, Mux(self.barks, Fault.WATCHDOG, 0)))
        with m.If(self.abort | (self.stopped != 0)):
            m.d.comb += [self.go.eq(0), self.done.eq(0), self.begin_fill.eq(0)]
            m.d.sync += phase.eq(Phase.STOP)
            # Of a table that is filled in part nothing counts.
            with m.If((phase == Phase.FILL) | (phase == Phase.BEGIN_FILL)):
                m.d.sync += filled.eq(0)
        return m
