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

BATCH = 16
"""Images whose maps are looked at together, of all timesteps."""

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
    masks = weight_masks.read(model)
    counted: dict[str, tuple[int, int]] = {}  # of an image: all weights, and those that live
    prunable = dict(networks.prunable(model))
    first = next(iter(prunable))
    accumulates = torch.zeros((), dtype=torch.float64, device=images.device)

    def look(name: str, module: nn.Module, x: Tensor, out: Tensor) -> None:
        nonlocal accumulates
        mask = masks[name]
        positions = out.shape[2] * out.shape[3] if out.dim() == 4 else 1
        counted[name] = (mask.numel() * positions, int(mask.sum()) * positions)
        if name == first and model.config.input == "direct":
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
        model.eval()
        for part in images.split(BATCH):
            model(part)
    finally:
        model.train(mode)
        for hook in hooks:
            hook.remove()
    acs = float(accumulates) / len(images)
    totals = {
        "macs_dense": sum(dense for dense, _ in counted.values()),
        "macs": sum(living for _, living in counted.values()),
        "macs_first": counted[first][1] if model.config.input == "direct" else 0,
    }
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
    mode = model.training
    model.eval()
    totals: list[float] = []
    for part in images.split(BATCH):
        record: list[Tensor] = []
        model(part, record=record)
        found = [float(one.mean(dtype=torch.float64)) * len(part) for one in record]
        totals = [sum(pair) for pair in zip(totals or [0.0] * len(found), found, strict=True)]
    model.train(mode)
    return [total / len(images) * model.timesteps for total in totals]
