"""What the benches of both LIF units give to a neuron."""

from __future__ import annotations

from dataclasses import dataclass

from tests.helpers.driver import Bench

LOW, HIGH = -(1 << 23), (1 << 23) - 1
NEURONS, PSUM, COUNT, MEMBRANE = range(4)
READOUTS = ("no read-out", "read-out of psums", "read-out of counts", "read-out of membranes")
NEVER = (1 << 24) - 1
"""A threshold above every membrane."""


@dataclass
class Layer:
    """The inputs that stay while a layer's neurons pass."""

    threshold: int = 0
    leak: int = 0
    hard: int = 0
    reset: int = 0
    readout: int = 0

    def drive(self) -> dict[str, int]:
        return dict(vars(self))


def any_value(bench: Bench) -> int:
    """24 bits with a sign."""
    value = bench.bits(24)
    return value - (value >> 23 << 24)


def any_psum(bench: Bench, threshold: int, scale: int) -> int:
    """One of about 24 - scale bits, or one about the threshold."""
    value = any_value(bench) >> scale
    if bench.chance(0.2):
        value = threshold + bench.random.randrange(-2, 3)
    return max(LOW, min(HIGH, value))
