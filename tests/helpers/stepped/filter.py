"""The filter in front of a PE's FIFO, and the FIFO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenspike_core.arch import FILTER_SIDE
from tests.helpers.stepped.positions import Activation, position_mask
from tests.helpers.stepped.storage import Pulse, Queue, Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.pe import Pe


class Filter:
    """Two registers in front of the FIFO: the first waits for the pattern, the second compares."""

    def __init__(self, pe: Pe) -> None:
        self.pe, self.banks = pe, pe.banks
        clock, arch = pe.machine.clock, pe.machine.arch
        self.arrived: Pulse[Activation] = Pulse(clock)
        self.compared: Reg[tuple[Activation, int] | None] = Reg(clock, None)
        self.fifo: Queue[Activation] = Queue(clock, arch.fifo_depth)
        # What left in the cycle before still has its place.
        self.dropped, self.popped = Reg(clock, False), Reg(clock, False)

    @property
    def full(self) -> bool:
        """Wire: no activation may be broadcast to the PE in this cycle.

        Both registers count as if the FIFO had their activations already.
        """
        ahead = (self.arrived.q is not None) + (self.compared.q is not None)
        behind = self.dropped.q + self.popped.q
        return ahead + len(self.fifo.items) + behind >= self.fifo.depth

    def take(self, item: Activation) -> None:
        """An activation is broadcast to the PE in this cycle."""
        assert not self.full, "broadcast to a full PE"
        self.arrived.set(item)
        if _filtered(item):
            self.banks.patterns[item.work.half].read(item.channel)

    def step(self) -> None:
        arrived, compared = self.arrived.q, self.compared.q
        dropped, popped = (
            compared is not None and not self._passes(*compared),
            self.pe.matcher.pops(),
        )
        if arrived is not None:
            pattern = self.banks.patterns[arrived.work.half].out if _filtered(arrived) else 0
            self.compared.set((arrived, pattern))
        elif compared is not None:
            self.compared.set(None)
        if compared is not None and not dropped:
            self.fifo.push(compared[0])
        if popped:
            self.fifo.pop()
        for register, value in ((self.dropped, dropped), (self.popped, popped)):
            if register.q != value:
                register.set(value)

    @staticmethod
    def _passes(item: Activation, pattern: int) -> bool:
        return not _filtered(item) or bool(pattern & position_mask(item))


def _filtered(item: Activation) -> bool:
    """Whether the filter has a pattern for it."""
    return not item.marker and item.work.segment.kernel <= FILTER_SIDE
