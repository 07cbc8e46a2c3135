"""Selector: the matched weights of a PE, one a cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenspike.arch import Arch
from evenspike_hw.bits import encode, lowest, popcount
from evenspike_hw.layouts import COORDINATE_BITS, KERNEL_MAX, PAIR_OFFSET, PATTERN_BITS, Layouts

SHIFT_BITS = 4
"""Bits of the logarithm of a tile's width or area."""


class Selector(wiring.Component):
    """Priority encoder over the matches of a fetch: address of the weight, row of its psums.

    matched: the head of the match queue; taken with its last weight.
    kernels, log_strides: kernel code and log2 of the stride of each segment of the layer.
    log_tile_width, log_tile: log2 of the width of a tile, and of its neurons.
    weight_read, row_read: read the weight bank and the accumulators in this cycle.
    mask: spike mask of the weight of the cycle before; stays until the next one.
    busy: a weight issues in this cycle.
    rounds, worked, finished: markers so far, modulo 4: those that end a round; those that give up
        their half without ending a round; all that give up their half.

    Combinational from `matched` to the reads: an entry issues in the cycle in which it is the
    queue's head, kernels in header order, PIDs ascending, one weight a cycle without a gap between
    entries. A marker takes one idle cycle and is counted from the next on. No back-pressure behind
    it.

    docs/timing.md, "Gates and accumulators"; u-Ticket section IV-B.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "matched": In(stream.Signature(layouts.matched)),
                "kernels": In(data.ArrayLayout(2, 2)),
                "log_strides": In(data.ArrayLayout(1, 2)),
                "log_tile_width": In(SHIFT_BITS),
                "log_tile": In(SHIFT_BITS),
                "weight_read": Out(layouts.weight_read),
                "row_read": Out(layouts.row_read),
                "mask": Out(arch.timesteps),
                "busy": Out(1),
                "rounds": Out(2),
                "worked": Out(2),
                "finished": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        # The pattern is searched in groups of 7 bits: first the lowest group with a match, then
        # the lowest bit in it, so that no path runs through all 49.
        m = Module()
        entry = self.matched.payload
        issues, last = Signal(), Signal()
        # Matches of the entry that are left, once the first has issued.
        begun = Signal()
        left = Signal(PATTERN_BITS)
        pids = Signal(PATTERN_BITS)
        m.d.comb += [
            issues.eq(self.matched.valid & ~entry.marker),
            pids.eq(Mux(begun, left, entry.pids)),
        ]

        groups = [pids.word_select(n, KERNEL_MAX) for n in range(KERNEL_MAX)]
        occupied = Signal(KERNEL_MAX)  # groups with a match
        chosen = Signal(KERNEL_MAX)  # the group, one-hot
        group = Signal(KERNEL_MAX)  # its matches
        bit = Signal(KERNEL_MAX)  # the bit in it, one-hot
        below = Signal(KERNEL_MAX)  # the bits in it below
        rest = Signal(PATTERN_BITS)
        m.d.comb += [
            occupied.eq(Cat(g.any() for g in groups)),
            chosen.eq(lowest(occupied)),
            group.eq(select(chosen, groups)),
            bit.eq(lowest(group)),
            below.eq(Cat(~bit[: n + 1].any() for n in range(KERNEL_MAX))),
            rest.eq(Cat(g & ~Mux(c, bit, 0) for g, c in zip(groups, chosen, strict=True))),
            last.eq(~rest.any()),
            self.matched.ready.eq(entry.marker | last),
            self.busy.eq(issues),
        ]
        with m.If(issues):
            m.d.sync += [begun.eq(~last), left.eq(rest), self.mask.eq(entry.mask)]
        with m.If(self.matched.valid & entry.marker):
            m.d.sync += [
                self.rounds.eq(self.rounds + entry.ends_round),
                self.worked.eq(self.worked + (entry.frees & ~entry.ends_round)),
                self.finished.eq(self.finished + entry.frees),
            ]

        # A weight's address counts the living weights before it.
        living = [entry.wsp.word_select(n, KERNEL_MAX) for n in range(KERNEL_MAX)]
        before = [Signal(range(PATTERN_BITS + 1), name=f"before{n}") for n in range(KERNEL_MAX)]
        for n in range(1, KERNEL_MAX):
            m.d.comb += before[n].eq(before[n - 1] + popcount(living[n - 1]))
        offset = Signal(range(PATTERN_BITS + 1))
        passed = Signal(KERNEL_MAX)  # living weights of the group before the bit
        m.d.comb += [
            passed.eq(select(chosen, living) & below),
            offset.eq(select(chosen, before) + popcount(passed)),
            self.weight_read.enable.eq(issues),
            self.weight_read.address.eq(entry.base + offset),
            self.row_read.enable.eq(issues),
            self.row_read.row.eq(self._row(m, chosen, bit)),
        ]
        return m

    def _row(self, m: Module, chosen: Signal, bit: Signal) -> Signal:
        """The neuron that the chosen kernel position connects the activation to.

        A match says that y - r is a multiple of the stride, so (y - r) / stride is the difference
        of the two shifted right: these shifts do not wait for the choice.
        """
        entry = self.matched.payload
        log_stride = self.log_strides[entry.segment]
        r, s, second = self._position(m, chosen, bit)
        width = self.layouts.row_bits
        y, x = Signal(COORDINATE_BITS), Signal(COORDINATE_BITS)
        high, low, slot, row = (Signal(width, name=n) for n in ("high", "low", "slot", "row"))
        m.d.comb += [
            y.eq(entry.y >> log_stride),
            x.eq(entry.x >> log_stride),
            high.eq((y << self.log_tile_width) - ((r >> log_stride) << self.log_tile_width)),
            low.eq(x - (s >> log_stride)),
            slot.eq(Mux(second, *(entry.slots[n] << self.log_tile for n in (1, 0)))),
            row.eq(slot | high | low),
        ]
        return row

    def _position(self, m: Module, chosen: Signal, bit: Signal) -> tuple[Signal, Signal, Signal]:
        """Kernel row and column of the chosen bit, and whether it is the second kernel's."""
        r, s, second = Signal(3), Signal(3), Signal()
        one_hot = Signal(PATTERN_BITS)
        m.d.comb += one_hot.eq(Cat(bit & c.replicate(KERNEL_MAX) for c in chosen))
        with m.Switch(self.kernels[self.matched.payload.segment]):
            with m.Case(0):
                m.d.comb += second.eq(one_hot[PAIR_OFFSET])
            with m.Case(1):
                pair = [n % PAIR_OFFSET for n in range(2 * PAIR_OFFSET)]
                m.d.comb += [
                    r.eq(encode(one_hot, [n // 3 for n in pair], 2)),
                    s.eq(encode(one_hot, [n % 3 for n in pair], 2)),
                    second.eq(one_hot[PAIR_OFFSET : 2 * PAIR_OFFSET].any()),
                ]
            with m.Case(2):
                m.d.comb += [
                    r.eq(encode(one_hot, [n // 5 for n in range(25)], 3)),
                    s.eq(encode(one_hot, [n % 5 for n in range(25)], 3)),
                ]
            with m.Case(3):
                m.d.comb += [
                    r.eq(encode(chosen, range(KERNEL_MAX), 3)),
                    s.eq(encode(bit, range(KERNEL_MAX), 3)),
                ]
        return r, s, second


def select(one_hot: Signal, values: list[Value]) -> Value:
    """The value of the bit that is set, 0 if none is."""
    found = None
    for chosen, value in zip(one_hot, values, strict=True):
        item = value & chosen.replicate(len(value))
        found = item if found is None else found | item
    return found
