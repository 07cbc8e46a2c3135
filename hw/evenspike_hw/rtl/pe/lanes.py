"""Lanes: weights that wait for each of a PE's adders."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.bits import exchange
from evenspike_hw.rtl.layouts import WEIGHT_BITS, Layouts
from evenspike_hw.rtl.ram import LutRam

WAYS = 2
"""Weights that come in a cycle, at most."""

IN_FLIGHT = 3
"""Selections that may be on their way when another is made."""


class Lane(wiring.Component):
    """A queue that takes two weights a cycle and issues one.

    pushes: of this cycle, in their order.
    issue: the row whose psum is read in this cycle. addend: the weight of the issue of the cycle
        before.
    next_room: in the next cycle there is place for those of one more selection than may be in
        flight. next_empty: nothing issues in the next cycle. So both can be asked of all lanes at
        once, and be one register.

    Latency 1: pushed in cycle c, it issues in c + 1 if it is the head by then; one a cycle, no
    back-pressure behind it. An issue in c makes room from c + 1 on.

    docs/timing.md, "Selector, gates and accumulators".
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.layouts = Layouts(arch)
        super().__init__(
            {
                "pushes": In(data.ArrayLayout(self.layouts.addition, WAYS)),
                "issue": Out(self.layouts.row_read),
                "addend": Out(signed(WEIGHT_BITS)),
                "next_room": Out(1),
                "next_empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """The places of even and of odd number are memories of their own, so that each has one
        write a cycle.
        """
        m = Module()
        depth = self.arch.lane_depth
        word = data.StructLayout({"row": self.layouts.row_bits, "weight": signed(WEIGHT_BITS)})
        # `tail` and `head` count modulo `depth`.
        tail, head = Signal(range(depth)), Signal(range(depth))
        level, after = Signal(range(depth + 1)), Signal(range(depth + 1))
        first, second = self.pushes[0], self.pushes[1]
        any_, both, empty = Signal(), Signal(), Signal(init=1)
        m.d.comb += [
            any_.eq(first.enable | second.enable),
            both.eq(first.enable & second.enable),
            after.eq(level + any_ + both - self.issue.enable),
            self.issue.enable.eq(~empty),
            self.next_empty.eq(after == 0),
            self.next_room.eq(after <= depth - WAYS * (IN_FLIGHT + 1)),
        ]
        m.d.sync += [
            level.eq(after),
            empty.eq(self.next_empty),
            tail.eq(tail + any_ + both),
            head.eq(head + self.issue.enable),
        ]
        words = []
        for bank in range(WAYS):
            memory = LutRam(word, depth // WAYS)
            m.submodules[f"places{bank}"] = memory
            write, read = memory.write_port(), memory.read_port(domain="comb")
            opens = tail[0] == bank  # the first of this cycle comes here
            takes_first = opens & first.enable
            m.d.comb += [
                write.en.eq(Mux(opens, any_, both)),
                write.addr.eq((tail + (WAYS - 1 - bank))[1:]),
                write.data.row.eq(Mux(takes_first, first.row, second.row)),
                write.data.weight.eq(Mux(takes_first, first.weight, second.weight)),
                read.addr.eq(head[1:]),
            ]
            words.append(read.data)
        m.d.comb += self.issue.row.eq(Mux(head[0], words[1].row, words[0].row))
        m.d.sync += self.addend.eq(Mux(head[0], words[1].weight, words[0].weight))
        return m


class Lanes(wiring.Component):
    """Stage S4, and a lane for each bank of the accumulators.

    valid, selected: a selection in S3, whose weights are read in this cycle; see `Selector`.
    weights: of the even and the odd bank, in the cycle after the read.
    room: S1 may select. idle: S4 and all lanes are empty.
    issue, addends: of each lane, see `Lane`. busy: any issues in this cycle. All registers, but
        for the rows and addends.

    A weight that is in S3 in cycle c is written into the lanes of the timesteps that fire in c + 1.

    docs/timing.md, "Selector, gates and accumulators".
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.layouts = Layouts(arch)
        banks = arch.banks
        super().__init__(
            {
                "valid": In(1),
                "selected": In(self.layouts.selected),
                "weights": In(data.ArrayLayout(signed(WEIGHT_BITS), WAYS)),
                "room": Out(1, init=1),
                "idle": Out(1, init=1),
                "issue": Out(data.ArrayLayout(self.layouts.row_read, banks)),
                "addends": Out(data.ArrayLayout(signed(WEIGHT_BITS), banks)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        banks = range(self.arch.banks)
        lanes = [Lane(self.arch) for _ in banks]
        # Which lanes a weight is for: those of the timesteps that fire, for its row.
        rows = Signal(data.ArrayLayout(self.layouts.row_bits, WAYS))
        fires = Signal(data.ArrayLayout(self.arch.banks, WAYS))
        empty = Cat(lane.next_empty for lane in lanes).all()
        m.d.sync += [
            self.room.eq(Cat(lane.next_room for lane in lanes).all()),
            self.idle.eq(~self.valid & empty),
            self.busy.eq(~empty),
        ]
        for way, one in enumerate(self.selected.ways):
            m.d.sync += rows[way].eq(one.row)
            fired = Mux(one.enable, self.selected.mask, 0)
            bits = [fired[n] if n < self.arch.timesteps else Const(0, 1) for n in banks]
            m.d.sync += fires[way].eq(Cat(exchange(bits, self.layouts.skew(one.row))))
        for number, lane in enumerate(lanes):
            m.submodules[f"lane{number}"] = lane
            m.d.comb += [
                self.issue[number].eq(lane.issue),
                self.addends[number].eq(lane.addend),
            ]
            for way in range(WAYS):
                m.d.comb += [
                    lane.pushes[way].enable.eq(fires[way][number]),
                    lane.pushes[way].row.eq(rows[way]),
                    lane.pushes[way].weight.eq(self.weights[way]),
                ]
        return m
