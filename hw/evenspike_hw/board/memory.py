"""Board memory: the accelerator's memory in block RAM, which the host reads and writes as well."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenspike_hw.rtl.layouts import WORD_BITS
from evenspike_hw.rtl.memory_signature import MemorySignature
from evenspike_hw.rtl.ram import Ram

WORDS_BITS = 24
"""Bits of the number of words of a board's memory."""


ADDRESS_BITS = 32
"""Bits of an address, at most."""


def access(words: int) -> data.StructLayout:
    """Returns the layout of what the host wants of a memory of so many words.

    address: with one bit more than the last word's needs; all that are `words` and more mean none.
    """
    return data.StructLayout({"write": 1, "address": ceil_log2(words) + 1, "data": WORD_BITS})


class BoardMemory(wiring.Component):
    """`words` of 64 bits in one RAM with a read and a write port.

    latency: `Arch.memory_latency`, 1 and more. address_bits: `Arch.address_bits`.
    port: the accelerator's, see `MemorySignature`. Each `ready` is always 1.
    access: of the host. word: what its last read found, in the cycle after it was taken.
    beyond: in the cycle of a request, a write or an access of an address that is no word.

    A request in cycle r is answered in r + latency, as docs/timing.md demands ("Memory port"), one
    a cycle; the RAM is read in the cycle before the answer. A write in c is seen by reads of the
    RAM from c + 1 on; what one in c itself finds of that word is not defined, and nobody asks: the
    accelerator does not read its logits, and the host waits for one answer and for the end of an
    inference. An access waits while the accelerator needs the RAM's port of that direction.
    Where there is no word, a read finds zero and a write does nothing. A reset forgets requests
    that are under way, and no word.
    """

    def __init__(self, words: int, latency: int, address_bits: int = ADDRESS_BITS) -> None:
        if not 2 <= words < 1 << WORDS_BITS:
            raise ValueError(f"BoardMemory words is {words}, possible are 2 to 2^{WORDS_BITS} - 1")
        if latency < 1:
            raise ValueError(f"BoardMemory latency is {latency}, possible are 1 and more")
        self.words = words
        self.latency = latency
        super().__init__(
            {
                "port": In(MemorySignature(address_bits, WORD_BITS)),
                "access": In(stream.Signature(access(words))),
                "word": Out(WORD_BITS),
                "beyond": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, port = Module(), self.port
        m.submodules.memory = memory = Ram(WORD_BITS, self.words)
        read, write = memory.read_port(), memory.write_port()
        place = data.StructLayout({"none": 1, "address": ceil_log2(self.words)})

        def placed(address: Signal, name: str) -> data.View:
            found = Signal(place, name=name)
            m.d.comb += [found.none.eq(address >= self.words), found.address.eq(address)]
            return found

        # The address waits for its cycle, since it is narrower than the word.
        asks, asked = port.request.valid, placed(port.request.payload, "asked")
        first = asked
        for stage in range(1, self.latency):
            asks_next = Signal(name=f"asks{stage}")
            asked_next = Signal(place, name=f"asked{stage}", reset_less=True)
            m.d.sync += [asks_next.eq(asks), asked_next.eq(asked)]
            asks, asked = asks_next, asked_next

        wanted = self.access.payload
        host = placed(wanted.address, "host")
        written = placed(port.write.address, "written")
        reads, writes = Signal(), Signal()
        none = Signal(init=1)  # nothing has been read yet
        m.d.comb += [
            port.request.ready.eq(1),
            port.write.ready.eq(1),
            self.access.ready.eq(Mux(wanted.write, ~port.write.valid, ~asks)),
            reads.eq(self.access.valid & ~wanted.write & ~asks),
            writes.eq(self.access.valid & wanted.write & ~port.write.valid),
            read.en.eq(asks | reads),
            read.addr.eq(Mux(asks, asked.address, host.address)),
            write.en.eq(Mux(port.write.valid, ~written.none, writes & ~host.none)),
            write.addr.eq(Mux(port.write.valid, written.address, host.address)),
            write.data.eq(Mux(port.write.valid, port.write.data, wanted.data)),
            self.word.eq(Mux(none, 0, read.data)),
            port.response.payload.eq(self.word),
            self.beyond.eq(
                (port.request.valid & first.none)
                | (port.write.valid & written.none)
                | ((reads | writes) & host.none)
            ),
        ]
        m.d.sync += port.response.valid.eq(asks)
        with m.If(read.en):
            m.d.sync += none.eq(Mux(asks, asked.none, host.none))
        return m
