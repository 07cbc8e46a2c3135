"""Collector: pools the spikes that leave the LIF and writes them as CSR."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import MAP_BITS, Layouts


class Collector(wiring.Component):
    """OR-pool and CSR write (docs/timing.md, "Barrier, drain, LIF, collector").

    place, masks: a position and its spikes, in the cycle in which they leave the LIF. The
        positions of a pooling window follow each other; `entry`, `column`, `restarts` and
        `row_start` are the same in all of them.
    entry_write: of a window in which a lane fired. count_write: of every window.
    resume_read, resume: the count of a row that an earlier tile began.

    One position a cycle, no back-pressure. A closing position in cycle c reads the count of its
    row in c, if need be, and is written in c + 1. A row can be resumed by the next position.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "place": In(layouts.place),
                "masks": In(layouts.masks),
                "entry_write": Out(layouts.entry_write),
                "count_write": Out(layouts.count_write),
                "resume_read": Out(layouts.spike_read),
                "resume": In(MAP_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        place = self.place
        pooled = Signal(self.layouts.masks)
        closes = Signal()
        m.d.comb += closes.eq(place.valid & place.closes)
        with m.If(place.valid):
            m.d.sync += pooled.eq(
                Mux(place.opens, 0, pooled.as_value()) | self.masks.as_value(),
            )

        # The window that closed in the cycle before.
        closed, restarts, resumes = Signal(), Signal(), Signal()
        entry = Signal(self.layouts.entry_bits)
        column = Signal(MAP_BITS)
        m.d.sync += closed.eq(closes)
        with m.If(closes):
            m.d.sync += [
                restarts.eq(place.row_start & place.restarts),
                # The memory does not have yet what is written in this cycle: `kept` will.
                resumes.eq(
                    self.resume_read.enable & ~(closed & (entry == self.resume_read.address))
                ),
                entry.eq(place.entry),
                column.eq(place.column),
            ]
        m.d.comb += [
            self.resume_read.enable.eq(closes & place.row_start & ~place.restarts),
            self.resume_read.address.eq(place.entry),
        ]

        count, kept = Signal(MAP_BITS), Signal(MAP_BITS)  # kept: with the window before
        fired = Signal()
        m.d.comb += [
            fired.eq(pooled.as_value().any()),
            count.eq(Mux(restarts, 0, Mux(resumes, self.resume, kept))),
            self.entry_write.enable.eq(closed & fired),
            self.entry_write.address.eq(entry + count),
            self.entry_write.data.column.eq(column),
            self.entry_write.data.masks.eq(pooled),
            self.count_write.enable.eq(closed),
            self.count_write.address.eq(entry),
            self.count_write.data.eq(count + fired),
        ]
        with m.If(closed):
            m.d.sync += kept.eq(self.count_write.data)
        return m
