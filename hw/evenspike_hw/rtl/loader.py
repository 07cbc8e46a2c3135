"""Loader: hands the stream's words to the input, to its own counts, and to the PEs in turn."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from evenspike_core.arch import CHUNK_WORDS, COUNT_BITS, Arch
from evenspike_hw.rtl.descriptor import CHUNK, LAYER, LAYER_WORDS
from evenspike_hw.rtl.fifo import Fifo
from evenspike_hw.rtl.layouts import WORD_BITS, Layouts
from evenspike_hw.rtl.table import table_read

CONTEXTS = 2
"""Chunks whose table words are read ahead: at most two follow each other without waiting for a
half of the scratchpad, and reading takes at most 4 cycles a chunk."""

CONTEXT = ("kernel", "log_slots", "lead", "biases", "narrow")
"""Fields of a chunk that the PEs need to unpack it."""

COUNTS = WORD_BITS // COUNT_BITS
"""Counts in a word."""


class Step(IntEnum):
    """What the table's walker does next."""

    IDLE = 0
    LAYER = 1
    LAYER_DATA = 2
    CHUNK = 3
    CHUNK_DATA = 4
    DONE = 5


class Loader(wiring.Component):
    """Words of the stream in, one a cycle; nothing is stored (docs/timing.md, Loader).

    The first layer is the host's. Layers, their loads and chunks are read from the table ahead of
    the words, so that the loader never waits for it if a chunk takes 5 cycles or more, as it does:
    a PE needs 4 for a word.

    prepare: pulse; before the first word of a network. Forgets everything and reads the table.
    prepared: words may come, at most 15 cycles after `prepare` and until the next.
    table_read, table: descriptors of layers and chunks; data in the cycle after, where they stay.
    word: the stream. Taken in the cycle in which it is handed on, which it is in order:
        - the input's words always;
        - a chunk's first count word when its half of the scratchpad is free, the others at once;
        - a PE's word when the PE is ready. PEs take turns, those without words left are passed by.
        `ready` depends on registers and on `ready` of the PEs only.
    input: a word of the input's spikes, in the cycle in which it is taken.
    words, send: a PE's word, likewise, and which PE it is for.
    ready: PEs whose holding register is free.
    free: pulse; the half that has been occupied for longer is free from the next cycle on.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.layouts = Layouts(arch)
        super().__init__(
            {
                "prepare": In(1),
                "prepared": Out(1),
                "table_read": Out(table_read(arch)),
                "table": In(WORD_BITS),
                "word": In(stream.Signature(WORD_BITS)),
                "input": Out(data.StructLayout({"valid": 1, "data": WORD_BITS})),
                "words": Out(self.layouts.load_word),
                "send": Out(arch.pes),
                "ready": In(arch.pes),
                "free": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fields = self.layouts.load_context
        context = data.StructLayout({name: fields[name].shape for name in CONTEXT})
        # An inference that was broken off may have left something in the queue.
        contexts = Fifo(context, CONTEXTS)
        m.submodules.contexts = ResetInserter(self.prepare)(contexts)
        host = Signal(LAYER["loads"].width)  # words of the input still to come
        self._walk(m, contexts.w, host)
        self._hand_on(m, contexts.r, host)
        return m

    def _walk(self, m: Module, contexts: Any, host: Signal) -> None:
        """The table's walker: layers, their loads, and the chunks of each load."""
        # Word 0 of both is enough.
        layer = data.View(LAYER, Cat(self.table, C(0, LAYER.size - WORD_BITS)))
        chunk = data.View(CHUNK, Cat(self.table, C(0, CHUNK.size - WORD_BITS)))
        step = Signal(Step)
        address, shift = ceil_log2(self.arch.table_words), exact_log2(LAYER_WORDS)
        number = Signal(address - shift, reset_less=True)  # of the next layer
        base = Signal(address, reset_less=True)
        next_chunk = Signal.like(base)
        last = Signal(reset_less=True)
        chunks = Signal(LAYER["chunks"].width, reset_less=True)
        chunks_left = Signal.like(chunks)
        loads = Signal(LAYER["loads"].width, reset_less=True)
        m.d.comb += [contexts.payload[name].eq(chunk[name]) for name in CONTEXT]
        with m.Switch(step):
            with m.Case(Step.LAYER):
                m.d.comb += [
                    self.table_read.enable.eq(1),
                    self.table_read.address.eq(number << shift),
                ]
                m.d.sync += [number.eq(number + 1), step.eq(Step.LAYER_DATA)]
            with m.Case(Step.LAYER_DATA):
                m.d.sync += [
                    last.eq(layer.last),
                    base.eq(layer.chunk_base),
                    next_chunk.eq(layer.chunk_base),
                    chunks.eq(layer.chunks),
                    chunks_left.eq(layer.chunks),
                    loads.eq(layer.loads),
                    step.eq(Step.CHUNK),
                ]
                # Not by its host bit: if that is wrong, the sequencer stops at the layer in
                # question, and those before it must not suffer.
                with m.If(number == 1):
                    m.d.sync += [host.eq(layer.loads), step.eq(Step.LAYER)]
            with m.Case(Step.CHUNK):
                m.d.comb += [self.table_read.enable.eq(1), self.table_read.address.eq(next_chunk)]
                m.d.sync += step.eq(Step.CHUNK_DATA)
            with m.Case(Step.CHUNK_DATA):
                m.d.comb += contexts.valid.eq(1)
                with m.If(contexts.ready):
                    m.d.sync += [
                        next_chunk.eq(next_chunk + CHUNK_WORDS),
                        chunks_left.eq(chunks_left - 1),
                        step.eq(Step.CHUNK),
                    ]
                    with m.If(chunks_left == 1):
                        m.d.sync += [
                            next_chunk.eq(base),
                            chunks_left.eq(chunks),
                            loads.eq(loads - 1),
                        ]
                        with m.If(loads == 1):
                            m.d.sync += step.eq(Mux(last, Step.DONE, Step.LAYER))
                with m.Else():
                    m.d.sync += self.prepared.eq(1)
            with m.Case(Step.DONE):
                m.d.sync += self.prepared.eq(1)
        with m.If(self.prepare):
            m.d.sync += [step.eq(Step.LAYER), number.eq(0), self.prepared.eq(0)]

    def _hand_on(self, m: Module, contexts: Any, host: Signal) -> None:
        """The words' way: whose turn it is, and whether it can take the word."""
        pes = self.arch.pes
        heads = -(-pes // COUNTS)
        head = Signal(range(heads + 1))  # count words of the chunk so far
        half, oldest, occupied = Signal(), Signal(), Signal(2)
        target = Signal(range(pes), reset_less=True)
        left = Signal(data.ArrayLayout(COUNT_BITS, pes), reset_less=True)
        begun = Signal(pes, reset_less=True)  # PEs that had a word of the chunk

        may, taken = Signal(), Signal()
        with m.If(host != 0):
            m.d.comb += may.eq(1)
        with m.Elif(head == 0):
            m.d.comb += may.eq(contexts.valid & ~occupied.bit_select(half, 1))
        with m.Elif(head != heads):
            m.d.comb += may.eq(1)
        with m.Else():
            m.d.comb += may.eq(self.ready.bit_select(target, 1))
        m.d.comb += [
            self.word.ready.eq(may),
            taken.eq(may & self.word.valid),
            self.input.valid.eq(taken & (host != 0)),
            self.input.data.eq(self.word.payload),
            self.words.units.eq(self.word.payload),
            self.words.first.eq(~begun.bit_select(target, 1)),
            self.words.last.eq(left[target] == 1),
            self.words.context.half.eq(half),
        ]
        m.d.comb += [self.words.context[name].eq(contexts.payload[name]) for name in CONTEXT]

        # PEs that have words left behind this one; of those behind the target the first is next,
        # or the first of all.
        remaining, behind, choice = Signal(pes), Signal(pes), Signal(pes)
        following = Signal.like(target)
        m.d.comb += choice.eq(Mux(behind != 0, behind, remaining))
        for pe in range(pes):
            m.d.comb += [
                remaining[pe].eq(Mux(target == pe, left[pe] != 1, left[pe] != 0)),
                behind[pe].eq(remaining[pe] & (target < pe)),
            ]
        for pe in reversed(range(pes)):
            with m.If(choice[pe]):
                m.d.comb += following.eq(pe)

        with m.If(self.free):
            m.d.sync += [occupied.bit_select(oldest, 1).eq(0), oldest.eq(~oldest)]
        counts = data.View(data.ArrayLayout(COUNT_BITS, COUNTS), self.word.payload)
        with m.If(taken):
            with m.If(host != 0):
                m.d.sync += host.eq(host - 1)
            with m.Elif(head != heads):
                m.d.sync += [head.eq(head + 1), target.eq(0), begun.eq(0)]
                for pe in range(pes):
                    with m.If(head == pe // COUNTS):
                        m.d.sync += left[pe].eq(counts[pe % COUNTS])
                with m.If(head == 0):
                    m.d.sync += occupied.bit_select(half, 1).eq(1)
            with m.Else():
                m.d.comb += self.send.bit_select(target, 1).eq(1)
                m.d.sync += [
                    left[target].eq(left[target] - 1),
                    begun.bit_select(target, 1).eq(1),
                    target.eq(following),
                ]
                with m.If(remaining == 0):
                    m.d.comb += contexts.ready.eq(1)
                    m.d.sync += [head.eq(0), half.eq(~half)]
        with m.If(self.prepare):
            m.d.sync += [host.eq(0), head.eq(0), half.eq(0), oldest.eq(0), occupied.eq(0)]
