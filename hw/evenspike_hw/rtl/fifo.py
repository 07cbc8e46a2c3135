"""Fifo: a queue between two streams, in front of each matcher and each selector."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from evenspike_hw.rtl.ram import Ram


class Fifo(wiring.Component):
    """Holds up to `depth` payloads of one shape, in order (docs/timing.md, "Filter, FIFO and
    matcher").

    w: what is pushed. r: the head.

    Latency 1: pushed in cycle c, it is on `r` from c + 1 on if it is the head by then. One push
    and one pop a cycle. Both `w.ready` and `r.valid` are functions of a register: a pop in c makes
    room from c + 1 on, so a full FIFO takes nothing in the cycle of a pop.
    """

    def __init__(self, shape: Any, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"Fifo depth is {depth}, possible are 1 and more")
        self.shape = shape
        self.depth = depth
        super().__init__(
            {
                "w": In(stream.Signature(shape)),
                "r": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Block RAM answers a cycle after the address. So an entry that is the head in the cycle
        after its push comes from a register (`recent`) until it is popped, and the RAM has read
        the entry behind the head before that can become the head: the address is a register, and
        no longer than an enable is the path of a pop.
        """
        m = Module()
        level = Signal(range(self.depth + 1))
        push, pop = Signal(), Signal()
        m.d.comb += [
            self.w.ready.eq(level != self.depth),
            push.eq(self.w.valid & self.w.ready),
            pop.eq(self.r.valid & self.r.ready),
        ]
        # Both numbers are there before it is known whether anything is popped.
        with m.If(push != pop):
            m.d.sync += level.eq(Mux(push, level + 1, level - 1))

        recent = Signal(Shape.cast(self.shape))
        if self.depth == 1:
            with m.If(push):
                m.d.sync += recent.eq(self.w.payload)
            m.d.comb += [self.r.payload.eq(recent), self.r.valid.eq(level)]
            return m

        # A register of its own: the longest path of a PE begins here.
        holds = Signal()
        m.d.sync += holds.eq(push | Mux(pop, level != 1, holds))
        m.d.comb += self.r.valid.eq(holds)

        m.submodules.memory = memory = Ram(self.shape, self.depth)
        write, read = memory.write_port(), memory.read_port()
        tail = Signal(range(self.depth))
        behind = Signal(range(self.depth), init=1)  # the place behind the head's
        is_recent = Signal()
        m.d.comb += [
            write.en.eq(push),
            write.addr.eq(tail),
            write.data.eq(self.w.payload),
            read.en.eq(pop | is_recent),
            read.addr.eq(behind),
        ]
        with m.If(push):
            m.d.sync += tail.eq(self._after(tail))
        with m.If(pop):
            m.d.sync += [behind.eq(self._after(behind)), is_recent.eq(0)]
        # What is pushed now is the next cycle's head. Else the RAM has it: a word that is written
        # in the cycle in which it is read becomes the head only by this way.
        with m.If(push & Mux(pop, level == 1, level == 0)):
            m.d.sync += [recent.eq(self.w.payload), is_recent.eq(1)]
        m.d.comb += self.r.payload.eq(Mux(is_recent, recent, read.data))
        return m

    def _after(self, place: Signal) -> Any:
        """Returns the place behind this one; behind the last is the first."""
        return Mux(place == self.depth - 1, 0, place + 1)
