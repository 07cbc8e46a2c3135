"""Selector: the matched weights of a PE, one a cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.bits import lowest, popcount, select, total
from evenspike_hw.rtl.layouts import PAIR_OFFSET, Layouts

SHIFT_BITS = 4
"""Bits of the logarithm of a tile's width or area."""


class Selector(wiring.Component):
    """Priority encoder over the matches of a fetch: address of the weight, row of its psums.

    matched: the head of the match queue; taken with its last weight.
    log_tile_width, log_tile: log2 of the width of a tile, and of its neurons.
    weight_read, row_read: read the weight bank and the accumulators in this cycle. Address and row
        are 0 while the queue is empty.
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

    @property
    def side(self) -> int:
        """The largest kernel's."""
        return self.arch.kernel_max

    @property
    def groups(self) -> range:
        """Groups of `side` bits of the pattern."""
        return range(self.layouts.pattern_bits // self.side)

    def elaborate(self, platform: object) -> Module:
        # The pattern is searched in groups of `kernel_max` bits, 7 of 7 or 6 of 3. Each finds its
        # lowest match, and counts the living weights before it, while the lowest group with a match
        # is being found: no path runs through all bits.
        m = Module()
        side, groups, bits = self.side, self.groups, self.layouts.pattern_bits
        entry = self.matched.payload
        issues, last = Signal(), Signal()
        # Matches of the entry that are left, once the first has issued.
        begun = Signal()
        left = Signal(bits)
        pids = Signal(bits)
        m.d.comb += [
            issues.eq(self.matched.valid & ~entry.marker),
            pids.eq(Mux(begun, left, entry.pids)),
        ]

        # --- step 1: the lowest match of each group, and the lowest group with one ----------------

        occupied = Signal(len(groups))  # groups with a match
        chosen = Signal(len(groups))  # the lowest of them
        lows = [Signal(side, name=f"low{n}") for n in groups]  # lowest match of each group
        rest = Signal(bits)  # all matches but the lowest
        single = Signal(len(groups))  # groups with at most one match
        for n, low in enumerate(lows):
            group = pids.word_select(n, side)
            m.d.comb += [
                occupied[n].eq(group.any()),
                low.eq(lowest(group)),
                single[n].eq(~(group & ~low).any()),
                rest.word_select(n, side).eq(group & ~Mux(chosen[n], low, 0)),
            ]
        m.d.comb += [
            chosen.eq(lowest(occupied)),
            last.eq((occupied == chosen) & single.all()),
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

        # --- step 2: beside it, address and row of each group; the choice comes last --------------

        m.d.comb += [
            self.weight_read.enable.eq(issues),
            self.weight_read.address.eq(self._address(m, pids, chosen)),
            self.row_read.enable.eq(issues),
            self.row_read.row.eq(self._row(m, chosen, lows)),
        ]
        return m

    def _address(self, m: Module, pids: Signal, chosen: Signal) -> Signal:
        """The first weight of the entry and the living ones before the chosen; 0 without entry."""
        entry, valid = self.matched.payload, self.matched.valid
        width, side = self.layouts.weight_address_bits, self.side
        # Living weights of each group, and those before its lowest match.
        counts = [Signal(range(side + 1), name=f"count{n}") for n in self.groups]
        inner = [Signal(range(side + 1), name=f"inner{n}") for n in self.groups]
        for n in self.groups:
            group = pids.word_select(n, side)
            living = Mux(valid, entry.wsp.word_select(n, side), 0)
            passed = Signal(side, name=f"passed{n}")
            m.d.comb += [
                passed.eq(living & Cat(~group[: bit + 1].any() for bit in range(side))),
                counts[n].eq(popcount(living)),
                inner[n].eq(popcount(passed)),
            ]
        bases = [Signal(width, name=f"base{n}") for n in self.groups]  # of each group
        for n, base in enumerate(bases):
            m.d.comb += base.eq(Mux(valid, entry.base, 0) + total(counts[:n]))
        base, offset, address = Signal(width), Signal(range(side + 1)), Signal(width)
        m.d.comb += [
            base.eq(select(chosen, bases)),
            offset.eq(select(chosen, inner)),
            address.eq(base + offset),
        ]
        return address

    def _row(self, m: Module, chosen: Signal, lows: list[Signal]) -> Signal:
        """The neuron that the chosen kernel position connects the activation to; 0 without entry.

        A match says that y - r is a multiple of the stride, so (y - r) / stride is the difference
        of the two shifted right: there is one for each kernel row r, and the choice selects.
        """
        entry = self.matched.payload
        log_stride = entry.log_stride
        rows, columns, second = self._position(m, chosen, lows)
        width = self.layouts.row_bits
        high, low, slot, row = (Signal(width, name=n) for n in ("high", "low", "slot", "row"))

        def distances(name: str, coordinate: Value, shift: Value) -> list[Signal]:
            place = Signal(width, name=name)
            m.d.comb += place.eq((coordinate >> log_stride) << shift)
            found = [Signal(width, name=f"{name}{r}") for r in range(self.side)]
            for r, distance in enumerate(found):
                before = ((r >> log_stride) << shift)[:width]
                m.d.comb += distance.eq(Mux(self.matched.valid, place - before, 0))
            return found

        zero = Const(0, SHIFT_BITS)
        m.d.comb += [
            high.eq(select(rows, distances("y", entry.y, self.log_tile_width))),
            low.eq(select(columns, distances("x", entry.x, zero))),
            slot.eq(
                Mux(
                    self.matched.valid,
                    Mux(second, *(entry.slots[n] << self.log_tile for n in (1, 0))),
                    0,
                )
            ),
            row.eq(slot | high | low),
        ]
        return row

    def _position(
        self, m: Module, chosen: Signal, lows: list[Signal]
    ) -> tuple[Signal, Signal, Signal]:
        """Kernel row and column of the chosen bit, one-hot; whether it is of the second kernel."""
        rows, columns, second = Signal(self.side), Signal(self.side), Signal()
        if self.side == 3:
            # A group is a row of the first or the second kernel; of K = 1 it has the lowest bit.
            first, other = chosen[:3], chosen[3:]
            m.d.comb += [
                rows.eq(first | other),
                columns.eq(select(chosen, lows)),
                second.eq(other.any()),
            ]
            return rows, columns, second
        one_hot = Signal(self.layouts.pattern_bits)
        m.d.comb += one_hot.eq(Cat(Mux(c, low, 0) for c, low in zip(chosen, lows, strict=True)))

        def places(side: int, kernels: int) -> None:
            positions = [divmod(n % side**2, side) for n in range(kernels * side**2)]
            for place in range(side):
                in_row = [one_hot[n] for n, (r, _) in enumerate(positions) if r == place]
                in_column = [one_hot[n] for n, (_, s) in enumerate(positions) if s == place]
                m.d.comb += [
                    rows[place].eq(Cat(in_row).any()),
                    columns[place].eq(Cat(in_column).any()),
                ]

        with m.Switch(self.matched.payload.kernel):
            with m.Case(0):
                m.d.comb += [rows.eq(1), columns.eq(1), second.eq(one_hot[PAIR_OFFSET])]
            with m.Case(1):
                places(3, 2)
                m.d.comb += second.eq(one_hot[PAIR_OFFSET : 2 * PAIR_OFFSET].any())
            if self.side > 5:
                with m.Case(2):
                    places(5, 1)
            with m.Case(self.side // 2):  # a group is a row of the kernel
                m.d.comb += [rows.eq(chosen), columns.eq(select(chosen, lows))]
        return rows, columns, second
