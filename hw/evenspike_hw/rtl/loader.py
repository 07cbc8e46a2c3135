"""Loader: hands the stream's words to the input, to its own counts, and to the PEs in turn."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from amaranth.hdl import Array, C, Cat, Module, Mux, ResetInserter, Signal
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

CONTEXT = ("kernel", "log_slots", "lead", "biases", "width", "base")
"""Fields of a chunk that the PEs need to unpack it."""


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
        - a word for PEs when those of all its lanes are ready. The PEs of a lane take turns, those
          without words left are passed by, and a lane without any waits for none.
        `ready` depends on registers and on `ready` of the PEs only.
    input: a word of the input's spikes, in the cycle in which it is taken.
    words, send: the lanes of a word for PEs, likewise, and which PEs they are for.
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
                "word": In(stream.Signature(arch.port_bits)),
                "input": Out(data.StructLayout({"valid": 1, "data": arch.port_bits})),
                "words": Out(self.layouts.load_words),
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
        """The words' way: whose turn it is in each lane, and whether all can take theirs."""
        arch = self.arch
        pes, lanes, heads = arch.pes, arch.port_lanes, arch.count_words
        head = Signal(range(heads + 1))  # count words of the chunk so far
        half, oldest, occupied = Signal(), Signal(), Signal(2)
        left = Signal(data.ArrayLayout(COUNT_BITS, pes), reset_less=True)
        begun = Signal(pes, reset_less=True)  # PEs that had a word of the chunk
        counts_taken, words_taken = Signal(), Signal()
        turns = [
            self._lane(m, lane, contexts, half, left, begun, counts_taken, words_taken)
            for lane in range(lanes)
        ]
        ready, ends = Signal(), Signal()
        m.d.comb += [
            ready.eq(Cat(may for may, _ in turns).all()),
            ends.eq(Cat(last for _, last in turns).all()),
        ]

        may, taken = Signal(), Signal()
        with m.If(host != 0):
            m.d.comb += may.eq(1)
        with m.Elif(head == 0):
            m.d.comb += may.eq(contexts.valid & ~occupied.bit_select(half, 1))
        with m.Elif(head != heads):
            m.d.comb += may.eq(1)
        with m.Else():
            m.d.comb += may.eq(ready)
        m.d.comb += [
            self.word.ready.eq(may),
            taken.eq(may & self.word.valid),
            self.input.valid.eq(taken & (host != 0)),
            self.input.data.eq(self.word.payload),
            counts_taken.eq(taken & (host == 0) & (head != heads)),
            words_taken.eq(taken & (host == 0) & (head == heads)),
        ]

        with m.If(self.free):
            m.d.sync += [occupied.bit_select(oldest, 1).eq(0), oldest.eq(~oldest)]
        counts = data.View(data.ArrayLayout(COUNT_BITS, arch.port_bits // COUNT_BITS),
                           self.word.payload)  # fmt: skip
        with m.If(taken & (host != 0)):
            m.d.sync += host.eq(host - 1)
        with m.If(counts_taken):
            m.d.sync += [head.eq(head + 1), begun.eq(0)]
            for pe in range(pes):
                with m.If(head == pe // len(counts)):
                    m.d.sync += left[pe].eq(counts[pe % len(counts)])
            with m.If(head == 0):
                m.d.sync += occupied.bit_select(half, 1).eq(1)
        with m.If(words_taken & ends):
            m.d.comb += contexts.ready.eq(1)
            m.d.sync += [head.eq(0), half.eq(~half)]
        with m.If(self.prepare):
            m.d.sync += [host.eq(0), head.eq(0), half.eq(0), oldest.eq(0), occupied.eq(0)]

    def _lane(
        self,
        m: Module,
        lane: int,
        contexts: Any,
        half: Signal,
        left: Any,
        begun: Signal,
        counts_taken: Signal,
        words_taken: Signal,
    ) -> tuple[Signal, Signal]:
        """The turn of a lane's PEs. Returns whether its word can be taken, and whether it is the
        lane's last, or none is left.
        """
        lanes = self.arch.port_lanes
        members = range(lane, self.arch.pes, lanes)
        own = [left[pe] for pe in members]
        target = Signal(range(len(own)), reset_less=True, name=f"target{lane}")
        following = Signal.like(target, name=f"following{lane}")
        begun_own = Cat(begun[pe] for pe in members)
        ready = Cat(self.ready[pe] for pe in members)
        word = self.words[lane]
        # One of them: with several PEs in the lane the counts are those of its turn.
        mine = Signal(COUNT_BITS, name=f"mine{lane}")
        m.d.comb += mine.eq(Array(own)[target])
        some, may, last = (Signal(name=f"{n}{lane}") for n in ("some", "may", "last"))
        m.d.comb += [
            # Where others have words left, the target has one: only then the lane is done.
            some.eq(mine != 0),
            may.eq(~some | ready.bit_select(target, 1)),
            word.units.eq(self.word.payload[WORD_BITS * lane : WORD_BITS * (lane + 1)]),
            word.first.eq(~begun_own.bit_select(target, 1)),
            word.last.eq(mine == 1),
            word.context.half.eq(half),
        ]
        m.d.comb += [word.context[name].eq(contexts.payload[name]) for name in CONTEXT]

        # PEs that have words left behind this one; of those behind the target the first is next,
        # or the first of all.
        remaining, behind, choice = (
            Signal(len(own), name=f"{n}{lane}") for n in ("remaining", "behind", "choice")
        )
        m.d.comb += [
            choice.eq(Mux(behind != 0, behind, remaining)),
            following.eq(target),
            last.eq(remaining == 0),
        ]
        for at, count in enumerate(own):
            m.d.comb += [
                remaining[at].eq(Mux(target == at, count[1:] != 0, count != 0)),
                behind[at].eq(remaining[at] & (target < at)),
            ]
        for at in reversed(range(len(own))):
            with m.If(choice[at]):
                m.d.comb += following.eq(at)
        for at, pe in enumerate(members):
            with m.If(words_taken & some & (target == at)):
                m.d.comb += self.send[pe].eq(1)
                m.d.sync += [left[pe].eq(left[pe] - 1), begun[pe].eq(1)]
        with m.If(counts_taken):
            m.d.sync += target.eq(0)
        with m.If(words_taken):
            m.d.sync += target.eq(following)
        return may, last
