"""Behind a PE's selector: the gates of one weight a cycle, or S4 and the lanes of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.helpers.stepped.positions import Activation
from tests.helpers.stepped.selector import Selection
from tests.helpers.stepped.storage import Queue, Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.pe import Pe


class Gates:
    """One weight a cycle: it meets all timesteps at once, so nothing ever waits."""

    def __init__(self, pe: Pe) -> None:
        self.pe = pe
        self.issued: Reg[Selection | None] = Reg(pe.machine.clock, None)

    # Wires.

    def accepts(self) -> bool:
        """S3 may give up its selection."""
        return True

    def issues(self) -> bool:
        """A matched weight issues."""
        held = self.pe.selector.s3.q
        return held is not None and not held.item.marker

    def marker(self) -> Activation | None:
        """The marker that issues."""
        held = self.pe.selector.s3.q
        return held.item if held is not None and held.item.marker else None

    def step(self) -> None:
        issued = self.issued.q
        (bank,) = self.pe.accumulators.banks
        if issued is None:
            bank.step(None, ())
        else:
            (weight,) = issued.weights
            value = self.pe.banks.weight(issued.item.work.half, weight.address)
            times = range(self.pe.machine.arch.timesteps)
            terms = tuple(value if issued.item.mask >> time & 1 else 0 for time in times)
            bank.step(weight.row, terms)
        following = self.pe.selector.s3.q if self.issues() else None
        if following is not None:
            bank.ram.read(following.weights[0].row)
        if following is not None or issued is not None:
            self.issued.set(following)


class Lanes:
    """Two weights a cycle: S4, and a queue of rows and weights in front of each adder."""

    def __init__(self, pe: Pe) -> None:
        self.pe = pe
        clock, arch = pe.machine.clock, pe.machine.arch
        self.s4: Reg[Selection | None] = Reg(clock, None)
        self.queues: list[Queue[tuple[int, int]]] = [
            Queue(clock, arch.lane_depth, pushes=2) for _ in range(arch.banks)
        ]
        self.issued: list[Reg[tuple[int, int] | None]] = [Reg(clock, None) for _ in self.queues]

    # Wires.

    def s4_leaves(self) -> bool:
        held = self.s4.q
        if held is None:
            return False
        if held.item.marker:
            return not self.issues()
        return all(len(lane.items) <= lane.depth - 2 for lane in self.queues)

    def accepts(self) -> bool:
        """S3 may give up its selection."""
        return self.s4.q is None or self.s4_leaves()

    def issues(self) -> bool:
        """A matched weight issues in a lane."""
        return not all(lane.empty for lane in self.queues)

    def marker(self) -> Activation | None:
        """The marker that issues."""
        held = self.s4.q
        return held.item if held is not None and held.item.marker and self.s4_leaves() else None

    def step(self) -> None:
        if self.s4_leaves():
            self._spread()
        if self.pe.selector.s3_leaves():
            self.s4.set(self.pe.selector.s3.q)
        elif self.s4_leaves():
            self.s4.set(None)
        for lane, issued, bank in zip(
            self.queues, self.issued, self.pe.accumulators.banks, strict=True
        ):
            row, value = (None, 0) if issued.q is None else issued.q
            bank.step(row, (value,))
            following = None if lane.empty else lane.head
            if following is not None:
                lane.pop()
                bank.ram.read(following[0])
            if following is not None or issued.q is not None:
                issued.set(following)

    def _spread(self) -> None:
        """Each weight to the lanes of the timesteps that fire."""
        held = self.s4.q
        assert held is not None
        for weight in held.weights:
            value = self.pe.banks.weight(held.item.work.half, weight.address)
            for time in range(self.pe.machine.arch.timesteps):
                if held.item.mask >> time & 1:
                    lane, _ = self.pe.accumulators.place(weight.row, time)
                    self.queues[lane].push((weight.row, value))
