"""The sequencer: when broadcasts and drains start, what is free, where a layer ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.helpers.stepped.order import Work
from tests.helpers.stepped.storage import Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Cluster


class Sequencer:
    """Starts broadcasts and drains, frees halves of the scratchpads, counts layers."""

    def __init__(self, machine: Cluster) -> None:
        self.machine = machine
        clock = machine.clock
        # The ANDs over the PEs; each PE's own count is a register before them.
        self.loaded = Reg(clock, 0)
        self.seen = Reg(clock, 0)  # chunks whose `loaded` was seen in an earlier cycle
        self.marked = Reg(clock, 0)
        self.rounds = Reg(clock, 0)
        self.drained = Reg(clock, 0)
        self.retired = Reg(clock, 0)
        self.next = Reg(clock, 0)
        self.broadcasting = Reg(clock, False)
        self.timer = Reg(clock, 0)
        self.layer = Reg(clock, 0)
        self.gap = Reg(clock, 0)
        self.tail = Reg(clock, 0)  # cycles until the layer's last write; 0: not in its tail

    # Wires.

    def work(self) -> Work:
        return self.machine.plan.works[self.next.q]

    def starts(self) -> bool:
        """A broadcast starts in the next cycle."""
        if self.next.q == len(self.machine.plan.works) or self.gap.q or self.tail.q:
            return False
        work = self.work()
        before = work.round - 2
        return (
            work.layer == self.layer.q
            and self.loaded.q > work.load
            and (not self.broadcasting.q or self.machine.apu.fires_marker())
            and (
                self.drained.q > before
                or (self.drained.q == before and self.machine.drain.ends_round())
            )
        )

    def barrier(self) -> bool:
        """All PEs have worked off the round: the drain begins in the next cycle."""
        return self.rounds.q > self.drained.q

    def retires(self) -> bool:
        """The oldest broadcast is over: worked off on all PEs, or drained if it ended the round."""
        if self.retired.q == len(self.machine.plan.works):
            return False
        if self.machine.plan.works[self.retired.q].ends_round:
            return self.machine.drain.at.q is not None and self.machine.drain.ends_round()
        return self.marked.q > self.retired.q

    def frees(self) -> int | None:
        """The half of the scratchpads that is free from the next cycle on, or None."""
        work = self.machine.plan.works[self.retired.q] if self.retires() else None
        return work.half if work is not None and work.frees else None

    def last_write(self) -> bool:
        """All clusters are in the last cycle of their tails, where they wait for each other."""
        return all(cluster.sequencer.tail.q == 1 for cluster in self.machine.clusters)

    def step(self) -> None:
        machine = self.machine
        self.loaded.set(min(pe.unpacker.unpacked.q for pe in machine.pes))
        self.seen.set(self.loaded.q)
        self.marked.set(min(pe.marked.q for pe in machine.pes))
        self.rounds.set(min(pe.rounds.q for pe in machine.pes))
        if self.retires():
            self.retired.set(self.retired.q + 1)
        if machine.drain.at.q is not None and machine.drain.ends_round():
            self.drained.set(self.drained.q + 1)
        if machine.drain.ends_layer():
            self.tail.set(machine.drain.tail)
        elif machine.input.ends_layer():
            self.tail.set(1)
        elif self.tail.q > 1 or self.last_write():
            self.tail.set(self.tail.q - 1)
        if self.last_write():
            self.layer.set(self.layer.q + 1)
            self.gap.set(4)
        elif self.gap.q:
            self.gap.set(self.gap.q - 1)
        if self.starts():
            self.next.set(self.next.q + 1)
            self.broadcasting.set(True)
            self.timer.set(3)
        else:
            if machine.apu.fires_marker():
                self.broadcasting.set(False)
            if self.timer.q:
                self.timer.set(self.timer.q - 1)
