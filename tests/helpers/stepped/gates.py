"""Behind a PE's selector: the gates of one weight a cycle, or S4 and the lanes of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.helpers.stepped.accumulators import Registers
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

    def room(self) -> bool:
        """S1 may select."""
        return True

    def empty(self) -> bool:
        """No weight waits behind S3."""
        return True

    def issues(self) -> bool:
        """A matched weight issues."""
        return self.pe.selector.s3.q is not None

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
        following = self.pe.selector.s3.q
        if following is not None:
            bank.ram.read(following.weights[0].row)
        if following is not None or issued is not None:
            self.issued.set(following)


class WeightGates(Gates):
    """Up to four weights a cycle, of one timestep, each with a bank of accumulators to itself."""

    def step(self) -> None:
        issued, following = self.issued.q, self.pe.selector.s3.q
        accumulators = self.pe.accumulators
        added: dict[int, tuple[int, int]] = {}
        if issued is not None:
            for weight in issued.weights:
                value = self.pe.banks.weight(issued.item.work.half, weight.address)
                bank = accumulators.bank(weight.row, issued.item.work.layer)
                assert bank not in added, "two weights of one bank"
                added[bank] = weight.row, value if issued.item.mask & 1 else 0
        for number, bank_ in enumerate(accumulators.banks):
            row, term = added.get(number, (None, 0))
            bank_.step(row, (term,))
        if following is not None:
            for weight in following.weights:
                number = accumulators.bank(weight.row, following.item.work.layer)
                accumulators.banks[number].ram.read(weight.row)
        if following is not None or issued is not None:
            self.issued.set(following)


class RegisterGates(Gates):
    """Up to four weights a cycle, which are added to registers a cycle later."""

    def step(self) -> None:
        issued, following = self.issued.q, self.pe.selector.s3.q
        terms: list[tuple[int, int]] = []
        if issued is not None:
            for weight in issued.weights:
                value = self.pe.banks.weight(issued.item.work.half, weight.address)
                terms.append((weight.row, value if issued.item.mask & 1 else 0))
        assert isinstance(self.pe.accumulators, Registers)
        self.pe.accumulators.gated.set(tuple(terms))
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

    def room(self) -> bool:
        """S1 may select: three selections may be under way, one more is two weights."""
        return all(len(lane.items) <= lane.depth - 8 for lane in self.queues)

    def empty(self) -> bool:
        """No weight waits behind S3."""
        return self.s4.q is None and not self.issues()

    def issues(self) -> bool:
        """A matched weight issues in a lane."""
        return not all(lane.empty for lane in self.queues)

    def step(self) -> None:
        following, held = self.pe.selector.s3.q, self.s4.q
        if held is not None:
            self._spread(held)
        if following is not None or held is not None:
            self.s4.set(following)
        self._issue()

    def _issue(self) -> None:
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

    def _spread(self, held: Selection) -> None:
        """Each weight to the lanes of the timesteps that fire."""
        for weight in held.weights:
            value = self.pe.banks.weight(held.item.work.half, weight.address)
            for time in range(self.pe.machine.arch.timesteps):
                if held.item.mask >> time & 1:
                    lane, _ = self.pe.accumulators.place(weight.row, time)
                    self.queues[lane].push((weight.row, value))
