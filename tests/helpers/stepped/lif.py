"""The neurons of a block at one position, and what a timestep does to them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from evenspike_core.fixed import ACCUMULATOR_BITS
from evenspike_core.pack import Descriptor
from tests.helpers.stepped.order import Place

LOW, HIGH = -(1 << (ACCUMULATOR_BITS - 1)), (1 << (ACCUMULATOR_BITS - 1)) - 1


@dataclass(frozen=True)
class Neurons:
    """A block at one position, on its way from the accumulators to the spike memory.

    timesteps: of its group. left: of each lane, what the timestep before leaves to the next one.
    """

    place: Place
    timesteps: int
    carries: bool
    sums: tuple[tuple[int, ...], ...] = ()
    biases: tuple[int, ...] = ()
    membranes: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    masks: tuple[int, ...] = ()


def clipped(value: int) -> int:
    return max(LOW, min(HIGH, value))


def multiply(layer: Descriptor, neurons: Neurons, time: int) -> Neurons:
    """What timestep `time` leaves: the leak's share of the membrane, less the reset's amount."""
    left = []
    for membrane, mask in zip(neurons.membranes, neurons.masks, strict=True):
        amount = layer.reset if mask >> time & 1 else 0
        left.append(layer.leak * membrane // 4096 - amount)
    return replace(neurons, left=tuple(left))


def add(layer: Descriptor, neurons: Neurons, time: int) -> Neurons:
    """Drive, compare and hard reset of timestep `time`."""
    membranes, masks = [], []
    for lane, left in enumerate(neurons.left):
        u = clipped(left + neurons.sums[lane][time] + neurons.biases[lane])
        fired = u >= layer.threshold
        membranes.append(0 if fired and layer.hard else u)
        masks.append(neurons.masks[lane] | fired << time)
    return replace(neurons, membranes=tuple(membranes), masks=tuple(masks))
