"""A processing element: its blocks, and the registers of what it has worked off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.helpers.stepped.accumulators import Accumulators, Registers
from tests.helpers.stepped.filter import Filter
from tests.helpers.stepped.gates import Gates, Lanes, RegisterGates, WeightGates
from tests.helpers.stepped.matcher import Matcher
from tests.helpers.stepped.positions import Activation
from tests.helpers.stepped.selector import Selector
from tests.helpers.stepped.storage import Reg
from tests.helpers.stepped.unpacker import Banks, Unpacker

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Machine


class Pe:
    """Filter and FIFO, matcher, selector, gates or lanes, and accumulators."""

    def __init__(self, machine: Machine, number: int) -> None:
        self.machine, self.number = machine, number
        clock = machine.clock
        self.banks = Banks(machine)
        self.unpacker = Unpacker(machine, self.banks)
        self.filter = Filter(self)
        self.matcher = Matcher(self)
        self.selector = Selector(self)
        self.gates: Gates | Lanes
        if machine.arch.lif_parallel:
            self.gates = RegisterGates(self)
        elif machine.arch.gates == "weights":
            self.gates = WeightGates(self)
        else:
            self.gates = Gates(self) if machine.arch.issue == 1 else Lanes(self)
        self.accumulators = (Registers if machine.arch.lif_parallel else Accumulators)(self)
        self.marked = Reg(clock, 0)  # broadcasts worked off
        self.rounds = Reg(clock, 0)  # rounds worked off

    # Wires.

    @property
    def full(self) -> bool:
        """No activation may be broadcast to the PE in this cycle."""
        return self.filter.full

    def issues(self) -> bool:
        """A matched weight issues."""
        return self.gates.issues()

    def marker(self) -> Activation | None:
        """The marker that issues in this cycle."""
        return self.selector.marker()

    def step(self) -> None:
        marker = self.marker()
        if marker is not None:
            self.marked.set(self.marked.q + 1)
            if marker.work.ends_round:
                self.rounds.set(self.rounds.q + 1)
        for block in (
            self.unpacker,
            self.filter,
            self.matcher,
            self.selector,
            self.gates,
            self.accumulators,
        ):
            block.step()
