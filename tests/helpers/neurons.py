"""The loop and the fused neuron, side by side."""

from __future__ import annotations

import torch

from evenspike_train.kernels.neuron import LIFParameters, fused_lif, lif_loop


def both(
    current: torch.Tensor, parameters: LIFParameters
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(spikes, gradient of the current) by the loop and by the fused function."""
    weight = torch.randn(
        current.shape, dtype=current.dtype, generator=torch.Generator().manual_seed(1)
    ).to(current.device)
    results = []
    for step in (lif_loop, fused_lif):
        x = current.clone(memory_format=torch.preserve_format).requires_grad_()
        spikes = step(x, parameters)
        (gradient,) = torch.autograd.grad((spikes * weight).sum(), x)
        results.append((spikes.detach(), gradient))
    return results
