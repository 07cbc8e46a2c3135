"""Spike memory: the CSR spikes of all layers."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import MAP_BITS, Layouts
from evenspike_hw.rtl.ram import Ram


class SpikeMemory(wiring.Component):
    """Entries `{column, masks}`, and a count for each row (docs/timing.md, "APU").

    entry_read, entry: the entries, which the APU reads. count_read, count: how many a row has, for
        the APU. resume_read, resume: the same for the collector, which goes on with a row.
    entry_write, count_write: from the collector. A row's count has the address of its first entry;
        since a row has `Arch.row_entries` at least, there is one count for so many.

    One access a cycle on each port. The data of a read in cycle c are there from c + 1 until the
    next read; a write in c is seen by reads from c + 1 on. The APU reads the layer before the one
    that is written, and the collector keeps what it wrote last.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "entry_read": In(layouts.spike_read),
                "entry": Out(layouts.entry),
                "entry_write": In(layouts.entry_write),
                "count_read": In(layouts.spike_read),
                "count": Out(MAP_BITS),
                "resume_read": In(layouts.spike_read),
                "resume": Out(MAP_BITS),
                "count_write": In(layouts.count_write),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shift = exact_log2(self.arch.row_entries)
        m.submodules.entries = entries = Ram(self.layouts.entry, self.arch.spike_entries)
        m.submodules.counts = counts = Ram(MAP_BITS, self.arch.row_counts)
        for memory, write, low in (
            (entries, self.entry_write, 0),
            (counts, self.count_write, shift),
        ):
            port = memory.write_port()
            m.d.comb += [
                port.en.eq(write.enable),
                port.addr.eq(write.address[low:]),
                port.data.eq(write.data),
            ]
        for memory, read, found, low in (
            (entries, self.entry_read, self.entry, 0),
            (counts, self.count_read, self.count, shift),
            (counts, self.resume_read, self.resume, shift),
        ):
            port = memory.read_port()
            m.d.comb += [
                port.en.eq(read.enable),
                port.addr.eq(read.address[low:]),
                found.eq(port.data),
            ]
        return m
