"""Selector: the matched weights of a PE, one or two a cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.bits import encode, lowest, popcount, select, total
from evenspike_hw.rtl.layouts import SLOT_BITS, Layouts

SHIFT_BITS = 4
"""Bits of the logarithm of a tile's width or area."""


class Selector(wiring.Component):
    """Priority encoders over the matches of a fetch: addresses of weights, rows of their psums.

    matched: the head of the match queue. taken: it leaves the queue in this cycle.
    log_tile_width, log_tile: log2 of the width of a tile, and of its neurons.
    image_rows: rows of an image; the next image of the round has those behind them.
    room: a selection may be made, where there are two ways. idle: nothing is behind S3.
    valid, selected: a selection in S3, a weight for each way that has one. Where there are two, the
        first has the next match with an even address in the weight bank, the second the next with
        an odd one.
    marker: a marker issues in this cycle.

    S1 takes an entry and makes a selection a cycle from the next cycle on, kernels in header order,
    PIDs ascending, and takes the next entry with its last one. S2 works out addresses and rows. An
    entry that is taken in cycle c is in S3 from c + 3 on; a selection is there for one cycle. S1
    waits for `room`, and with a chunk's last marker until S2 and S3 are empty and `idle` holds; not
    with one behind which another image of the round follows.

    docs/timing.md, "Selector, gates and accumulators"; u-Ticket section IV-B.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "matched": In(stream.Signature(layouts.matched)),
                "taken": Out(1),
                "log_tile_width": In(SHIFT_BITS),
                "log_tile": In(SHIFT_BITS),
                "image_rows": In(layouts.row_bits),
                "room": In(1),
                "idle": In(1),
                "valid": Out(1),
                "selected": Out(layouts.selected),
                "marker": Out(layouts.marker),
            }
        )

    @property
    def side(self) -> int:
        """The largest kernel's."""
        return self.arch.kernel_max

    @property
    def choice(self) -> data.StructLayout:
        """A match in S2.

        group, low: one-hot, its group of the pattern and its place in it. inner: living weights of
        the group before it. before: the numbers of those of the groups before.
        """
        groups = len(self.layouts.groups)
        return data.StructLayout(
            {
                "enable": 1,
                "group": groups,
                "low": self.side,
                "inner": self.side,
                "before": data.ArrayLayout(range(self.side + 1), groups - 1),
            }
        )

    @property
    def placed(self) -> data.StructLayout:
        """What S2 has to know to place its choices."""
        layouts = self.layouts
        return data.StructLayout(
            {
                "mask": self.arch.timesteps,
                "kernel": layouts.kernel_bits,
                "log_stride": 1,
                "base": layouts.weight_address_bits,
                "slots": data.ArrayLayout(SLOT_BITS, self.arch.fetch_units),
                "y": layouts.coordinate_bits,
                "x": layouts.coordinate_bits,
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layouts, ways = self.layouts, self.arch.issue
        s1_valid, s1_leaves, s2_valid = Signal(), Signal(), Signal()
        marker = Signal(data.StructLayout({"marker": 1, "ends_round": 1, "frees": 1}))
        between = Signal()  # of two images of the round
        image_row = Signal(layouts.row_bits)  # where the rows of the image begin
        m.d.comb += [
            between.eq(~marker.ends_round & ~marker.frees),
            s1_leaves.eq(
                s1_valid
                & Mux(marker.marker, between | (~s2_valid & ~self.valid & self.idle), self.room)
            ),
            self.marker.enable.eq(s1_leaves & marker.marker),
            self.marker.ends_round.eq(marker.ends_round),
            self.marker.frees.eq(marker.frees),
        ]

        with m.If(self.marker.enable):
            # What S1 has selected before is at its row in this cycle.
            m.d.sync += image_row.eq(Mux(between, image_row + self.image_rows, 0))

        # --- taking an entry: its matches, those of even and odd addresses apart ------------------

        entry = self.matched.payload
        last = Signal()
        left = [Signal(layouts.pattern_bits, name=f"left{way}") for way in range(ways)]
        wsp, item = Signal(layouts.pattern_bits), Signal(self.placed)
        counts = [
            Signal(range(width + 1), name=f"count{n}") for n, width in enumerate(layouts.groups)
        ]
        odd = self._odd(m, entry)
        m.d.comb += [
            self.matched.ready.eq(~s1_valid | (s1_leaves & last)),
            self.taken.eq(self.matched.valid & self.matched.ready),
        ]
        with m.If(self.taken):
            m.d.sync += [
                s1_valid.eq(1),
                wsp.eq(entry.wsp),
                *(item[name].eq(entry[name]) for name in self.placed.members),
                *(marker[name].eq(entry[name]) for name in marker.shape().members),
                *(
                    count.eq(popcount(layouts.group(entry.wsp, n)))
                    for n, count in enumerate(counts)
                ),
            ]
        with m.Elif(s1_leaves & last):
            m.d.sync += s1_valid.eq(0)

        # --- stage S1: the next match of each way -------------------------------------------------

        choices = Signal(data.ArrayLayout(self.choice, ways))
        single = Signal(ways)  # ways with at most one match
        for way, pids in enumerate(left):
            found, rest = self._choose(m, f"{way}", pids, wsp, counts)
            m.d.comb += single[way].eq(~rest.any())
            with m.If(self.taken):
                m.d.sync += pids.eq(entry.pids & (odd if way else ~odd) if ways > 1 else entry.pids)
            with m.Elif(s1_leaves):
                m.d.sync += pids.eq(rest)
            m.d.sync += choices[way].eq(found)
        m.d.comb += last.eq(single.all())

        # --- stage S2: addresses and rows ---------------------------------------------------------

        placed = Signal(self.placed)
        m.d.sync += [s2_valid.eq(s1_leaves & ~marker.marker), placed.eq(item)]

        # --- stage S3: a register -----------------------------------------------------------------

        m.d.sync += [self.valid.eq(s2_valid), self.selected.mask.eq(placed.mask)]
        for way, choice in enumerate(choices):
            out = self.selected.ways[way]
            m.d.sync += [
                out.enable.eq(choice.enable & s2_valid),
                out.address.eq(placed.base + total([*choice.before, popcount(choice.inner)])),
                out.row.eq(image_row | self._row(m, f"{way}", placed, choice)),
            ]
        return m

    def _odd(self, m: Module, entry: data.View) -> Signal:
        """Which places of the pattern have a weight with an odd address, if they have one."""
        groups = [self.layouts.group(entry.wsp, n) for n in range(len(self.layouts.groups))]
        parity = entry.base[0]
        bits: list[Value] = []
        for group in groups:
            bits += [parity ^ group[:n].xor() if n else parity for n in range(len(group))]
            parity = parity ^ group.xor()
        odd = Signal(self.layouts.pattern_bits)
        m.d.comb += odd.eq(Cat(bits))
        return odd

    def _choose(
        self, m: Module, name: str, pids: Signal, wsp: Signal, counts: list[Signal]
    ) -> tuple[Signal, Signal]:
        """The lowest match, and the others.

        Each group finds its lowest while the lowest group with a match is being found, so that no
        path runs through all bits.
        """
        layouts, side = self.layouts, self.side
        numbers = range(len(layouts.groups))
        found, rest = (
            Signal(self.choice, name=f"found{name}"),
            Signal.like(pids, name=f"rest{name}"),
        )
        occupied = Signal(len(numbers), name=f"occupied{name}")
        lows = [Signal(side, name=f"low{name}_{n}") for n in numbers]
        living, passed = Signal(side, name=f"living{name}"), Signal(side, name=f"passed{name}")
        for n, low in enumerate(lows):
            group = layouts.group(pids, n)
            m.d.comb += [
                occupied[n].eq(group.any()),
                low.eq(lowest(group)),
                layouts.group(rest, n).eq(group & ~Mux(found.group[n], low[: len(group)], 0)),
            ]
        m.d.comb += [
            found.enable.eq(occupied.any()),
            found.group.eq(lowest(occupied)),
            found.low.eq(select(found.group, lows)),
            living.eq(select(found.group, [layouts.group(wsp, n) for n in numbers])),
            passed.eq(Cat(~found.low[: bit + 1].any() for bit in range(side))),
            found.inner.eq(living & passed),
            *(found.before[n].eq(Mux(occupied[: n + 1].any(), 0, counts[n])) for n in numbers[:-1]),
        ]
        return found, rest

    def _row(self, m: Module, name: str, placed: data.View, choice: data.View) -> Signal:
        """The neuron that the chosen kernel position connects the activation to.

        A match says that y - r is a multiple of the stride, so (y - r) / stride is the difference
        of the two shifted right.
        """
        layouts = self.layouts
        width = layouts.row_bits
        kernel = Signal(self.arch.fetch_units, name=f"kernel{name}")
        rows = Signal(self.side, name=f"rows{name}")
        with m.Switch(placed.kernel):
            for code, side in enumerate(layouts.sides):
                with m.Case(code):
                    step = max(side, 3)
                    starts = range(0, layouts.fetched(side) * step, step)
                    m.d.comb += [
                        kernel.eq(Cat(choice.group[n : n + side].any() for n in starts)),
                        rows.eq(
                            Cat(Cat(choice.group[n + r] for n in starts).any() for r in range(side))
                        ),
                    ]

        def distance(axis: str, coordinate: Value, place: Value) -> Signal:
            shift = Signal(3, name=f"{axis}{name}_kernel")
            found = Signal(width, name=f"{axis}{name}")
            m.d.comb += [
                shift.eq(encode(place, range(self.side), 3)),
                found.eq((coordinate >> placed.log_stride) - (shift >> placed.log_stride)),
            ]
            return found

        row = Signal(width, name=f"row{name}")
        y, x = distance("y", placed.y, rows), distance("x", placed.x, choice.low)
        slot = select(kernel, list(placed.slots))
        m.d.comb += row.eq((slot << self.log_tile) | (y << self.log_tile_width) | x)
        return row
