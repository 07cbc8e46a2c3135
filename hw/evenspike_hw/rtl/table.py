"""Table memory: layer descriptors, passes and chunks, where three blocks read them at once."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import WORD_BITS
from evenspike_hw.rtl.ram import Ram


def sequencer(number: int) -> str:
    """The reader that is a cluster's sequencer."""
    return f"sequencer{number or ''}"


def readers(arch: Arch) -> tuple[str, ...]:
    """Blocks that walk the table on their own, the sequencer of each cluster among them: each has a
    read port, that is a copy of the memory.
    """
    return ("port", "loader", *(sequencer(number) for number in range(arch.clusters)))


def table_read(arch: Arch) -> data.StructLayout:
    return data.StructLayout({"enable": 1, "address": ceil_log2(arch.table_words)})


class TableMemory(wiring.Component):
    """`table_words` of 64 bits (formats: `evenspike_hw.rtl.descriptor`).

    write: enable, address, data. For each reader, `<reader>_read` is answered on `<reader>` in the
    cycle after, where it stays until the next read. A write is visible to reads from the next
    cycle on; the table is only written while nothing runs, and what runs begins with reads.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        address = ceil_log2(arch.table_words)
        members = {
            "write": In(data.StructLayout({"enable": 1, "address": address, "data": WORD_BITS}))
        }
        for reader in readers(arch):
            members[f"{reader}_read"] = In(table_read(arch))
            members[reader] = Out(WORD_BITS)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Ram(WORD_BITS, self.arch.table_words)
        write = memory.write_port()
        m.d.comb += [
            write.en.eq(self.write.enable),
            write.addr.eq(self.write.address),
            write.data.eq(self.write.data),
        ]
        for reader in readers(self.arch):
            read = memory.read_port()
            request = getattr(self, f"{reader}_read")
            m.d.comb += [
                read.en.eq(request.enable),
                read.addr.eq(request.address),
                getattr(self, reader).eq(read.data),
            ]
        return m
