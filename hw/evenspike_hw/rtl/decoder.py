"""Decoder: the rows and entries of the spike memory that a broadcast goes through."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import MAP_BITS, OFFSET_BITS, SEGMENT, Layouts

ROW_MAX = (1 << MAP_BITS) - 1


class Axis(wiring.Component):
    """The rows, or the columns, of a source that reach a tile (docs/timing.md, "APU").

    segment, kernel: how the source is read; of its offsets `offset` counts, the axis's own.
    extent: its rows. origin, length: the tile's.
    first, end: the rows from `first` to `end` - 1 reach the tile; none if `first` >= `end`.
    distance: what to add to a row, divided by the average, for its distance from the first row that
        reaches the tile, counting those outside of the map; modulo 2 ** `coordinate_bits`.
    limit: rows, at the stride, from one that is the tile's first to the one behind its last.

    Registers: outputs belong to the inputs of the cycle before.
    """

    def __init__(self, arch: Arch) -> None:
        bits = Layouts(arch).coordinate_bits
        super().__init__(
            {
                "segment": In(SEGMENT),
                "kernel": In(2),
                "offset": In(signed(OFFSET_BITS)),
                "extent": In(MAP_BITS),
                "origin": In(MAP_BITS),
                "length": In(MAP_BITS),
                "first": Out(MAP_BITS),
                "end": Out(MAP_BITS),
                "distance": Out(bits),
                "limit": Out(bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        segment = self.segment
        low = Signal(signed(MAP_BITS + 2))
        first = Signal(signed(MAP_BITS + 5))
        last = Signal(MAP_BITS + 1)
        high = Signal(signed(MAP_BITS + 7))
        m.d.comb += [
            low.eq((self.origin << segment.log_stride) + self.offset),
            first.eq(low << segment.log_average),
            last.eq(self.origin + self.length - 1),
            high.eq(
                ((last << segment.log_stride) + self.offset + 2 * self.kernel + 1)
                << segment.log_average
            ),
        ]
        m.d.sync += [
            self.first.eq(Mux(low < 0, 0, Mux(first > ROW_MAX, ROW_MAX, first))),
            self.end.eq(Mux(high < 0, 0, Mux(high < self.extent, high, self.extent))),
            self.distance.eq(-low),
            self.limit.eq(self.length << segment.log_stride),
        ]
        return m


class Decoder(wiring.Component):
    """Row visits, entries and the marker of one chunk's broadcast (docs/timing.md, "APU").

    start: the broadcast of the next cycle's `work` starts (that cycle is S). work: stable from S
        to the next start. first, end: its rows, as in `Axis`; stable from S + 1 on.
    count_read, count: of the row visit that comes next; it comes in the cycle after the read and
        stays until the next one. entry_read, presence_read: an entry is decoded.
    row, block: of that entry; its row in the map, its block within the chunk.
    marker: the marker is decoded. free: D has room for an entry or the marker in this cycle.

    S to S + 2 work out the first row and read its count; from S + 3 on one item a cycle: for each
    row, for each block a row visit, then the row's entries; at the end the marker. A visit reads
    the count of the next one. Entries and marker wait for `free`, row visits do not. `start` comes
    no earlier than the cycle after the last marker.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "start": In(1),
                "work": In(layouts.broadcast),
                "first": In(MAP_BITS),
                "end": In(MAP_BITS),
                "count_read": Out(layouts.spike_read),
                "count": In(MAP_BITS),
                "entry_read": Out(layouts.spike_read),
                "presence_read": Out(layouts.presence_read),
                "row": Out(MAP_BITS),
                "block": Out(layouts.block_bits),
                "marker": Out(1),
                "free": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Two visits are known ahead: the next one, whose count has been read, and the one behind
        it, which the next visit reads. So the memories' addresses and enables come from registers.
        """
        m = Module()
        work = self.work
        visit = data.StructLayout(
            {
                "there": 1,
                "row": MAP_BITS,
                "block": self.layouts.block_bits,
                "address": self.layouts.entry_bits,
            }
        )
        active, timer = Signal(), Signal(2)
        some, left = Signal(), Signal(MAP_BITS)  # entries of this row that are not decoded
        address = Signal(self.layouts.entry_bits)  # of its next entry
        following, behind = Signal(visit), Signal(visit)
        row_address = Signal(self.layouts.entry_bits)  # of the first block of `behind`
        pitch = self._pitch(m)

        decodes, begins, visits = Signal(), Signal(), Signal()
        m.d.comb += [
            decodes.eq(active & (timer == 0)),
            begins.eq(active & (timer == 1)),
            visits.eq(decodes & ~some & following.there),
            self.entry_read.enable.eq(decodes & some & self.free),
            self.entry_read.address.eq(address),
            self.presence_read.enable.eq(self.entry_read.enable),
            self.presence_read.half.eq(work.half),
            self.presence_read.block.eq(self.block),
            self.count_read.enable.eq((begins | visits) & behind.there),
            self.count_read.address.eq(behind.address),
            self.marker.eq(decodes & ~some & ~following.there & self.free),
        ]
        with m.If(self.entry_read.enable):
            m.d.sync += [some.eq(left != 1), left.eq(left - 1), address.eq(address + 1)]
        with m.If(visits):
            m.d.sync += [
                some.eq(self.count.any()),
                left.eq(self.count),
                address.eq(following.address),
                self.row.eq(following.row),
                self.block.eq(following.block),
            ]
        with m.If(begins | visits):
            m.d.sync += following.eq(behind)
            with m.If(behind.block + 1 == work.blocks):
                m.d.sync += [
                    behind.block.eq(0),
                    behind.row.eq(behind.row + 1),
                    behind.address.eq(row_address + pitch),
                    row_address.eq(row_address + pitch),
                    behind.there.eq(behind.there & (behind.row + 1 < self.end)),
                ]
            with m.Else():
                m.d.sync += [
                    behind.block.eq(behind.block + 1),
                    behind.address.eq(behind.address + work.segment.block_stride),
                ]
        with m.If(self.marker):
            m.d.sync += active.eq(0)

        first_address = Signal(self.layouts.entry_bits)
        m.d.comb += first_address.eq(work.entry + self.first * pitch)
        with m.If(self.start):
            m.d.sync += [active.eq(1), timer.eq(3)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.If(timer == 2):
            m.d.sync += [
                behind.there.eq(self.first < self.end),
                behind.row.eq(self.first),
                behind.block.eq(0),
                behind.address.eq(first_address),
                row_address.eq(first_address),
            ]
        return m

    def _pitch(self, m: Module) -> Signal:
        """Entries from a row to the next one."""
        width, least = self.work.segment.width, self.arch.row_entries
        pitch = Signal.like(width)
        m.d.comb += pitch.eq(Mux(width < least, least, width))
        return pitch
