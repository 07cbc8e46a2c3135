"""Watchdog: says when nothing has moved for too long."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

LIMIT_BITS = 5
"""Bits of the limit, which is the logarithm of a number of cycles."""

LIMIT = 20
"""The limit after a reset. The longest that an inference goes without an event at a memory that
does not stall are the row visits of a silent chunk, 511 rows in each of 256 blocks: 2^17 cycles."""


class Watchdog(wiring.Component):
    """Counts cycles without an event.

    watches: the host waits for something. event: something has moved in this cycle.
    limit: log2 of the cycles in a row after which it barks; 0 never. Stable while it watches.
    barks: these cycles are over, and no event came in them; until the next event.

    With no event in cycles c + 1 ... c + 2^limit, while it watches, it barks in c + 2^limit + 1.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "watches": In(1),
                "event": In(1),
                "limit": In(LIMIT_BITS),
                "barks": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = Signal(1 << LIMIT_BITS)
        m.d.comb += self.barks.eq(
            self.watches & (self.limit != 0) & count.bit_select(self.limit, 1)
        )
        with m.If(self.event | ~self.watches):
            m.d.sync += count.eq(0)
        with m.Elif(~self.barks):
            m.d.sync += count.eq(count + 1)
        return m
