"""APU: reads the spikes of a layer's source, drops what is of no use, broadcasts the rest."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.bits import encode, lowest
from evenspike_hw.rtl.decoder import Axis, Decoder
from evenspike_hw.rtl.layouts import MAP_BITS, Layouts


class Apu(wiring.Component):
    """Decoder, register D and lane stage (docs/timing.md, "APU"; u-Ticket section IV-B).

    start, work, count_read, count, entry_read, presence_read: as in `Decoder`.
    entry: of the spike memory. presence: of each PE, the lanes of the entry's block of which it
        has weights. Both come in the cycle after the read and stay until the next one.
    activation, send: what is broadcast in this cycle, and to which PEs' FIFOs; `send` is 0 if
        nothing is. full: of each PE's FIFO, a register.
    marker: the marker is broadcast in this cycle.

    An entry decoded in cycle d is in D from d + 1 on. Without a wanted lane D gives it up in d + 1;
    else the lane stage takes it, from d + 1 on, in the cycle of its last broadcast of the entry
    before, and broadcasts a lane a cycle from the next cycle on. It waits while the FIFO of any
    receiver is full. The marker goes the same way and to all PEs.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "start": In(1),
                "work": In(layouts.broadcast),
                "count_read": Out(layouts.spike_read),
                "count": In(MAP_BITS),
                "entry_read": Out(layouts.spike_read),
                "entry": In(layouts.entry),
                "presence_read": Out(layouts.presence_read),
                "presence": In(data.ArrayLayout(arch.pes, arch.pes)),
                "activation": Out(layouts.activation),
                "send": Out(arch.pes),
                "full": In(arch.pes),
                "marker": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """`work` cannot change under D and the lane stage: the next broadcast starts when the
        marker, the last item, leaves them.
        """
        m = Module()
        pes, work, entry, segment = self.arch.pes, self.work, self.entry, self.work.segment
        m.submodules.rows = rows = Axis(self.arch)
        m.submodules.columns = columns = Axis(self.arch)
        m.submodules.decoder = decoder = Decoder(self.arch)
        for axis, offset, extent, origin, length in (
            (rows, segment.offset_y, segment.height, work.top, work.height),
            (columns, segment.offset_x, segment.width, work.left, work.width),
        ):
            m.d.comb += [
                axis.segment.eq(segment),
                axis.kernel.eq(work.kernel),
                axis.offset.eq(offset),
                axis.extent.eq(extent),
                axis.origin.eq(origin),
                axis.length.eq(length),
            ]
        # --- stage 0, decoder: one item a cycle; a row visit reads a count, an entry is read ------

        m.d.comb += [
            decoder.start.eq(self.start),
            decoder.work.eq(work),
            decoder.first.eq(rows.first),
            decoder.end.eq(rows.end),
            decoder.count.eq(self.count),
            self.count_read.eq(decoder.count_read),
            self.entry_read.eq(decoder.entry_read),
            self.presence_read.eq(decoder.presence_read),
        ]

        # --- stage 1, register D: finds the wanted lanes, drops an entry without one --------------

        # Its entry and presence bits are the outputs of the memories. The longest path is from
        # there to the enable of their next read; so the lane is chosen a stage later.
        holds, holds_marker = Signal(), Signal()
        row, block = Signal(MAP_BITS), Signal(self.layouts.block_bits)
        inside, leaves, free = Signal(), Signal(), Signal()
        between = Signal()  # K = 1 at stride 2: the positions before and behind are connected
        wanted = Signal(pes)
        present = Cat(Cat(p[lane] for p in self.presence).any() for lane in range(pes))
        fires = Cat(mask.any() for mask in entry.masks)
        m.d.comb += [
            inside.eq((entry.column >= columns.first) & (entry.column < columns.end)),
            between.eq(
                segment.log_stride
                & (work.kernel == 0)
                & (
                    ((row >> segment.log_average)[0] ^ rows.distance[0])
                    | ((entry.column >> segment.log_average)[0] ^ columns.distance[0])
                )
            ),
            wanted.eq(fires & present),
            leaves.eq(holds & (holds_marker | (inside & ~between & wanted.any()))),
            decoder.free.eq(free | ~leaves),
        ]
        with m.If(decoder.free):
            m.d.sync += [
                holds.eq(decoder.entry_read.enable | decoder.marker),
                holds_marker.eq(decoder.marker),
                row.eq(decoder.row),
                block.eq(decoder.block),
            ]

        # --- stage 2, lanes: broadcasts the lowest lane that is left, unless a FIFO is full -------

        # `lanes` are still to be broadcast, `lane` is the lowest, one-hot; a marker has none.
        valid, is_marker = Signal(), Signal()
        lanes, lane, rest = Signal(pes), Signal(pes), Signal(pes)
        masks, presence = Signal.like(entry.masks), Signal.like(self.presence)
        line_block = Signal(self.layouts.block_bits)
        coordinate_bits = self.layouts.coordinate_bits
        y, x = Signal(coordinate_bits), Signal(coordinate_bits)
        receivers, sends = Signal(pes), Signal()
        m.d.comb += [
            lane.eq(lowest(lanes)),
            receivers.eq(Cat(is_marker | (lane & p).any() for p in presence)),
            sends.eq(valid & ~(receivers & self.full).any()),
            self.send.eq(Mux(sends, receivers, 0)),
            self.marker.eq(sends & is_marker),
            rest.eq(lanes & ~lane),
            free.eq(~valid | (sends & ~rest.any())),
        ]
        with m.If(free):
            m.d.sync += [
                valid.eq(leaves),
                lanes.eq(Mux(holds_marker, 0, wanted)),
                is_marker.eq(holds_marker),
                masks.eq(entry.masks),
                presence.eq(self.presence),
                line_block.eq(block),
                y.eq((row >> segment.log_average) + rows.distance),
                x.eq((entry.column >> segment.log_average) + columns.distance),
            ]
        with m.Elif(sends):
            m.d.sync += lanes.eq(rest)
        m.d.comb += [
            self.activation.marker.eq(is_marker),
            self.activation.ends_round.eq(work.ends_round),
            self.activation.frees.eq(work.frees),
            self.activation.half.eq(work.half),
            self.activation.kernel.eq(work.kernel),
            self.activation.log_stride.eq(segment.log_stride),
            self.activation.line.eq(
                Cat(encode(lane, range(pes), self.layouts.lane_bits), line_block)
            ),
            self.activation.mask.eq(
                Cat(
                    Cat(lane[n] & masks[n][time] for n in range(pes)).any()
                    for time in range(self.arch.timesteps)
                )
            ),
            self.activation.rows.eq(self._connected(m, y, rows.limit)),
            self.activation.columns.eq(self._connected(m, x, columns.limit)),
            self.activation.y.eq(y),
            self.activation.x.eq(x),
        ]
        return m

    def _connected(self, m: Module, distance: Signal, limit: Value) -> Value:
        """A bit for each kernel row r: (distance - r) / stride is an integer inside the tile."""
        log_stride = self.work.segment.log_stride
        # Behind the tile's last row there are less than `kernel_max` others that reach it.
        behind = Signal(signed(len(distance) + 1))
        m.d.comb += behind.eq(distance - limit)
        return Cat(
            (distance >= r)
            & (behind[-1] | (behind[:3] < r))
            & ~(log_stride & (distance[0] ^ (r % 2)))
            for r in range(self.arch.kernel_max)
        )
