"""The network as `evenspike train` trains its dense phase: masks attached, none of them pruned."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.training import problem
from benchmarks.training.problem import Subject
from evenspike_train import networks
from evenspike_train.networks import VGG16, NetworkConfig
from evenspike_train.recipes.tables import OptimizerConfig
from evenspike_train.runs import command
from evenspike_train.runs.optimizer import make_optimizer
from evenspike_train.tickets import masks


def build(*, channels_last: bool, bf16: bool) -> Subject:
    command.prepare(1, "cpu")
    model = VGG16(NetworkConfig(timesteps=problem.TIMESTEPS))
    problem.initialise([layer.conv for layer in model.blocks()], model.classifier)
    if channels_last:
        networks.channels_last(model)
    masks.attach(model)

    def forward(images: Tensor, record: list[Tensor] | None) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits: Tensor = model(images, record)
        return logits

    return Subject(model, forward, make_optimizer(model, OptimizerConfig(weight_decay=5e-4)))
