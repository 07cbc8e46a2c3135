"""The filter in front of a PE's FIFO, and the FIFO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenspike_core.arch import FILTER_SIDE
from tests.helpers.stepped.positions import Activation, position_mask
from tests.helpers.stepped.storage import Pulse, Queue, Reg
from tests.helpers.stepped.unpacker import Banks

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Machine


class Filter:
    """Two registers in front of the FIFO: the first waits for the pattern, the second compares."""

    def __init__(self, machine: Machine, banks: Banks) -> None:
        clock = machine.clock
        self.banks = banks
        self.arrived: Pulse[Activation] = Pulse(clock)
        self.compared: Reg[tuple[Activation, int] | None] = Reg(clock, None)
        self.fifo: Queue[Activation] = Queue(clock, machine.arch.fifo_depth)

    @property
    def full(self) -> bool:
        """Wire: no activation may be broadcast to the PE in this cycle.

        Both registers count as if the FIFO had their activations already.
        """
        under_way = (self.arrived.q is not None) + (self.compared.q is not None)
        return len(self.fifo.items) + under_way >= self.fifo.depth

    def take(self, item: Activation) -> None:
        """An activation is broadcast to the PE in this cycle."""
        assert not self.full, "broadcast to a full PE"
        self.arrived.set(item)
        if _filtered(item):
            self.banks.patterns[item.work.half].read(item.channel)

    def step(self) -> None:
        arrived, compared = self.arrived.q, self.compared.q
        if arrived is not None:
            pattern = self.banks.patterns[arrived.work.half].out if _filtered(arrived) else 0
            self.compared.set((arrived, pattern))
        elif compared is not None:
            self.compared.set(None)
        if compared is not None:
            item, pattern = compared
            if not _filtered(item) or pattern & position_mask(item):
                self.fifo.push(item)


def _filtered(item: Activation) -> bool:
    """Whether the filter has a pattern for it."""
    return not item.marker and item.work.segment.kernel <= FILTER_SIDE
