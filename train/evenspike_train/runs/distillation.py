"""Distillation: what a teacher's answers add to the loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from evenspike_train import networks
from evenspike_train.recipes.tables import TeacherConfig


@torch.no_grad()
def answers(teacher: networks.SpikingNetwork, images: Tensor) -> Tensor:
    """The teacher's logits, [B, classes]: the mean over its timesteps."""
    logits: Tensor = teacher(images).float().mean(0)
    return logits


def distillation(logits: Tensor, taught: Tensor, config: TeacherConfig) -> Tensor:
    """Mean over images and timesteps of T^2 KL(teacher || network), at the temperature T.

    logits [T, B, classes]; taught [B, classes]. The factor keeps the gradient's size whatever the
    temperature (Hinton, Vinyals and Dean, arXiv:1503.02531, section 2).
    """
    steps, heat = logits.shape[0], config.temperature
    own = torch.log_softmax(logits.float().flatten(0, 1) / heat, 1)
    given = torch.log_softmax(taught / heat, 1).repeat(steps, 1)
    return functional.kl_div(own, given, reduction="batchmean", log_target=True) * heat**2
