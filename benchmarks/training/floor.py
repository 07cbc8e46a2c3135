"""What the multiply-accumulates of a step would take at the rate of a large matrix product."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.training import problem

SIDE = 2048


def operations(images: int) -> float:
    """Floating-point operations of the convolutions, forward and backward, two for each MAC.

    The first convolution is computed once for all timesteps, and passes no gradient on.
    """
    total, side = 0, 32
    for index, (channels, filters, pool) in enumerate(problem.plan()):
        each = channels * filters * 9 * side * side
        total += each * (3 * problem.TIMESTEPS if index else 2)
        side //= 2 if pool else 1
    return 2.0 * total * images


class Floor:
    """Answers as a worker does; its step are two matrix products."""

    def __init__(self, images: int) -> None:
        torch.set_num_threads(1)
        self.operations = operations(images)
        self.left, self.right = (torch.randn(SIDE, SIDE) for _ in range(2))

    def version(self) -> dict[str, Any]:
        return {"gflop": self.operations / 1e9}

    def step(self) -> dict[str, Any]:
        """CPU seconds that `operations` would take, by precision."""
        result = {}
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            left, right = self.left.to(dtype), self.right.to(dtype)
            started = time.process_time()
            left @ right
            seconds = time.process_time() - started
            result[name] = seconds * self.operations / (2 * SIDE**3)
        return result
