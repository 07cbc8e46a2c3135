"""What is left of memory, spikes and operations: R_mem, R_s and R_ops (ADMM, Eqs. 16-18)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

RESIDUAL = ("r_mem", "r_s", "r_ops", "living")
"""Names of the figures in a log's line and in a ticket."""

FULL_BITS = 32
"""B, of a weight that is not quantised."""


@dataclass(frozen=True)
class Residual:
    """What is left, as shares of the dense network with weights of `FULL_BITS`.

    memory : R_mem. spikes : R_s. operations : R_ops. living : share of the weights that are not 0,
    which is less than 1 - s where weights were quantised to 0; the paper's figures do not count it.
    """

    memory: float
    spikes: float
    operations: float
    living: float

    def figures(self) -> dict[str, float]:
        """By the names of a log's line."""
        values = (self.memory, self.spikes, self.operations, self.living)
        return dict(zip(RESIDUAL, values, strict=True))


def memory_left(sparsity: float, bits: int) -> float:
    """R_mem of weights of so many bits, 0 for `FULL_BITS`; zeros of the levels count as weights."""
    return (1 - sparsity) * (bits or FULL_BITS) / FULL_BITS


def residual(
    masks: Mapping[str, Tensor],
    layers: Sequence[str],
    memory: float,
    rate: float,
    dense_rate: float,
) -> Residual:
    """What a compressed network has left.

    Parameters
    ----------
    masks : True where a weight is not 0.
    layers : the compressed ones, whose weights that are not 0 are counted.
    memory : R_mem.
    rate, dense_rate : mean firing rates, r and R, per neuron and timestep, of the network and of
        the dense one.

    Raises ValueError where the dense network does not spike.
    """
    if dense_rate <= 0:
        raise ValueError("the dense network does not spike, so nothing can be said of what is left")
    spikes = rate / dense_rate
    total = sum(masks[name].numel() for name in layers)
    living = sum(int(masks[name].sum()) for name in layers) / total
    return Residual(memory, spikes, memory * spikes, living)
