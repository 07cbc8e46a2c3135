"""Input writer: the spikes of the network's input, on their way to the collector."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.descriptor import LAYER
from evenspike_hw.rtl.layouts import ENTRY_BITS, MAP_BITS, Layouts


class InputWriter(wiring.Component):
    """`input_words` words of the port make the masks of a position, lane 0 in the low bits.

    Counts `for image: for group: for block: for row: for column` (docs/timing.md, "Input"), of
    several clusters for each of them.

    layer: the descriptor; stable from the cycle of `start` on.
    start: the first word of the next cycles is the first of the map.
    word: valid, data; taken in every cycle in which it is valid.
    drains: the drain cycle of a position, which is the cycle after its last word. ends_layer: of
        the last one.
    place, masks: of the position, for the collector, in its drain cycle. cluster: whose collector,
        if there are several.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "layer": In(LAYER),
                "start": In(1),
                "word": In(data.StructLayout({"valid": 1, "data": arch.port_bits})),
                "drains": Out(1),
                "ends_layer": Out(1),
                "place": Out(layouts.place),
                "masks": Out(layouts.masks),
                **({"cluster": Out(range(arch.clusters))} if arch.clusters > 1 else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer, count = self.layer, self.arch.input_words
        words = [Signal(self.arch.port_bits, name=f"word{n}") for n in range(count)]
        at = Signal(range(max(2, count)))
        last_word = Signal()
        m.d.comb += last_word.eq(at == count - 1)
        m.d.sync += self.drains.eq(self.word.valid & last_word)
        with m.If(self.word.valid):
            m.d.sync += at.eq(at + 1)
            with m.If(last_word):
                m.d.sync += at.eq(0)
            for number, word in enumerate(words):
                with m.If(at == number):
                    m.d.sync += word.eq(self.word.data)

        column, row = Signal(MAP_BITS), Signal(MAP_BITS)
        block, group = Signal(LAYER["passes"].width), Signal(LAYER["groups"].width)
        image = Signal(LAYER["parts"].width)
        # Rows of a map follow each other in the spike memory, those of its blocks included.
        map_entry, row_entry = Signal(ENTRY_BITS), Signal(ENTRY_BITS)
        last_column, last_row, last_block, last_group, last_image = (Signal() for _ in range(5))
        # Of a cluster, if there are several.
        ends_images = self.drains & last_column & last_row & last_block & last_group & last_image
        m.d.comb += [
            last_column.eq(column == layer.width - 1),
            last_row.eq(row == layer.height - 1),
            last_block.eq(block == layer.passes - 1),
            last_group.eq(group == layer.groups - 1),
            last_image.eq(image == layer.parts - 1),
            self.ends_layer.eq(
                ends_images
                if self.arch.clusters == 1
                else ends_images & (self.cluster == self.arch.clusters - 1)
            ),
            self.place.valid.eq(self.drains),
            self.place.opens.eq(1),
            self.place.closes.eq(1),
            self.place.restarts.eq(column == 0),
            self.place.row_start.eq(column == 0),
            self.place.entry.eq(row_entry),
            self.place.column.eq(column),
            self.masks.as_value().eq(Cat(*words)),
        ]
        with m.If(self.drains):
            m.d.sync += column.eq(column + 1)
            with m.If(last_column):
                m.d.sync += [
                    column.eq(0),
                    row.eq(row + 1),
                    row_entry.eq(row_entry + layer.row_stride),
                ]
            with m.If(last_column & last_row):
                m.d.sync += [row.eq(0), block.eq(block + 1)]
            with m.If(last_column & last_row & last_block):
                m.d.sync += [
                    block.eq(0),
                    group.eq(group + 1),
                    map_entry.eq(map_entry + layer.region),
                    row_entry.eq(map_entry + layer.region),
                ]
                with m.If(last_group):
                    m.d.sync += [group.eq(0), image.eq(image + 1)]
        if self.arch.clusters > 1:
            # The first map of the next cluster is where that of this one was.
            with m.If(ends_images):
                m.d.sync += [
                    image.eq(0),
                    map_entry.eq(layer.spike_base),
                    row_entry.eq(layer.spike_base),
                    self.cluster.eq(self.cluster + 1),
                ]
        with m.If(self.start):
            if self.arch.clusters > 1:
                m.d.sync += self.cluster.eq(0)
            m.d.sync += [
                column.eq(0),
                row.eq(0),
                block.eq(0),
                group.eq(0),
                image.eq(0),
                map_entry.eq(layer.spike_base),
                row_entry.eq(layer.spike_base),
            ]
        return m
