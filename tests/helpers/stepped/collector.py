"""The collector: OR-pool and CSR write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.helpers.stepped.order import Place
from tests.helpers.stepped.storage import Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Cluster


class Collector:
    """Pools the masks that leave the drain or the input, and writes a cycle later."""

    def __init__(self, machine: Cluster) -> None:
        self.machine = machine
        clock = machine.clock
        self.pool: Reg[tuple[int, ...]] = Reg(clock, ())
        self.closed: Reg[Place | None] = Reg(clock, None)

    def step(self) -> None:
        left = self.machine.input.leaves(self.machine.number) or self.machine.drain.leaves()
        if self.closed.q is not None:
            self._write(self.closed.q, self.pool.q)
        closed = None
        if left is not None:
            place, masks = left
            if not place.opens:
                masks = tuple(a | b for a, b in zip(masks, self.pool.q, strict=True))
            self.pool.set(masks)
            closed = place if place.closes else None
        if closed is not self.closed.q:
            self.closed.set(closed)

    def _write(self, place: Place, masks: tuple[int, ...]) -> None:
        memory, layer = self.machine.memory, self.machine.packed.layers[place.layer]
        height, width = layer.size[0] // layer.pool, layer.size[1] // layer.pool
        first = layer.spike_base + memory.map(place.image, place.group)
        row = first + memory.behind(place.block * height + place.row, width)
        # The count of the row is a register: the row's other tiles left theirs in the memory, which
        # is read in the cycle before.
        count = 0 if place.restarts else memory.counts.cells[row]
        fired = any(masks)
        if fired:
            memory.entries.write(row + count, (place.column, masks))
        memory.counts.write(row, count + fired)
