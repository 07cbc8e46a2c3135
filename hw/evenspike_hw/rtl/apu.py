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
    """Decoder, D, lane stage and register B (docs/timing.md, "APU"; u-Ticket section IV-B).

    start, work, count_read, count, entry_read, presence_read: as in `Decoder`.
    entry: of the spike memory. presence: of each PE, the lanes of the entry's block of which it
        has weights. Both come in the cycle after the read and stay until the next one.
    activation, send: what is broadcast in this cycle, and to which PEs' FIFOs; `send` is 0 if
        nothing is. full: of each PE's FIFO, a register.
    marker: the marker is broadcast in this cycle.

    D has three places, so that whether an entry is read depends on registers alone. An entry
    decoded in cycle d leaves it in order, in d + 2 at the earliest: it is dropped where no lane is
    wanted, else the lane stage takes it, in the cycle at the earliest in which that picks the last
    lane of the entry before. The lane stage picks a lane a cycle for B, which broadcasts it from
    the next cycle on, as soon as the FIFO of no receiver is full. The marker goes the same way and
    to all PEs.
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

        # --- D: what the memories give is written behind it, with what is wanted of it ------------

        item = data.StructLayout(
            {
                "valid": 1,
                "marker": 1,
                "meets": 1,  # the tile, by its column and by the stride
                "wanted": pes,
                "masks": entry.masks.shape(),
                "presence": self.presence.shape(),
                "block": self.layouts.block_bits,
                "y": self.layouts.coordinate_bits,
                "x": self.layouts.coordinate_bits,
            }
        )
        read, head, second = Signal(item), Signal(item), Signal(item)
        row = Signal(MAP_BITS)
        between = Signal()  # K = 1 at stride 2: the positions before and behind are connected
        takes, passes, leaves, room = Signal(), Signal(), Signal(), Signal(init=1)
        lane_free = Signal()
        present = Cat(Cat(p[lane] for p in self.presence).any() for lane in range(pes))
        m.d.comb += [
            between.eq(
                segment.log_stride
                & (work.kernel == 0)
                & (
                    ((row >> segment.log_average)[0] ^ rows.distance[0])
                    | ((entry.column >> segment.log_average)[0] ^ columns.distance[0])
                )
            ),
            read.meets.eq(
                (entry.column >= columns.first) & (entry.column < columns.end) & ~between
            ),
            read.wanted.eq(Cat(mask.any() for mask in entry.masks) & present),
            read.masks.eq(entry.masks),
            read.presence.eq(self.presence),
            read.y.eq((row >> segment.log_average) + rows.distance),
            read.x.eq((entry.column >> segment.log_average) + columns.distance),
        ]
        arrived, arrived_marker = Signal(), Signal()
        arrived_block = Signal(self.layouts.block_bits)
        m.d.comb += [
            read.valid.eq(arrived),
            read.marker.eq(arrived_marker),
            read.block.eq(arrived_block),
            # The head is of use, and goes on or is dropped; then, or with a place left, what was
            # read is written.
            takes.eq(head.valid & (head.marker | (head.meets & head.wanted.any()))),
            leaves.eq(head.valid & (~takes | lane_free)),
            passes.eq(arrived & ~(head.valid & ~leaves & second.valid)),
        ]
        decoded = Signal()
        places, after = Signal(range(4)), Signal(range(4))
        m.d.comb += [
            decoded.eq(decoder.entry_read.enable | decoder.marker),
            after.eq(places + decoded - leaves),
            decoder.free.eq(room),
        ]
        m.d.sync += [places.eq(after), room.eq(after != 3)]
        with m.If(decoded):
            m.d.sync += [
                arrived.eq(1),
                arrived_marker.eq(decoder.marker),
                row.eq(decoder.row),
                arrived_block.eq(decoder.block),
            ]
        with m.Elif(passes):
            m.d.sync += arrived.eq(0)
        with m.If(~head.valid | leaves):
            m.d.sync += [
                head.eq(Mux(second.valid, second, read)),
                second.eq(read),
                second.valid.eq(second.valid & arrived),
            ]
        with m.Elif(~second.valid):
            m.d.sync += second.eq(read)

        # --- lanes: picks the lowest that is left -------------------------------------------------

        # `lanes` are still to be picked, `lane` is the lowest, one-hot; a marker has none.
        current = Signal(item)
        lanes, lane, rest = Signal(pes), Signal(pes), Signal(pes)
        picks, free = Signal(), Signal()
        m.d.comb += [
            lane.eq(lowest(lanes)),
            rest.eq(lanes & ~lane),
            picks.eq(current.valid & free),
            lane_free.eq(~current.valid | (free & ~rest.any())),
        ]
        with m.If(lane_free):
            m.d.sync += [
                current.eq(head),
                current.valid.eq(takes),
                lanes.eq(Mux(head.marker, 0, head.wanted)),
            ]
        with m.Elif(picks):
            m.d.sync += lanes.eq(rest)

        # --- B: broadcasts what was picked, unless a FIFO is full ---------------------------------

        valid, receivers, sends = Signal(), Signal(pes), Signal()
        picked = Signal(self.layouts.activation)
        m.d.comb += [
            sends.eq(valid & ~(receivers & self.full).any()),
            free.eq(~valid | sends),
            self.send.eq(Mux(sends, receivers, 0)),
            self.marker.eq(sends & self.activation.marker),
            picked.marker.eq(current.marker),
            picked.ends_round.eq(work.ends_round),
            picked.frees.eq(work.frees),
            picked.half.eq(work.half),
            picked.kernel.eq(work.kernel),
            picked.log_stride.eq(segment.log_stride),
            picked.line.eq(Cat(encode(lane, range(pes), self.layouts.lane_bits), current.block)),
            picked.mask.eq(
                Cat(
                    Cat(lane[n] & current.masks[n][time] for n in range(pes)).any()
                    for time in range(self.arch.timesteps)
                )
            ),
            picked.rows.eq(self._connected(m, current.y, rows.limit)),
            picked.columns.eq(self._connected(m, current.x, columns.limit)),
            picked.y.eq(current.y),
            picked.x.eq(current.x),
        ]
        with m.If(free):
            m.d.sync += [
                valid.eq(current.valid),
                receivers.eq(Cat(current.marker | (lane & p).any() for p in current.presence)),
                self.activation.eq(picked),
            ]
        return m

    def _connected(self, m: Module, distance: Value, limit: Value) -> Value:
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
