"""Matcher: which living weights of a PE meet an activation."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.bits import popcount
from evenspike_hw.rtl.layouts import (
    COORDINATE_BITS,
    FETCH_UNITS,
    PAIR_OFFSET,
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
                "header": In(FETCH_UNITS * UNIT_BITS),
                "matched": Out(stream.Signature(layouts.matched)),
            }
        )

    @property
    def in_halves(self) -> bool:
        """Whether there are headers that take two fetches."""
        return 7 in self.layouts.sides

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
                "kernel": self.layouts.kernel_bits,
                "log_stride": 1,
                "opens": 1,
                "low": 1,
                "high": 1,
                **({"completes": 1} if self.in_halves else {}),
                "positions": self.layouts.pattern_bits,
                "word": FETCH_UNITS * UNIT_BITS,
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
        number = Signal(self.layouts.fetch_bits)
        start = self._start(m, item.kernel)
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

        mask: dict[str, Value] = {
            # The first header may be the second of its word, the last one the first.
            "low": (number != 0) | ~self.line.first[0],
            "high": ~m1_ends | self.line.full,
        }
        if self.in_halves:
            mask["completes"] = (item.kernel == 3) & number[0]
        mask["positions"] = self._positions(m, item)
        mask["word"] = self._word(m, item.kernel, mask)

        # --- stage M2: compares the headers with the mask, counts the weights, sends the matches --

        fetch = Signal(self.fetch)
        with m.If(m1_leaves):
            m.d.sync += m2_valid.eq(1)
            m.d.sync += [fetch[name].eq(item[name]) for name in PASSED_ON]
            m.d.sync += [fetch[name].eq(value) for name, value in mask.items()]
            m.d.sync += [fetch.opens.eq(number == 0), fetch.weight.eq(self.line.weight)]
        with m.Elif(m2_leaves):
            m.d.sync += m2_valid.eq(0)

        wsp = Signal(self.layouts.pattern_bits)
        pids = Signal(self.layouts.pattern_bits)
        slots = Signal(data.ArrayLayout(SLOT_BITS, 2))
        base = Signal(self.layouts.weight_address_bits)
        # Of the fetch before: where its weights begin and which there are, whose number is counted
        # here, since the header comes late in its own cycle; and the first half of one (K = 7).
        last_base, last_wsp = Signal.like(base), Signal.like(wsp)
        first_half, first_matches = Signal(FETCH_UNITS * UNIT_BITS), Signal()
        with m.Switch(fetch.kernel):
            for code, side in enumerate(self.layouts.sides):
                with m.Case(code):
                    self._decode(m, side, fetch, first_half, wsp, slots)
        # Whether there is a match decides over all stages: it does not wait for the pattern.
        matches = Signal()
        out = self.matched.payload
        m.d.comb += [
            pids.eq(wsp & fetch.positions),
            base.eq(Mux(fetch.opens, fetch.weight, last_base + popcount(last_wsp))),
            matches.eq(
                (self.header & fetch.word).any()
                | (fetch.completes & first_matches if self.in_halves else 0)
            ),
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
            m.d.sync += [last_base.eq(base), last_wsp.eq(wsp)]
            if self.in_halves:
                m.d.sync += [
                    first_half.eq(self.header),
                    first_matches.eq((self.header & fetch.positions[: len(first_half)]).any()),
                ]
        return m

    def _start(self, m: Module, kernel: Value) -> Signal:
        """The first word of the channel's headers."""
        start = Signal(len(self.header_read.word))
        with m.Switch(kernel):
            with m.Case(0, 1):
                m.d.comb += start.eq(self.line.first >> 1)
            if 5 in self.layouts.sides:
                with m.Case(2):
                    m.d.comb += start.eq(self.line.first)
            if 7 in self.layouts.sides:
                with m.Case(3):
                    m.d.comb += start.eq(self.line.first << 1)
        return start

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

    def _positions(self, m: Module, item: data.View) -> Signal:
        """Bit r * K + s is rows[r] & columns[s]; for K <= 3 that of each of the two kernels."""
        found = Signal(self.layouts.pattern_bits)

        def mask(side: int) -> Value:
            return Cat(item.rows[n // side] & item.columns[n % side] for n in range(side * side))

        with m.Switch(item.kernel):
            with m.Case(0, 1):  # a pattern of K = 1 has only the first bit of each kernel
                m.d.comb += found.eq(Cat(mask(3), mask(3)))
            for code, side in enumerate(self.layouts.sides[2:], 2):
                with m.Case(code):
                    m.d.comb += found.eq(mask(side))
        return found

    def _word(self, m: Module, kernel: Value, mask: dict[str, Value]) -> Signal:
        """The position mask where a word of the header bank has its WSPs."""
        found = Signal(FETCH_UNITS * UNIT_BITS)
        positions = mask["positions"]
        pair = (
            (mask["low"], positions[:PAIR_OFFSET]),
            (mask["high"], positions[PAIR_OFFSET : 2 * PAIR_OFFSET]),
        )
        with m.Switch(kernel):
            for code, side in enumerate(self.layouts.sides):
                with m.Case(code):
                    if side <= 3:
                        for at, (belongs, own) in enumerate(pair):
                            bits = found[at * UNIT_BITS :][: side**2]
                            m.d.comb += bits.eq(Mux(belongs, own[: side**2], 0))
                    elif side == 5:
                        m.d.comb += found.eq(positions[: side**2])
                    else:
                        m.d.comb += found.eq(Mux(mask["completes"], positions[len(found) :], 0))
        return found
