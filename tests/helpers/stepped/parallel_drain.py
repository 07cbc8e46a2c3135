"""The drain with a LIF unit for every neuron: all step at once, and are then read one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.helpers.stepped.drain import Drain, Position
from tests.helpers.stepped.lif import Neurons, clipped
from tests.helpers.stepped.storage import Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Cluster


class ParallelDrain(Drain):
    """Phases 0 and 1 read the bias, once a round; 3, of two cycles, waits for it and steps; in 2
    the positions of all images are read. In its last cycle every membrane leaks, or is cleared.

    A position that is read in cycle d is in pipe[0], at the collector, in d + 1.
    """

    def __init__(self, machine: Cluster) -> None:
        super().__init__(machine)
        clock, arch = machine.clock, machine.arch
        self.out = 0
        self.pipe = type(self.pipe)(clock, (None,))
        self.tail = 2
        nothing = (0,) * arch.accumulators
        self.membranes: list[Reg[tuple[int, ...]]] = [Reg(clock, nothing) for _ in machine.pes]

    def beats(self, at: Position) -> int:
        return 2 if at.phase == 3 else super().beats(at)

    def steps(self) -> bool:
        at = self.at.q
        return at is not None and at.phase == 3 and at.beat == 1

    def carried(self, lane: int) -> tuple[int, int] | None:
        return None

    def ends_round(self) -> bool:
        at = self.at.q
        if at is None or at.phase != 2 or at.beat < self.beats(at) - 1 or self.waits():
            return False
        slots = self.spots[at.round]
        return at.slot == len(slots) - 1 and at.index == len(slots[at.slot]) - 1

    def step(self) -> None:
        if self.steps():
            self._add()
        elif self.ends_round():
            self._leak()
        super().step()

    def _advance(self, at: Position) -> Position | None:
        if at.phase == 1:
            return replace(at, phase=3)
        if at.phase == 3:
            return replace(at, beat=at.beat + 1) if at.beat < 1 else replace(at, phase=2, beat=0)
        if self.ends_round():
            return None
        following = super()._advance(at)
        # The next image has the bias of the one before.
        if following is not None and following.phase == 0 and at.phase == 2:
            return replace(following, phase=2)
        return following

    def _add(self) -> None:
        """Sum and bias to what was left of the membrane."""
        assert self.at.q is not None
        layer = self.machine.packed.layers[self.layer()]
        for pe, register, bias in zip(self.machine.pes, self.membranes, self.biases.q, strict=True):
            sums = pe.accumulators.cells
            total = [m + s[0] + bias for m, s in zip(register.q, sums, strict=True)]
            register.set(tuple(total if layer.readout == "psum" else map(clipped, total)))

    def _leak(self) -> None:
        """What is left for the next timestep."""
        assert self.at.q is not None
        layer, carries = self.machine.packed.layers[self.layer()], self.carries()
        for register in self.membranes:
            left = []
            for u in register.q:
                fired = u >= layer.threshold
                v = 0 if fired and layer.hard else u
                left.append(clipped(layer.leak * v // 4096 - (layer.reset if fired else 0)))
            register.set(tuple(left) if carries else (0,) * len(left))

    def _read(self, at: Position) -> Neurons | None:
        if at.phase == 3:
            return None
        found = super()._read(at)
        if found is None:
            return None
        layer = self.machine.packed.layers[self.layer()]
        values = [register.q[found.place.at] for register in self.membranes]
        psums = layer.readout == "psum"
        fired = [not psums and u >= layer.threshold for u in values]
        return replace(
            found,
            sums=tuple((u,) for u in values),
            biases=(0,) * len(values),
            membranes=tuple(
                0 if fires and layer.hard else u for u, fires in zip(values, fired, strict=True)
            ),
            masks=tuple(map(int, fired)),
        )

    def adding(self) -> Iterator[tuple[int, Neurons]]:
        return iter(())
