"""Early-Time tickets: search with fewer timesteps (LTH for SNNs, section 3.3, Algorithm 1).

The class probabilities after t timesteps are those of the logits of the first t: of their mean, as
in the authors' code, or of their sum.  Where they are near those after all T, training with t
timesteps finds much the same weights.

A sum grows with t: its probabilities are the sharper the later they are, and differ from the last
ones by that alone.
"""

from __future__ import annotations

import torch
from torch import Tensor


def divergences(logits: Tensor, accumulation: str = "mean") -> list[float]:
    """KL(P_t || P_T) for t = 2 ... T - 1, mean over images (Eq. 1); logits [T, N, classes].

    accumulation : of the logits over the timesteps, ``"mean"`` or ``"sum"``.
    """
    summed = logits.double().cumsum(0)
    if accumulation == "mean":
        summed /= torch.arange(1, len(logits) + 1, device=logits.device)[:, None, None]
    accumulated = torch.log_softmax(summed, dim=2)
    final = accumulated[-1]
    return [float((early.exp() * (early - final)).sum(1).mean()) for early in accumulated[1:-1]]


def choose(divergence: list[float], limit: float) -> int:
    """The first t whose divergence, as a share of that at t = 2, is below `limit`; else T.

    `divergence` is that of t = 2 ... T - 1.  Timestep 1 is not looked at: it cannot use the
    neuron's memory.  The share at t = 2 is 1 by definition, unless the prediction does not change
    after it at all: then 2 timesteps do.
    """
    for timesteps, value in enumerate(divergence, 2):
        if divergence[0] <= 0 or value / divergence[0] < limit:
            return timesteps
    return len(divergence) + 2
