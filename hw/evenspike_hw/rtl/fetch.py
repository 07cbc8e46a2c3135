"""Fetch: reads layer descriptors and chunks from the table, ahead of the sequencer."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from evenspike_core.arch import CHUNK_WORDS, LAYERS_MAX, Arch
from evenspike_hw.rtl.descriptor import CHUNK, LAYER, LAYER_WORDS
from evenspike_hw.rtl.layouts import WORD_BITS
from evenspike_hw.rtl.table import table_read

LAYER_BITS = exact_log2(LAYERS_MAX)
"""Bits of the number of a layer."""

FETCHED_WORDS = -(-LAYER.size // WORD_BITS)
"""Words of a descriptor that hold something."""


class Fetch(wiring.Component):
    """Keeps the descriptor of one layer, and one chunk, which has two words.

    table_read, table: the data come in the cycle after a read.
    read: fetch the descriptor of layer `number`. layer: it, while `valid`; valid again
        `FETCHED_WORDS` + 2 cycles after `read`, and two later for each chunk read meanwhile.
    chunk_read, chunk_address: fetch a chunk, which goes first; the address stays for a cycle more,
        in which there is no other read. chunk: it, from three cycles after the read on.
    """

    def __init__(self, arch: Arch) -> None:
        super().__init__(
            {
                "table_read": Out(table_read(arch)),
                "table": In(WORD_BITS),
                "read": In(1),
                "number": In(LAYER_BITS),
                "layer": Out(LAYER),
                "valid": Out(1),
                "chunk_read": In(1),
                "chunk_address": In(LAYER["chunk_base"].width),
                "chunk": Out(CHUNK),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = [Signal(WORD_BITS, name=f"word{n}") for n in range(FETCHED_WORDS)]
        number = Signal(LAYER_BITS)
        asked = Signal(range(FETCHED_WORDS + 1), init=FETCHED_WORDS)
        arrived = Signal.like(asked)
        second = Signal()  # the chunk's second word is read
        # What the table's data of this cycle are.
        for_layer, for_chunk = Signal(), Signal()
        asks, asks_chunk = Signal(), Signal()
        m.d.comb += [
            self.layer.as_value().eq(Cat(*words)),
            self.valid.eq(arrived == FETCHED_WORDS),
            asks_chunk.eq(self.chunk_read | second),
            asks.eq(~asks_chunk & (asked != FETCHED_WORDS)),
            self.table_read.enable.eq(asks_chunk | asks),
            self.table_read.address.eq(Cat(asked[: exact_log2(LAYER_WORDS)], number)),
        ]
        with m.If(asks_chunk):
            m.d.comb += self.table_read.address.eq(self.chunk_address + second)
        m.d.sync += [second.eq(self.chunk_read), for_layer.eq(asks), for_chunk.eq(asks_chunk)]
        # The first word moves down when the second comes.
        chunk = Signal(CHUNK_WORDS * WORD_BITS)
        m.d.comb += self.chunk.as_value().eq(chunk)
        with m.If(for_chunk):
            m.d.sync += chunk.eq(Cat(chunk[WORD_BITS:], self.table))
        with m.If(for_layer):
            m.d.sync += arrived.eq(arrived + 1)
            for at, word in enumerate(words):
                with m.If(arrived == at):
                    m.d.sync += word.eq(self.table)
        with m.If(asks):
            m.d.sync += asked.eq(asked + 1)
        with m.If(self.read):
            m.d.sync += [asked.eq(0), arrived.eq(0), number.eq(self.number), for_layer.eq(0)]
        return m
