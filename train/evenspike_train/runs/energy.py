"""Operations and energy of a network by the paper's count (AGC, Table V and Eq. 15).

A spiking network accumulates (AC) where a spike meets a living weight, in every timestep; its first
layer, where it reads pixels, multiplies (MAC), once for all timesteps.  The same network with ReLU
multiplies everywhere.  This is the paper's measure, not the accelerator's: `evenspike sim` counts
cycles and memory accesses.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from evenspike_train import networks
from evenspike_train.tickets import masks as weight_masks

MAC = 32.0
"""Energy of a multiply-accumulate beside that of an accumulate, in 45 nm (AGC, below Eq. 15)."""


@torch.no_grad()
def operations(model: networks.SpikingNetwork, images: Tensor) -> dict[str, float]:
    """Operations and energy of an image, as a mean over these, uint8 [B, C, H, W].

    Keys: `macs_dense` of the network with ReLU and all weights, `macs` with the living ones alone;
    `macs_first` and `acs` of the spiking network; `energy_dense`, `energy_relu`, `energy` of the
    three, in accumulates.  What an average pool hands on counts by its value, as the activity in
    Table V does.
    """
    masks, totals = weight_masks.read(model), {"macs_dense": 0, "macs": 0, "macs_first": 0}
    prunable = dict(networks.prunable(model))
    first = next(iter(prunable))
    accumulates = torch.zeros((), dtype=torch.float64, device=images.device)

    def look(name: str, module: nn.Module, x: Tensor, out: Tensor) -> None:
        nonlocal accumulates
        mask = masks[name]
        positions = out.shape[2] * out.shape[3] if out.dim() == 4 else 1
        totals["macs_dense"] += mask.numel() * positions
        totals["macs"] += int(mask.sum()) * positions
        if name == first and model.config.input == "direct":
            totals["macs_first"] = int(mask.sum()) * positions
            return
        reached = mask.float().sum(0, keepdim=True)  # filters that read a channel at a place
        if isinstance(module, nn.Conv2d):
            padding = cast("tuple[int, int]", module.padding)
            met = functional.conv2d(x.float(), reached, None, module.stride, padding)
        else:
            met = x.float() @ reached.T
        accumulates = accumulates + met.sum(dtype=torch.float64)

    hooks = [
        module.register_forward_hook(
            lambda one, inputs, out, name=name: look(name, one, inputs[0], out)
        )
        for name, module in prunable.items()
    ]
    mode = model.training
    try:
        model.eval()(images)
    finally:
        model.train(mode)
        for hook in hooks:
            hook.remove()
    acs = float(accumulates) / len(images)
    return {
        **{name: float(count) for name, count in totals.items()},
        "acs": acs,
        "energy_dense": MAC * totals["macs_dense"],
        "energy_relu": MAC * totals["macs"],
        "energy": MAC * totals["macs_first"] + acs,
    }


@torch.no_grad()
def spike_activity(model: networks.SpikingNetwork, images: Tensor) -> list[float]:
    """Mean number of spikes of a neuron over all timesteps, for each layer (the paper's zeta)."""
    record: list[Tensor] = []
    mode = model.training
    model.eval()(images, record=record)
    model.train(mode)
    return [float(one.mean(dtype=torch.float64)) * model.timesteps for one in record]
