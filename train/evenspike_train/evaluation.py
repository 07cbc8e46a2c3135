"""Accuracy and firing rate of a network in floating point."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from evenspike_train.data import Split
from evenspike_train.optimizer import loss_per_timestep


@torch.no_grad()
def evaluate(
    model: nn.Module, split: Split, batch: int = 250, autocast: Callable[[], Any] | None = None
) -> dict[str, float]:
    """Accuracy in percent, loss, and mean firing rate (spikes per neuron and timestep)."""
    was_training = model.training
    model.eval()
    correct, loss, spikes, neurons = 0, 0.0, 0.0, 0
    for images, labels in split.batches(batch):
        record: list[Tensor] = []
        with autocast() if autocast else contextlib.nullcontext():
            logits = model(images, record=record)
        # The first of equal logits wins, as in the integer network.
        correct += int((logits.float().sum(0).argmax(1) == labels).sum())
        loss += float(loss_per_timestep(logits, labels, 0.0)) * len(labels)
        spikes += sum(float(s.sum(dtype=torch.float32)) for s in record)
        neurons += sum(s.numel() for s in record)
    model.train(was_training)
    return {
        "accuracy": 100.0 * correct / len(split),
        "loss": loss / len(split),
        "firing_rate": spikes / neurons,
    }
