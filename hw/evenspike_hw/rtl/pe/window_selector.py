"""Window selector: up to four matched weights of a PE a cycle, each with a bank to itself."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data

from evenspike_core.arch import GATE_WEIGHTS, WINDOW, Arch
from evenspike_hw.rtl.bits import popcount, total
from evenspike_hw.rtl.pe.selector import Selector


class WindowSelector(Selector):
    """What `Selector` is, where the gates of a PE are weights: the matches of a kernel, as many a
    cycle as have different banks.

    The ports are those of `Selector`. valid, selected: a selection in S3; way n has a weight whose
    address in the weight bank is n modulo 4, or none.

    S1 selects, in the order of the PIDs, the longest run of matches of which no two have the same
    address modulo 4, nor outputs whose rows and columns agree modulo 4. So a selection has a weight
    at least, and four at most. `room` is there to be the selector's, and to be 1. The latency and
    the order are those of `Selector`: an entry that is taken in cycle c is in S3 from c + 3 on.

    docs/timing.md, "Gates that are weights"; u-Ticket section IV-B.
    """

    def __init__(self, arch: Arch) -> None:
        super().__init__(arch)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layouts = self.layouts
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

        # --- taking an entry: its matches, and which weight bank each place has -------------------

        entry = self.matched.payload
        last = Signal()
        left, wsp = Signal(layouts.pattern_bits), Signal(layouts.pattern_bits)
        banks = [Signal(layouts.pattern_bits, name=f"banks{bit}") for bit in range(2)]
        item = Signal(self.placed)
        m.d.comb += [
            self.matched.ready.eq(~s1_valid | (s1_leaves & last)),
            self.taken.eq(self.matched.valid & self.matched.ready),
        ]
        numbers = self._addresses(m, entry)
        with m.If(self.taken):
            m.d.sync += [
                s1_valid.eq(1),
                wsp.eq(entry.wsp),
                *(item[name].eq(entry[name]) for name in self.placed.members),
                *(marker[name].eq(entry[name]) for name in marker.shape().members),
                *(
                    bits.eq(Cat(number[bit] for number in numbers))
                    for bit, bits in enumerate(banks)
                ),
            ]
        with m.Elif(s1_leaves & last):
            m.d.sync += s1_valid.eq(0)

        # --- stage S1: the longest run without a collision ----------------------------------------

        chosen, rest = Signal(layouts.pattern_bits), Signal(layouts.pattern_bits)
        collides = self._collides(m, left, self._ways(banks), item.log_stride)
        m.d.comb += [
            chosen.eq(Cat(left[n] & ~collides[: n + 1].any() for n in range(layouts.pattern_bits))),
            rest.eq(left & ~chosen),
            last.eq(~rest.any()),
        ]
        with m.If(self.taken):
            m.d.sync += left.eq(entry.pids)
        with m.Elif(s1_leaves):
            m.d.sync += left.eq(rest)

        # --- stage S2: addresses and rows ---------------------------------------------------------

        placed, living = Signal(self.placed), Signal(layouts.pattern_bits)
        selection = Signal(layouts.pattern_bits)
        selected_banks = [Signal.like(bits, name=f"selected{n}") for n, bits in enumerate(banks)]
        m.d.sync += [
            s2_valid.eq(s1_leaves & ~marker.marker),
            placed.eq(item),
            living.eq(wsp),
            selection.eq(chosen),
            *(after.eq(before) for after, before in zip(selected_banks, banks, strict=True)),
        ]

        # --- stage S3: a register -----------------------------------------------------------------

        m.d.sync += [self.valid.eq(s2_valid), self.selected.mask.eq(placed.mask)]
        for way, members in enumerate(self._ways(selected_banks)):
            choice = self._place(m, f"{way}", selection & members, living)
            out = self.selected.ways[way]
            m.d.sync += [
                out.enable.eq(choice.enable & s2_valid),
                out.address.eq(placed.base + total([*choice.before, popcount(choice.inner)])),
                out.row.eq(image_row | self._row(m, f"{way}", placed, choice)),
            ]
        return m

    def _addresses(self, m: Module, entry: data.View) -> list[Value]:
        """Modulo 4 the address that each place of the pattern has, if its weight lives."""
        found: list[Value] = []
        before: Value = entry.base[:2]
        for n in range(len(self.layouts.groups)):
            group = self.layouts.group(entry.wsp, n)
            found += [
                (before + (popcount(group[:place]) if place else 0))[:2]
                for place in range(len(group))
            ]
            ends = Signal(2, name=f"ends{n}")
            m.d.comb += ends.eq(before + popcount(group))
            before = ends
        return found

    @staticmethod
    def _ways(banks: list[Signal]) -> list[Value]:
        """Of each way which places are its own."""
        low, high = banks
        return [
            (high if way & 2 else ~high) & (low if way & 1 else ~low) for way in range(GATE_WEIGHTS)
        ]

    def _collides(self, m: Module, left: Signal, ways: list[Value], log_stride: Value) -> Signal:
        """The matches that have a bank of one before them, of the weights or the accumulators.

        Outputs of two kernel positions agree modulo 4 if the positions do, with stride 1; a kernel
        has 7 rows at most, so with stride 2 none do.
        """
        found = Signal(self.layouts.pattern_bits)
        widths = self.layouts.groups
        starts = [sum(widths[:n]) for n in range(len(widths))]
        taken = [left & members for members in ways]
        for group, width in enumerate(widths):
            for column in range(width):
                at = starts[group] + column
                weights = Cat(
                    members[at] & seen[:at].any() if at else members[at] & 0
                    for members, seen in zip(ways, taken, strict=True)
                )
                # Those before it whose row and column agree modulo 4; a kernel of 3 has none.
                same = [
                    left[starts[row] + other]
                    for row in range(group % WINDOW, group + 1, WINDOW)
                    for other in range(column % WINDOW, widths[row], WINDOW)
                    if starts[row] + other < at
                ]
                outputs = Cat(same).any() & ~log_stride if same and self.side > WINDOW else 0
                m.d.comb += found[at].eq(left[at] & (weights.any() | outputs))
        return found

    def _place(self, m: Module, name: str, match: Value, living: Signal) -> data.View:
        """The group and the place in it of the one match of a way."""
        layouts = self.layouts
        numbers = range(len(layouts.groups))
        found = Signal(self.choice, name=f"choice{name}")
        one = Signal(layouts.pattern_bits, name=f"match{name}")
        rows = [layouts.group(one, n) for n in numbers]
        counts = [popcount(layouts.group(living, n)) for n in numbers]
        low = Signal(self.side, name=f"low{name}")
        row, passed = (
            Signal(self.side, name=f"row_of{name}"),
            Signal(self.side, name=f"passed{name}"),
        )
        up_to = [Cat(group.any() for group in rows[: n + 1]).any() for n in numbers]
        m.d.comb += [
            one.eq(match),
            found.enable.eq(one.any()),
            found.group.eq(Cat(group.any() for group in rows)),
            low.eq(_union(rows)),
            found.low.eq(low),
            row.eq(_union([Mux(found.group[n], layouts.group(living, n), 0) for n in numbers])),
            passed.eq(Cat(~low[: bit + 1].any() for bit in range(self.side))),
            found.inner.eq(row & passed),
            *(found.before[n].eq(Mux(up_to[n], 0, counts[n])) for n in numbers[:-1]),
        ]
        return found


def _union(values: list[Value]) -> Value:
    found = values[0]
    for value in values[1:]:
        found = found | value
    return found
