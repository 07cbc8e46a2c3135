"""The neurons of a block at one position, and the LIF stage that a timestep takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from evenspike_core.fixed import ACCUMULATOR_BITS, Leak, Reset
from evenspike_core.pack import Descriptor
from tests.helpers.stepped.order import Place

LOW, HIGH = -(1 << (ACCUMULATOR_BITS - 1)), (1 << (ACCUMULATOR_BITS - 1)) - 1


@dataclass(frozen=True)
class Neurons:
    """A block at one position, on its way from the accumulators to the spike memory."""

    place: Place
    sums: tuple[tuple[int, ...], ...] = ()
    biases: tuple[int, ...] = ()
    membranes: tuple[int, ...] = ()
    masks: tuple[int, ...] = ()


def lif(layer: Descriptor, neurons: Neurons, time: int) -> Neurons:
    """One LIF stage: leak, add, compare, reset."""
    membranes, masks = [], []
    for lane, u in enumerate(neurons.membranes):
        left = {Leak.QUARTER: u >> 2, Leak.HALF: u >> 1, Leak.THREE_QUARTERS: u - (u >> 2)}
        u = left.get(layer.leak, u) + neurons.sums[lane][time] + neurons.biases[lane]
        u = max(LOW, min(HIGH, u))
        fired = u >= layer.threshold
        if fired:
            u = 0 if layer.reset is Reset.HARD else u - layer.threshold
        membranes.append(u)
        masks.append(neurons.masks[lane] | fired << time)
    return replace(neurons, membranes=tuple(membranes), masks=tuple(masks))
