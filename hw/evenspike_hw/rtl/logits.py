"""Logit writer: the results of the last layer, on their way to the memory."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.fifo import Fifo
from evenspike_hw.rtl.layouts import LOGIT_BITS


def result_write(arch: Arch) -> data.StructLayout:
    """A word of results, and where it goes."""
    return data.StructLayout({"enable": 1, "address": arch.address_bits, "data": arch.port_bits})


class LogitWriter(wiring.Component):
    """Writes the logits of a block in words of the port (docs/timing.md, "Last layer").

    start: the next block is written from `base` on, each further one behind the one before. Of
        several clusters each has every `Arch.clusters`-th word.
    claim: a block will come; only while there is `room`, a register. over: every block that was
        claimed has been written; a register.
    valid, logits: a block, one logit a lane. write: a word, which stays until it is taken; lane 0
        is in the low bits of the first. ready: the memory takes it in this cycle.

    A block in cycle c is written in c + 1 ... c + n, n = `Arch.logit_words`, if the memory is
    ready, as it is for each of several clusters in its turn; else its words wait in a FIFO with
    room for `Arch.result_blocks`. A block comes every `Arch.position_cycles` of a last layer at
    most; its claim comes `Arch.lif_latency` cycles before it. `start` comes when all is over.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__(
            {
                "start": In(1),
                "base": In(arch.address_bits),
                "claim": In(1),
                "room": Out(1),
                "over": Out(1),
                "valid": In(1),
                "logits": In(data.ArrayLayout(signed(LOGIT_BITS), arch.pes)),
                "write": Out(result_write(arch)),
                "ready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words, width = self.arch.logit_words, self.arch.port_bits
        most = self.arch.result_blocks
        # Of a word that is wider than a block only the lanes that there are.
        used = min(width, LOGIT_BITS * self.arch.pes)
        m.submodules.fifo = fifo = Fifo(used, most * words)
        shift = Signal(words * used)
        left = Signal(range(words + 1))  # words of the block; the next is the lowest of `shift`
        comes, taken = Signal(), Signal()
        m.d.comb += [
            comes.eq(left != 0),
            self.write.enable.eq(fifo.r.valid | comes),
            self.write.data.eq(Mux(fifo.r.valid, fifo.r.payload, shift[:used])),
            taken.eq(self.write.enable & self.ready),
            fifo.r.ready.eq(self.ready),
            # There is room: the block was claimed.
            fifo.w.valid.eq(comes & (fifo.r.valid | ~self.ready)),
            fifo.w.payload.eq(shift[:used]),
        ]
        with m.If(self.valid):
            m.d.sync += [shift.eq(self.logits), left.eq(words)]
        with m.Elif(comes):
            m.d.sync += [shift.eq(shift >> used), left.eq(left - 1)]
        with m.If(self.start):
            m.d.sync += self.write.address.eq(self.base)
        with m.Elif(taken):
            m.d.sync += self.write.address.eq(self.write.address + self.arch.clusters)

        claimed = Signal(range(most + 1))
        at = Signal(range(max(2, words)))  # of the block that is written
        written = Signal()
        m.d.comb += [
            self.room.eq(claimed != most),
            self.over.eq(claimed == 0),
            written.eq(taken & (at == words - 1)),
        ]
        m.d.sync += claimed.eq(claimed + self.claim - written)
        with m.If(taken):
            m.d.sync += at.eq(Mux(at == words - 1, 0, at + 1))
        return m
