"""Fifo: a queue between two streams, in front of each matcher and each selector."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


class Fifo(wiring.Component):
    """Holds up to `depth` payloads of one shape, in order (docs/timing.md, "FIFO and matcher").

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
        """Block RAM answers a cycle after the address, so it always reads the *next* cycle's head.
        If the head is being written in this very cycle, the RAM does not have it yet: it comes from
        a register (`recent`) for one cycle, and is in the RAM by then.
        """
        m = Module()
        level = Signal(range(self.depth + 1))
        push, pop = Signal(), Signal()
        m.d.comb += [
            self.w.ready.eq(level != self.depth),
            self.r.valid.eq(level != 0),
            push.eq(self.w.valid & self.w.ready),
            pop.eq(self.r.valid & self.r.ready),
        ]
        m.d.sync += level.eq(level + push - pop)

        recent = Signal(Shape.cast(self.shape))
        with m.If(push):
            m.d.sync += recent.eq(self.w.payload)
        if self.depth == 1:
            m.d.comb += self.r.payload.eq(recent)
            return m

        m.submodules.memory = memory = Memory(shape=self.shape, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        head, tail = Signal(range(self.depth)), Signal(range(self.depth))
        next_head = Signal(range(self.depth))
        m.d.comb += [
            next_head.eq(Mux(pop, self._after(head), head)),
            write.en.eq(push),
            write.addr.eq(tail),
            write.data.eq(self.w.payload),
            read.en.eq(1),
            read.addr.eq(next_head),
        ]
        m.d.sync += head.eq(next_head)
        with m.If(push):
            m.d.sync += tail.eq(self._after(tail))

        bypass = Signal()
        # next_head == tail, without waiting for it.
        m.d.sync += bypass.eq(push & Mux(pop, level == 1, level == 0))
        m.d.comb += self.r.payload.eq(Mux(bypass, recent, read.data))
        return m

    def _after(self, place: Signal) -> Any:
        """The place behind this one; behind the last is the first."""
        return Mux(place == self.depth - 1, 0, place + 1)
