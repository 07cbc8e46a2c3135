"""Tile counter: the round, that is the tile of a pass, at which a block works."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenspike_hw.descriptor import LAYER
from evenspike_hw.layouts import ENTRY_BITS, MAP_BITS, SLOT_BITS


class TileCounter(wiring.Component):
    """Counts `for pass: for tile` of a layer; tiles go row by row.

    layer: the descriptor; stable from the cycle of `start` on.
    start: back to the first tile of the first pass, visible in the next cycle.
    advance: on to the next round, visible in the next cycle.
    top, left, height, width: of the tile, clipped to the map.
    first_tile, last_tile: of the pass. last: of the layer.
    slots: filters per PE that the pass uses.
    entry: where the tile's first row of the first block starts in the spike memory.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "layer": In(LAYER),
                "start": In(1),
                "advance": In(1),
                "top": Out(MAP_BITS),
                "left": Out(MAP_BITS),
                "height": Out(MAP_BITS),
                "width": Out(MAP_BITS),
                "first_tile": Out(1),
                "last_tile": Out(1),
                "last": Out(1),
                "slots": Out(SLOT_BITS + 1),
                "entry": Out(ENTRY_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer = self.layer
        number = Signal(LAYER["passes"].width)
        pass_entry = Signal(ENTRY_BITS)
        row_entry = Signal(ENTRY_BITS)
        last_row, last_column, last_pass = Signal(), Signal(), Signal()
        rows, columns = Signal(MAP_BITS), Signal(MAP_BITS)  # what is left of the map
        tile_height, tile_width = Signal(MAP_BITS), Signal(MAP_BITS)
        m.d.comb += [
            rows.eq(layer.height - self.top),
            columns.eq(layer.width - self.left),
            tile_height.eq(1 << layer.log_tile_height),
            tile_width.eq(1 << layer.log_tile_width),
            last_row.eq(rows <= tile_height),
            last_column.eq(columns <= tile_width),
            last_pass.eq(number == layer.passes - 1),
            self.height.eq(Mux(last_row, rows, tile_height)),
            self.width.eq(Mux(last_column, columns, tile_width)),
            self.first_tile.eq((self.top == 0) & (self.left == 0)),
            self.last_tile.eq(last_row & last_column),
            self.last.eq(self.last_tile & last_pass),
            self.slots.eq(Mux(last_pass, layer.slots_last, 1 << layer.log_slots)),
            self.entry.eq(row_entry),
        ]
        with m.If(self.start):
            m.d.sync += [
                number.eq(0),
                self.top.eq(0),
                self.left.eq(0),
                pass_entry.eq(layer.spike_base),
                row_entry.eq(layer.spike_base),
            ]
        with m.Elif(self.advance):
            m.d.sync += self.left.eq(self.left + tile_width)
            with m.If(last_column):
                m.d.sync += [
                    self.left.eq(0),
                    self.top.eq(self.top + tile_height),
                    row_entry.eq(row_entry + layer.tile_stride),
                ]
            with m.If(self.last_tile):
                m.d.sync += [
                    self.top.eq(0),
                    number.eq(number + 1),
                    pass_entry.eq(pass_entry + layer.pass_stride),
                    row_entry.eq(pass_entry + layer.pass_stride),
                ]
        return m
