"""Matcher: which living weights of a PE meet an activation."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.bits import popcount
from evenspike_hw.rtl.layouts import (
    COORDINATE_BITS,
    FETCH_BITS,
    PAIR_OFFSET,
    PATTERN_BITS,
    SLOT_BITS,
    UNIT_BITS,
    Layouts,
    split_header,
)

PASSED_ON = ("marker", "ends_round", "frees", "kernel", "log_stride", "mask", "y", "x")
"""What an entry of the match queue has from the activation."""


class Matcher(wiring.Component):
    """WSP & position mask for every kernel of an activation's channel (u-Ticket section IV-B).

    activation: the head of the FIFO, markers included. round: low bit of the current round; an
        activation of another round waits.
    table_read, line: the channel table; its line comes in the next cycle and stays until the next
        read. header_read, header: the header bank, likewise.
    matched: to the match queue; an entry for each fetch with a match, and for each marker.

    Stages M0 (pops, reads the table), M1 (reads the headers), M2 (compares): a pop in cycle p reads
    its headers from p + 1 on, one fetch of 32 bits a cycle, and sends the first fetch's matches in
    p + 2 at the earliest. A fetch has two headers for K <= 3, one for K = 5, half of one for K = 7.
    A fetch without a match takes a cycle; one with a match waits until `matched` is taken, and M1
    and M0 wait with it. An activation's first fetch follows the last one of the activation before
    without a gap.

    docs/timing.md, "FIFO and matcher".
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
                "header": In(2 * UNIT_BITS),
                "matched": Out(stream.Signature(layouts.matched)),
            }
        )

    @property
    def fetch(self) -> data.StructLayout:
        """A fetch in M2, beside the header that it has read.

        opens: first of the activation. low, high: the header in this half of the word belongs to
        the channel (K <= 3). completes: the word is the high half of a header (K = 7).
        positions: position mask, laid out like a pattern. word: laid out like the header bank's
        word, 0 for what does not belong to the channel. weight: address of the channel's first.
        """
        return data.StructLayout(
            {
                "marker": 1,
                "ends_round": 1,
                "frees": 1,
                "kernel": 2,
                "log_stride": 1,
                "opens": 1,
                "low": 1,
                "high": 1,
                "completes": 1,
                "positions": PATTERN_BITS,
                "word": 2 * UNIT_BITS,
                "weight": self.layouts.weight_address_bits,
                "mask": self.arch.timesteps,
                "y": COORDINATE_BITS,
                "x": COORDINATE_BITS,
            }
        )

    def elaborate(self, platform: object) -> Module:
        # Each stage is refilled in the cycle in which it is vacated, so whether M2 is blocked says
        # whether M1 leaves, and that whether M0 pops. A match while the queue is full blocks it: it
        # is known last, and there is one gate from it to each of the three.
        m = Module()
        m1_valid, m1_leaves, m1_ends = Signal(), Signal(), Signal()
        m2_valid, m2_leaves, blocked = Signal(), Signal(), Signal()

        # --- stage M0: pops the FIFO's head, which reads the channel's line of the table ----------

        head = self.activation.payload
        pops = Signal()
        m.d.comb += [
            self.activation.ready.eq(
                (head.round == self.round) & (~m1_valid | (m1_ends & ~blocked))
            ),
            pops.eq(self.activation.valid & self.activation.ready),
            self.table_read.enable.eq(pops & ~head.marker),
            self.table_read.half.eq(head.half),
            self.table_read.line.eq(head.line),
        ]

        # --- stage M1: reads a word of the channel's headers, makes the position mask -------------

        # `item` is the activation, `number` its fetch.
        item = Signal(self.layouts.activation)
        number = Signal(FETCH_BITS)
        start = Signal(len(self.header_read.word))  # the first word of the channel's headers
        with m.Switch(item.kernel):
            with m.Case(0, 1):
                m.d.comb += start.eq(self.line.first >> 1)
            with m.Case(2):
                m.d.comb += start.eq(self.line.first)
            with m.Case(3):
                m.d.comb += start.eq(self.line.first << 1)
        m.d.comb += [
            m1_leaves.eq(m1_valid & ~blocked),
            m1_ends.eq(item.marker | (number == self.line.last)),
            self.header_read.enable.eq(m1_leaves & ~item.marker),
            self.header_read.half.eq(item.half),
            self.header_read.word.eq(start + number),
        ]
        with m.If(pops):
            m.d.sync += [m1_valid.eq(1), item.eq(head), number.eq(0)]
        with m.Elif(m1_leaves):
            m.d.sync += [m1_valid.eq(~m1_ends), number.eq(number + 1)]

        positions = position_mask(m, item.kernel, item.rows, item.columns)
        found = {
            # The first header may be the second of its word, the last one the first.
            "low": (number != 0) | ~self.line.first[0],
            "high": ~m1_ends | self.line.full,
            "completes": (item.kernel == 3) & number[0],
            "positions": positions,
        }
        found["word"] = word_mask(m, item.kernel, **found)

        # --- stage M2: compares the headers with the mask, counts the weights, sends the matches --

        fetch = Signal(self.fetch)
        with m.If(m1_leaves):
            m.d.sync += m2_valid.eq(1)
            m.d.sync += [fetch[name].eq(item[name]) for name in PASSED_ON]
            m.d.sync += [fetch[name].eq(value) for name, value in found.items()]
            m.d.sync += [fetch.opens.eq(number == 0), fetch.weight.eq(self.line.weight)]
        with m.Elif(m2_leaves):
            m.d.sync += m2_valid.eq(0)

        wsp = Signal(PATTERN_BITS)
        pids = Signal(PATTERN_BITS)
        slots = Signal(data.ArrayLayout(SLOT_BITS, 2))
        base = Signal(self.layouts.weight_address_bits)
        # Of the fetch before: where its weights begin and which there are, whose number is counted
        # here, since the header comes late in its own cycle; and the first half of one (K = 7).
        last_base, last_wsp = Signal.like(base), Signal.like(wsp)
        first_half, first_matches = Signal(2 * UNIT_BITS), Signal()
        with m.Switch(fetch.kernel):
            for code in range(4):
                with m.Case(code):
                    self._decode(m, 2 * code + 1, fetch, first_half, wsp, slots)
        # Whether there is a match decides over all stages: it does not wait for the pattern.
        matches = Signal()
        out = self.matched.payload
        m.d.comb += [
            pids.eq(wsp & fetch.positions),
            base.eq(Mux(fetch.opens, fetch.weight, last_base + popcount(last_wsp))),
            matches.eq((self.header & fetch.word).any() | (fetch.completes & first_matches)),
            self.matched.valid.eq(m2_valid & (fetch.marker | matches)),
            blocked.eq(m2_valid & ~self.matched.ready & (fetch.marker | matches)),
            m2_leaves.eq(m2_valid & ~blocked),
            out.pids.eq(pids),
            out.wsp.eq(wsp),
            out.base.eq(base),
            out.slots.eq(slots),
            *(out[name].eq(fetch[name]) for name in PASSED_ON),
        ]
        with m.If(m2_leaves):
            m.d.sync += [
                last_base.eq(base),
                last_wsp.eq(wsp),
                first_half.eq(self.header),
                first_matches.eq((self.header & fetch.positions[: len(first_half)]).any()),
            ]
        return m

    def _decode(
        self, m: Module, side: int, fetch: data.View, first_half: Signal, wsp: Signal, slots: Signal
    ) -> None:
        """WSP and slot out of the header bank's word, for one kernel side."""
        if side <= 3:
            for at, belongs in enumerate((fetch.low, fetch.high)):
                own, slot = split_header(self.header.word_select(at, UNIT_BITS), side)
                bits = wsp[at * PAIR_OFFSET :][: side**2]
                m.d.comb += [bits.eq(Mux(belongs, own, 0)), slots[at].eq(slot)]
        elif side == 5:
            own, slot = split_header(self.header, side)
            m.d.comb += [wsp.eq(own), slots[0].eq(slot)]
        else:
            own, slot = split_header(Cat(first_half, self.header), side)
            m.d.comb += [wsp.eq(Mux(fetch.completes, own, 0)), slots[0].eq(slot)]


def position_mask(m: Module, kernel: Value, rows: Value, columns: Value) -> Signal:
    """Bit r * K + s is rows[r] & columns[s]; for K <= 3 that of each of the two kernels."""
    found = Signal(PATTERN_BITS)

    def mask(side: int) -> Value:
        return Cat(rows[n // side] & columns[n % side] for n in range(side * side))

    with m.Switch(kernel):
        with m.Case(0, 1):  # a pattern of K = 1 has only the first bit of each kernel
            m.d.comb += found.eq(Cat(mask(3), mask(3)))
        with m.Case(2):
            m.d.comb += found.eq(mask(5))
        with m.Case(3):
            m.d.comb += found.eq(mask(7))
    return found


def word_mask(
    m: Module, kernel: Value, low: Value, high: Value, completes: Value, positions: Signal
) -> Signal:
    """The position mask where a word of the header bank has its WSPs."""
    found = Signal(2 * UNIT_BITS)
    pair = ((low, positions[:PAIR_OFFSET]), (high, positions[PAIR_OFFSET : 2 * PAIR_OFFSET]))
    with m.Switch(kernel):
        for code in range(2):
            area = (2 * code + 1) ** 2
            with m.Case(code):
                for at, (belongs, mask) in enumerate(pair):
                    bits = found[at * UNIT_BITS :][:area]
                    m.d.comb += bits.eq(Mux(belongs, mask[:area], 0))
        with m.Case(2):
            m.d.comb += found.eq(positions[:25])
        with m.Case(3):
            m.d.comb += found.eq(Mux(completes, positions[2 * UNIT_BITS :], 0))
    return found
