"""Matcher: which living weights of a PE meet an activation."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from evenspike_core.arch import HEADER_UNITS, Arch
from evenspike_hw.rtl.bits import popcount, total
from evenspike_hw.rtl.layouts import (
    SLOT_BITS,
    UNIT_BITS,
    Layouts,
    pushed,
    split_header,
)

PASSED_ON = ("marker", "ends_round", "frees", "kernel", "log_stride", "mask", "y", "x")
"""What an entry of the match queue has from the activation."""


class Matcher(wiring.Component):
    """WSP & position mask for every kernel of an activation's channel (u-Ticket section IV-B).

    activation: the head of the FIFO, markers included. round: low bit of the number of rounds that
        have been drained; behind a marker that ends its round the next activation waits for it.
    table_read, line: the channel table; its line comes in the next cycle and stays until the next
        read. header_read, header: the header bank, likewise.
    matched: to the match queue; an entry for each fetch with a match, and for each marker. The
        queue has room: a fetch needs one of `match_depth` credits.
    taken: the queue's head leaves it in this cycle, which gives a credit back.

    Stages M0 (pops, reads the table), M1 (has the line), M2 (fetches lines of the header bank), two
    behind it (the bank's output, a register, the comparison): a pop in cycle p fetches from p + 2
    on, a line a cycle, and a fetch in f sends its matches in f + 2. A fetch without a match gives
    its credit back in that cycle. Activations follow each other without a gap, as long as there
    are credits.

    docs/timing.md, "Filter, FIFO and matcher".
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "activation": In(stream.Signature(layouts.activation)),
                "round": In(1),
                "table_read": Out(layouts.table_read),
                "line": In(layouts.table_line),
                "header_read": Out(layouts.header_read),
                "header": In(arch.fetch_units * UNIT_BITS),
                "matched": Out(pushed(layouts.matched)),
                "taken": In(1),
            }
        )

    @property
    def in_halves(self) -> bool:
        """Whether there are headers that take two fetches."""
        return max(HEADER_UNITS[side] for side in self.layouts.sides) > self.arch.fetch_units

    @property
    def fetch(self) -> data.StructLayout:
        """A fetch behind M2, and what it takes along.

        opens: first of the activation. belongs: the header at this place of the fetch is the
        channel's. completes: it is the high half of a header. weight: address of the channel's
        first weight.
        """
        layouts = self.layouts
        return data.StructLayout(
            {
                "marker": 1,
                "ends_round": 1,
                "frees": 1,
                "kernel": layouts.kernel_bits,
                "log_stride": 1,
                "opens": 1,
                "belongs": self.arch.fetch_units,
                **({"completes": 1} if self.in_halves else {}),
                "rows": self.arch.kernel_max,
                "columns": self.arch.kernel_max,
                "weight": layouts.weight_address_bits,
                "mask": self.arch.timesteps,
                "y": layouts.coordinate_bits,
                "x": layouts.coordinate_bits,
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fetches, misses = Signal(), Signal()
        # Credits that are left, and a register that says whether there is one.
        left, credit = (
            Signal(range(self.arch.match_depth + 1), init=self.arch.match_depth),
            Signal(init=1),
        )
        after = Signal.like(left)
        m.d.comb += after.eq(left - fetches + misses + self.taken)
        m.d.sync += [left.eq(after), credit.eq(after != 0)]

        fetched = self._fetching(m, credit, fetches)
        # Behind the header bank's output there is a register, and what goes along has two.
        fetched_valid, valid = Signal(), Signal()
        compared, header = Signal(self.fetch), Signal.like(self.header)
        m.d.sync += [
            fetched_valid.eq(fetches),
            valid.eq(fetched_valid),
            compared.eq(fetched),
            header.eq(self.header),
        ]
        self._compare(m, valid, compared, header, misses)
        return m

    def _fetching(self, m: Module, credit: Signal, fetches: Signal) -> Signal:
        """M0 to M2. Drives `fetches`: a line is fetched; returns what goes along with it from the
        next cycle on.
        """
        layouts = self.layouts
        m1_valid, m1_leaves = Signal(), Signal()
        m2_valid, m2_ends, m2_leaves = Signal(), Signal(), Signal()

        # --- stage M0: pops the FIFO's head, which reads the channel's line of the table ----------

        head = self.activation.payload
        pops, ended = Signal(), Signal()  # ended: low bit of the rounds whose marker was popped
        with m.If(pops & head.marker & head.ends_round):
            m.d.sync += ended.eq(~ended)
        m.d.comb += [
            self.activation.ready.eq((ended == self.round) & (~m1_valid | m1_leaves)),
            pops.eq(self.activation.valid & self.activation.ready),
            self.table_read.enable.eq(pops & ~head.marker),
            self.table_read.half.eq(head.half),
            self.table_read.line.eq(head.line),
        ]

        # --- stage M1: has the line ---------------------------------------------------------------

        item = Signal(layouts.activation)
        m.d.comb += m1_leaves.eq(m1_valid & (~m2_valid | m2_leaves))
        with m.If(pops):
            m.d.sync += [m1_valid.eq(1), item.eq(head)]
        with m.Elif(m1_leaves):
            m.d.sync += m1_valid.eq(0)

        # --- stage M2: fetches the lines of the channel's headers ---------------------------------

        # `word` is the next line, `more` the number of lines behind it.
        fetching, weight = Signal.like(item), Signal.like(self.line.weight)
        word, more = Signal.like(self.header_read.word), Signal(layouts.fetch_bits)
        opens, low_half = Signal(), Signal()
        first_place, last_place = Signal(layouts.place_bits), Signal(layouts.place_bits)
        start, place = self._start(m, item.kernel)
        m.d.comb += [
            fetches.eq(m2_valid & credit),
            m2_leaves.eq(fetches & m2_ends),
            self.header_read.enable.eq(fetches & ~fetching.marker),
            self.header_read.half.eq(fetching.half),
            self.header_read.word.eq(word),
        ]
        with m.If(m1_leaves):
            m.d.sync += [
                m2_valid.eq(1),
                fetching.eq(item),
                word.eq(start),
                more.eq(self.line.last),
                m2_ends.eq(item.marker | (self.line.last == 0)),
                opens.eq(1),
                low_half.eq(1),
                first_place.eq(place),
                last_place.eq(self.line.tail),
                weight.eq(self.line.weight),
            ]
        with m.Elif(fetches):
            m.d.sync += [
                m2_valid.eq(~m2_ends),
                word.eq(word + 1),
                more.eq(more - 1),
                m2_ends.eq(more == 1),
                opens.eq(0),
                low_half.eq(~low_half),
                first_place.eq(0),
            ]

        fetched, units = Signal(self.fetch), self.arch.fetch_units
        m.d.sync += [
            *(fetched[name].eq(fetching[name]) for name in (*PASSED_ON, "rows", "columns")),
            fetched.opens.eq(opens),
            fetched.weight.eq(weight),
            fetched.belongs.eq(
                Cat(  # (no channel begins behind the last place)
                    (first_place <= n if n < units - 1 else 1) & (~m2_ends | (last_place >= n))
                    for n in range(units)
                )
            ),
        ]
        if self.in_halves:
            m.d.sync += fetched.completes.eq(~low_half)
        return fetched

    def _compare(
        self, m: Module, valid: Signal, compared: Signal, header: Signal, misses: Signal
    ) -> None:
        """WSPs against the position mask. Drives `misses`: a fetch without a match."""
        layouts = self.layouts
        wsp, pids = Signal(layouts.pattern_bits), Signal(layouts.pattern_bits)
        slots = Signal(data.ArrayLayout(SLOT_BITS, self.arch.fetch_units))
        base = Signal(layouts.weight_address_bits)
        # Of the fetch before: where its weights begin and how many each group has; and the first
        # half of a header that takes two.
        last_base = Signal.like(base)
        last_counts = [
            Signal(range(width + 1), name=f"last_count{n}")
            for n, width in enumerate(layouts.groups)
        ]
        first_half = Signal.like(header)
        positions = Signal(layouts.pattern_bits)
        with m.Switch(compared.kernel):
            for code, side in enumerate(layouts.sides):
                with m.Case(code):
                    self._decode(m, side, compared, header, first_half, wsp, slots)
                    self._positions(m, side, compared, positions)
        matches = Signal()
        out = self.matched.payload
        m.d.comb += [
            pids.eq(wsp & positions),
            base.eq(Mux(compared.opens, compared.weight, last_base + total(last_counts))),
            matches.eq(compared.marker | pids.any()),
            misses.eq(valid & ~matches),
            self.matched.valid.eq(valid & matches),
            out.pids.eq(Mux(compared.marker, 0, pids)),
            out.wsp.eq(wsp),
            out.base.eq(base),
            out.slots.eq(slots),
            *(out[name].eq(compared[name]) for name in PASSED_ON),
        ]
        with m.If(valid):
            m.d.sync += last_base.eq(base)
            m.d.sync += [
                count.eq(popcount(layouts.group(wsp, n))) for n, count in enumerate(last_counts)
            ]
            if self.in_halves:
                m.d.sync += first_half.eq(header)

    def _start(self, m: Module, kernel: Value) -> tuple[Signal, Signal]:
        """The first line of the channel's headers, and the place of the first header in it."""
        start, place = Signal.like(self.header_read.word), Signal(self.layouts.place_bits)
        for code, side in enumerate(self.layouts.sides):
            kernels, units = self.layouts.fetched(side), HEADER_UNITS[side]
            shift = exact_log2(kernels)
            with m.If(kernel == code):
                m.d.comb += [
                    start.eq((self.line.first >> shift) * max(1, units // self.arch.fetch_units)),
                    place.eq(self.line.first[:shift]),
                ]
        return start, place

    def _decode(
        self,
        m: Module,
        side: int,
        fetch: data.View,
        header: Signal,
        first_half: Signal,
        wsp: Signal,
        slots: Signal,
    ) -> None:
        """WSPs and slots out of a line of the header bank, for one kernel side."""
        layouts = self.layouts
        width = HEADER_UNITS[side] * UNIT_BITS
        for kernel in range(layouts.fetched(side)):
            if width > len(header):
                own, slot = split_header(Cat(first_half, header), side)
                belongs = fetch.completes
            else:
                own, slot = split_header(header.word_select(kernel, width), side)
                belongs = fetch.belongs[kernel]
            m.d.comb += slots[kernel].eq(slot)
            for row in range(side):
                group = layouts.group(wsp, kernel * max(side, 3) + row)
                bits = own[row * side : (row + 1) * side]
                m.d.comb += group.eq(Mux(belongs, bits, 0))

    def _positions(self, m: Module, side: int, fetch: data.View, positions: Signal) -> None:
        """Bit r * K + s of each kernel is rows[r] & columns[s]."""
        layouts = self.layouts
        for kernel in range(layouts.fetched(side)):
            for row in range(side):
                group = layouts.group(positions, kernel * max(side, 3) + row)
                m.d.comb += group.eq(Mux(fetch.rows[row], fetch.columns[:side], 0))
