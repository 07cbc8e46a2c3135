"""MemoryPort: reads the weight stream in the order of the list of passes, ahead of the loader."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenspike_core.arch import Arch
from evenspike_hw.rtl.descriptor import PASS
from evenspike_hw.rtl.faults import FAULT_BITS, Fault, first_fault
from evenspike_hw.rtl.fifo import Fifo
from evenspike_hw.rtl.layouts import FILL_BITS, WORD_BITS
from evenspike_hw.rtl.table import table_read


class MemoryPort(wiring.Component):
    """Requests with credits, and the FIFO for what they bring (docs/timing.md, Memory port).

    prepare: pulse; what was requested before has been taken. Reads the first two passes of the
        list. prepared: `go` may come, from two cycles after `prepare` until `go`.
    go: pulse, cycle 0 of the network. The first request is in the cycle after.
    input, weights: addresses of the words of pass 0, and of all others, which are contiguous.
    pass_base: address of the list in the table. input, weights, pass_base: stable from
        `prepare` to two cycles after it.
    table_read, table: a pass (`descriptor.PASS`); the data come in the cycle after and stay. A
        pass of `repeats` r is read r times before the next; one of no words ends the list. The
        word behind the end is read, too.
    filled: words that the table has. fault: a pass of the list lies behind them, or has no
        repeats, and which of these; from when it would be read to a reset. 0: none.
    fill, fill_address, fill_words: pulse; reads so many words from there, the first request in the
        cycle after. Only while no word is under way.
    request: addresses, at most one a cycle and `stream_depth` ahead of the words taken; no bubble
        between passes, however short. A request waits until it is taken.
    response_valid, response: the words in the order of their requests, in any later cycle; there
        is always room.
    word: the stream. A word is there from the cycle after its response on. One that is taken in
        cycle c gives its credit back for a request in c + 1.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__(
            {
                "prepare": In(1),
                "prepared": Out(1),
                "go": In(1),
                "input": In(arch.address_bits),
                "weights": In(arch.address_bits),
                "pass_base": In(ceil_log2(arch.table_words)),
                "table_read": Out(table_read(arch)),
                "table": In(WORD_BITS),
                "filled": In(FILL_BITS),
                "fault": Out(FAULT_BITS),
                "fill": In(1),
                "fill_address": In(arch.address_bits),
                "fill_words": In(FILL_BITS),
                "request": Out(stream.Signature(arch.address_bits)),
                "response_valid": In(1),
                "response": In(arch.port_bits),
                "word": Out(stream.Signature(arch.port_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = self.arch.stream_depth
        m.submodules.fifo = fifo = Fifo(self.arch.port_bits, depth)
        wiring.connect(m, fifo.r, wiring.flipped(self.word))
        credits_ = Signal(range(depth + 1), init=depth, name="credits")
        taken, returned = Signal(), Signal()
        m.d.comb += [
            fifo.w.valid.eq(self.response_valid),
            fifo.w.payload.eq(self.response),
            taken.eq(self.request.valid & self.request.ready),
            returned.eq(self.word.valid & self.word.ready),
        ]
        m.d.sync += credits_.eq(credits_ - taken + returned)

        # The pass that is read: where it starts, what is left of this repeat and of the repeats.
        running, listed = Signal(), Signal()
        # No more than there are in the memory.
        word_bits = min(PASS["words"].width, self.arch.address_bits + 1)
        words = Signal(word_bits, reset_less=True)
        repeats = Signal(PASS["repeats"].width, reset_less=True)
        base = Signal(self.arch.address_bits, reset_less=True)
        address, left = Signal.like(base), Signal.like(words)
        # The one that follows is on `table`: a read is issued when its predecessor goes.
        following = data.View(PASS, self.table[: PASS.size])
        following_base = Signal.like(base)
        entry = Signal(ceil_log2(self.arch.table_words), reset_less=True)
        first, again, advance = Signal(), Signal(), Signal()
        m.d.comb += [
            self.request.valid.eq(running & (left != 0) & (credits_ != 0)),
            self.request.payload.eq(address),
            again.eq(taken & (left == 1) & (repeats != 1)),
            advance.eq(taken & (left == 1) & (repeats == 1) & listed),
            self.table_read.enable.eq(self.prepare | first | advance),
            self.table_read.address.eq(entry),
        ]
        with m.If(self.prepare):
            m.d.comb += self.table_read.address.eq(self.pass_base)
            m.d.sync += entry.eq(self.pass_base + 1)
        with m.Elif(self.table_read.enable):
            m.d.sync += entry.eq(entry + 1)
        m.d.sync += first.eq(self.prepare)
        beyond = Signal()  # the word that is on `table`
        with m.If(self.table_read.enable):
            m.d.sync += beyond.eq(self.table_read.address >= self.filled)
        unfit = first_fault(
            m,
            {
                Fault.REPEATS: (following.words != 0) & (following.repeats == 0) & ~beyond,
                Fault.PASSES: beyond,
            },
        )
        with m.If((first | advance) & (self.fault == 0)):
            m.d.sync += self.fault.eq(unfit)

        with m.If(taken):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
        with m.If(again):
            m.d.sync += [address.eq(base), left.eq(words), repeats.eq(repeats - 1)]
        with m.If(first | advance):
            m.d.sync += [
                words.eq(following.words),
                left.eq(following.words),
                repeats.eq(following.repeats),
            ]
        with m.If(advance):
            m.d.sync += [
                base.eq(following_base),
                address.eq(following_base),
                following_base.eq(following_base + following.words),
            ]
        with m.If(first):
            m.d.sync += [
                base.eq(self.input),
                address.eq(self.input),
                following_base.eq(self.weights),
                listed.eq(1),
                self.prepared.eq(1),
            ]
        with m.If(self.fill):
            m.d.sync += [
                address.eq(self.fill_address),
                left.eq(self.fill_words),
                repeats.eq(1),
                listed.eq(0),
            ]
        with m.If(self.go | self.fill):
            m.d.sync += [running.eq(1), self.prepared.eq(0)]
        with m.If(self.prepare):
            m.d.sync += [running.eq(0), self.prepared.eq(0)]
        return m
