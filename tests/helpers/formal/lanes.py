"""Lane: nothing is lost, doubled, changed or reordered, and there is a place for what may come."""

from __future__ import annotations

from types import ModuleType

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Elaboratable, Module, Mux, Signal

from evenspike_core.arch import Arch
from tests.helpers.formal.prove import Opened, free

RESERVED = 8
"""Weights of a selection and of the three that may be in flight when it is made."""


class LaneOrder(Elaboratable):
    """One weight, of any push, is followed: it must issue behind exactly those pushed before it.

    source: `evenspike_hw.rtl.pe.lanes`. What is pushed was selected three cycles before, when there
    was room.
    """

    def __init__(self, source: ModuleType, arch: Arch) -> None:
        self.dut = source.Lane(arch)
        self.depth = arch.lane_depth

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        device = Opened(dut)
        free(m, dut.pushes)
        first, second = dut.pushes[0], dut.pushes[1]
        pushed, pops = first.enable + second.enable, dut.issue.enable
        level = Signal(range(self.depth + 1))
        flight = [Signal(name=f"flight{n}") for n in range(3)]  # the last one's is pushed now
        room, empty = Signal(init=1), Signal(init=1)
        m.d.sync += [
            level.eq(level + pushed - pops),
            room.eq(dut.next_room),
            empty.eq(dut.next_empty),
            flight[0].eq(room & AnySeq(1)),
            flight[1].eq(flight[0]),
            flight[2].eq(flight[1]),
        ]
        m.d.comb += [
            Assume((pushed == 0) | flight[2]),
            Assert(room == (level <= self.depth - RESERVED)),
            Assert(empty == (level == 0)),
            Assert(pops == (level != 0)),
        ]

        follows, ahead = Signal(), Signal(range(self.depth + 1))
        row, weight = Signal.like(first.row), Signal.like(first.weight)
        issued, addend = Signal(), Signal.like(first.weight)
        m.d.sync += issued.eq(0)
        with m.If(issued):
            m.d.comb += Assert(dut.addend == addend)
        with m.If(follows & pops):
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(ahead == 0):
                m.d.comb += Assert(dut.issue.row == row)
                m.d.sync += [follows.eq(0), issued.eq(1), addend.eq(weight)]
        for push, before in ((first, 0), (second, first.enable)):
            with m.If(push.enable & ~follows & AnySeq(1)):
                m.d.sync += [
                    *(follows.eq(1), row.eq(push.row), weight.eq(push.weight)),
                    ahead.eq(level - pops + before),
                ]

        # Reachable states.
        head, tail = device["head"], device["tail"]
        place = Signal.like(head)
        inside = device["m"].submodules
        cells = [memory.read_port(domain="comb") for memory in (inside.places0, inside.places1)]
        found = Mux(place[0], cells[1].data.as_value(), cells[0].data.as_value())
        m.d.comb += [
            Assert(level + 2 * sum(flight) <= self.depth),
            Assert(device["level"] == level),
            Assert((head + level)[: len(head)] == tail),
            place.eq(head + ahead),
            *(cell.addr.eq(place[1:]) for cell in cells),
        ]
        with m.If(follows):
            m.d.comb += [
                Assert(ahead < level),
                Assert(found == (row | weight << len(row))[: len(found)]),
            ]
        return m
