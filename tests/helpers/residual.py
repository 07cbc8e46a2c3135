"""A small ResNet-19 in which every layer fires, without training it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from evenspike_core.program import Program
from evenspike_train import networks
from evenspike_train.export.programs import follow, to_program
from evenspike_train.kernels.neuron import LIFParameters
from evenspike_train.networks import NetworkConfig
from evenspike_train.tickets import masks


def images(count: int, seed: int, side: int = 32, channels: int = 1) -> torch.Tensor:
    """uint8 [count, channels, side, side]: noise."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def calibrated(
    width: int = 4, density: float = 0.5, side: int = 32, **neuron: Any
) -> networks.ResNet19:
    """Random weights and masks; the batch norms hold the statistics of some images."""
    torch.manual_seed(0)
    config = NetworkConfig("resnet19", width=width, neuron=LIFParameters(**neuron))
    model = networks.ResNet19(config)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 2.0)
            nn.init.uniform_(module.bias, -0.2, 0.6)
            module.momentum = None  # the plain average over the batches
    # Without a batch norm in front, neurons behind torch's own initial weights stay silent.
    nn.init.normal_(model.fc1.weight, 0.0, 1.0)
    nn.init.uniform_(model.fc1.bias, 0.0, 2.0)
    masks.attach(model)
    masks.write(model, {k: torch.rand(v.shape) < density for k, v in masks.read(model).items()})
    with torch.no_grad():
        for seed in range(3):
            model(images(8, seed, side))
    return model.eval()


def program_of(model: networks.ResNet19, side: int = 32, *, keep_living: bool = False) -> Program:
    noise = images(4, 99, side, model.config.in_channels)
    network = follow(model, noise, "residual")
    return to_program(network, keep_living=keep_living, may_be_silent=True)[0]
