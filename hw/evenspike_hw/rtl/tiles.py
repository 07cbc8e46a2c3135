"""Tile counter: the round, a group of a part of a tile of a pass, and its image that is at work."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import BATCH_MAX, MAP_MAX, Arch
from evenspike_hw.rtl.descriptor import LAYER, image_rows
from evenspike_hw.rtl.layouts import ENTRY_BITS, MAP_BITS, SLOT_BITS, Layouts


class TileCounter(wiring.Component):
    """Counts `for pass: for tile: for part: for group: for image` of a layer; tiles go row by row.

    layer: the descriptor; stable from the cycle of `start` on.
    start: back to the first tile of the first pass, visible in the next cycle.
    advance: on to the next image, and behind a round's last one to the next round, visible in the
        next cycle. rewind: behind a round's last image back to its first one instead.
    top, left, height, width: of the tile, clipped to the map.
    last_row, last_column: the tile's, counted from its top left. last_slot: the pass's.
    last_image: of the round. last_group: of the part. last_round: of the pass. last: of the layer.
    first_row: of the accumulators, where the image's are.
    entry: where the tile's first row of the first block starts in the spike memory, in the map of
        image 0 and group 0. offset: entries from there to the map of this image and group.

    The maps of an image follow each other group by group, `region` apart, and so many `region` as
    there are groups are `image_region`. So behind the last group of the last image of a part comes
    the next part's first map.

    Nothing is told before the first start.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__(
            {
                "layer": In(LAYER),
                "start": In(1),
                "advance": In(1),
                "rewind": In(1),
                "top": Out(MAP_BITS),
                "left": Out(MAP_BITS),
                "height": Out(MAP_BITS),
                "width": Out(MAP_BITS),
                "last_row": Out(MAP_BITS),
                "last_column": Out(MAP_BITS),
                "last_slot": Out(SLOT_BITS),
                "first_row": Out(Layouts(arch).row_bits),
                "last_image": Out(1),
                "last_group": Out(1),
                "last_round": Out(1),
                "last": Out(1),
                "entry": Out(ENTRY_BITS),
                "offset": Out(ENTRY_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """All outputs are registers: what the next round will be is worked out while this one is at
        work, so that `advance`, which comes late, only lets it in.
        """
        m = Module()
        layer = self.layer
        number, pass_entry = Signal(LAYER["passes"].width), Signal(ENTRY_BITS)
        rows, columns = Signal(MAP_BITS), Signal(MAP_BITS)  # what is left of the map
        ends_map_row = Signal()  # the tile is the last one beside the others
        ends_map = Signal()  # and below them
        group, part = Signal(LAYER["groups"].width), Signal(LAYER["parts"].width)
        image = Signal(range(BATCH_MAX))
        first = Signal(ENTRY_BITS)  # offset of the round's first image
        last_part = Signal()
        # No side of a tile is longer than a PE has accumulators.
        side = range(min(self.arch.accumulators, MAP_MAX) + 1)
        tile_height, tile_width = Signal(side), Signal(side)
        m.d.comb += [
            tile_height.eq(1 << layer.log_tile_height),
            tile_width.eq(1 << layer.log_tile_width),
        ]

        next_top, next_left = Signal(MAP_BITS), Signal(MAP_BITS)
        next_rows, next_columns = Signal(MAP_BITS), Signal(MAP_BITS)
        next_number = Signal.like(number)
        next_pass, next_entry = Signal(ENTRY_BITS), Signal(ENTRY_BITS)
        next_group, next_part, next_image = (Signal.like(one) for one in (group, part, image))
        next_first, next_offset = Signal(ENTRY_BITS), Signal(ENTRY_BITS)
        next_row = Signal.like(self.first_row)
        ends_round, ends_part = Signal(), Signal()
        m.d.comb += [
            next_top.eq(self.top),
            next_rows.eq(rows),
            next_left.eq(self.left),
            next_columns.eq(columns),
            next_number.eq(number),
            next_pass.eq(pass_entry),
            next_entry.eq(self.entry),
            ends_round.eq(self.last_image & ~self.rewind),
            ends_part.eq(ends_round & self.last_group),
            next_image.eq(Mux(self.last_image, 0, image + 1)),
            next_row.eq(Mux(self.last_image, 0, self.first_row + image_rows(layer))),
            next_group.eq(group + ends_round),
            next_part.eq(part + ends_part),
            next_offset.eq(
                Mux(self.last_image & ~ends_part, first, self.offset)
                + Mux(self.last_image, Mux(self.rewind, 0, layer.region), layer.image_region)
            ),
            next_first.eq(Mux(ends_round, next_offset, first)),
        ]
        with m.If(ends_part):
            m.d.comb += next_group.eq(0)
        with m.If(ends_part & last_part):
            m.d.comb += [
                next_part.eq(0),
                next_offset.eq(0),
                next_left.eq(self.left + tile_width),
                next_columns.eq(columns - tile_width),
            ]
            with m.If(ends_map_row):
                m.d.comb += [
                    next_left.eq(0),
                    next_columns.eq(layer.width),
                    next_top.eq(self.top + tile_height),
                    next_rows.eq(rows - tile_height),
                    next_entry.eq(self.entry + layer.tile_stride),
                ]
            with m.If(ends_map):
                m.d.comb += [
                    next_top.eq(0),
                    next_rows.eq(layer.height),
                    next_number.eq(number + 1),
                    next_pass.eq(pass_entry + layer.pass_stride),
                    next_entry.eq(pass_entry + layer.pass_stride),
                ]
        with m.If(self.start):
            m.d.comb += [
                next_image.eq(0),
                next_row.eq(0),
                next_group.eq(0),
                next_part.eq(0),
                next_offset.eq(0),
                next_first.eq(0),
                next_top.eq(0),
                next_rows.eq(layer.height),
                next_left.eq(0),
                next_columns.eq(layer.width),
                next_number.eq(0),
                next_pass.eq(layer.spike_base),
                next_entry.eq(layer.spike_base),
            ]

        ends_column, ends_row, ends_pass, ends_group, ends_batch = (Signal() for _ in range(5))
        next_height, next_width = Signal(side), Signal(side)
        m.d.comb += [
            ends_column.eq(next_columns <= tile_width),
            ends_row.eq(next_rows <= tile_height),
            ends_pass.eq(next_number == layer.passes - 1),
            ends_group.eq(next_group == layer.groups - 1),
            ends_batch.eq(next_part == layer.parts - 1),
            next_height.eq(Mux(ends_row, next_rows, tile_height)),
            next_width.eq(Mux(ends_column, next_columns, tile_width)),
        ]
        with m.If(self.start | self.advance):
            m.d.sync += [
                self.top.eq(next_top),
                self.left.eq(next_left),
                rows.eq(next_rows),
                columns.eq(next_columns),
                number.eq(next_number),
                pass_entry.eq(next_pass),
                self.entry.eq(next_entry),
                image.eq(next_image),
                self.first_row.eq(next_row),
                group.eq(next_group),
                part.eq(next_part),
                first.eq(next_first),
                self.offset.eq(next_offset),
                last_part.eq(ends_batch),
                ends_map_row.eq(ends_column),
                ends_map.eq(ends_row & ends_column),
                self.height.eq(next_height),
                self.width.eq(next_width),
                self.last_row.eq((next_height - 1)[: len(next_height)]),
                self.last_column.eq((next_width - 1)[: len(next_width)]),
                self.last_image.eq(next_image == (1 << layer.log_images) - 1),
                self.last_group.eq(ends_group),
                self.last_round.eq(ends_row & ends_column & ends_batch & ends_group),
                self.last.eq(ends_row & ends_column & ends_batch & ends_group & ends_pass),
                self.last_slot.eq(Mux(ends_pass, layer.slots_last, 1 << layer.log_slots) - 1),
            ]
        return m
