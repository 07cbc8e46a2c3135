"""The drain with one LIF stage for all timesteps, which takes them one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.helpers.stepped.drain import Drain
from tests.helpers.stepped.lif import Neurons, add, multiply
from tests.helpers.stepped.order import Round

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Cluster


class SharedDrain(Drain):
    """Positions that take a cycle a timestep, and one more where they carry.

    An item that is read in cycle d is in pipe[n] in d + 1 + n, as before. The row stays at the
    RAM's output: psum t is taken from it on the way from pipe[t] to the next, and timestep t is
    added, with all that the one before leaves, on the way from pipe[t + 2]. So the last membrane is
    in pipe[timesteps + 2], at the collector, and what it leaves in the next one, and written.
    """

    def __init__(self, machine: Cluster) -> None:
        super().__init__(machine)
        self.out = machine.arch.timesteps + 2
        self.pipe = type(self.pipe)(machine.clock, (None,) * (self.out + 2))
        self.tail = 5

    def _behind(self) -> int:
        return 4

    def _each(self, one: Round) -> int:
        return self.machine.arch.timesteps + one.carries

    def _stage(self, stage: int, neurons: Neurons) -> Neurons:
        times = self.machine.arch.timesteps
        if stage == 0:
            zero = (0,) * self.machine.arch.pes
            neurons = replace(
                neurons,
                sums=((),) * self.machine.arch.pes,
                biases=self.biases.q,
                membranes=zero,
                left=zero,
                masks=zero,
            )
        if stage < times:
            psums = (pe.accumulators.sums()[stage] for pe in self.machine.pes)
            sums = tuple((*before, psum) for before, psum in zip(neurons.sums, psums, strict=True))
            neurons = replace(neurons, sums=sums)
        layer, time = self.machine.packed.layers[neurons.place.layer], stage - 2
        if time < 0 or layer.readout == "psum" or time > neurons.timesteps:
            return neurons
        if time:
            neurons = multiply(layer, neurons, time - 1)
        return add(layer, neurons, time) if time < neurons.timesteps else neurons

    def adding(self) -> Iterator[tuple[int, Neurons]]:
        for time in range(self.machine.arch.timesteps + 1):
            neurons = self.pipe.q[time + 2]
            if neurons is not None:
                yield time, neurons
