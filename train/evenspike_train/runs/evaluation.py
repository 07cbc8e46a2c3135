"""Accuracy and firing rate of a network in floating point."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from evenspike_core.progress import Progress, silent
from evenspike_train import networks
from evenspike_train.data import Split
from evenspike_train.networks import twin
from evenspike_train.runs.optimizer import loss_of

_PIXELS = 250 * 4 * 32 * 32
"""Pixels times timesteps of a batch: what a batch of 250 images has with four timesteps."""


def batch_size(split: Split, timesteps: int) -> int:
    """Images that are evaluated together: as many as `_PIXELS` allows, 250 at most."""
    return max(1, min(250, _PIXELS // (timesteps * split.images.shape[-1] ** 2)))


@torch.no_grad()
def evaluate(
    model: networks.SpikingNetwork,
    split: Split,
    batch: int = 0,
    autocast: Callable[[], Any] | None = None,
    progress: Progress = silent,
    what: str = "validation",
    kind: str = "cross-entropy",
) -> dict[str, float]:
    """Accuracy in percent, loss, and of spikes the mean firing rate (per neuron and timestep).

    batch: images at a time; 0 means `batch_size`.
    kind: of the loss, as the recipe names it.
    progress: is told, as `what`, how many images have been looked at.
    """
    was_training = model.training
    model.eval()
    correct, loss, spikes, neurons = 0, 0.0, 0.0, 0
    seen = 0
    progress(what, seen, len(split))
    for images, labels in split.batches(batch or batch_size(split, model.timesteps)):
        record: list[Tensor] = []
        with autocast() if autocast else contextlib.nullcontext():
            logits = model(images, record=record)
        # The first of equal logits wins, as in the integer network.
        correct += int((logits.float().sum(0).argmax(1) == labels).sum())
        loss += float(loss_of(kind, logits, labels)) * len(labels)
        spikes += sum(float(s.sum(dtype=torch.float32)) for s in record)
        neurons += sum(s.numel() for s in record)
        seen += len(labels)
        progress(what, seen, len(split))
    model.train(was_training)
    figures = {"accuracy": 100.0 * correct / len(split), "loss": loss / len(split)}
    if not twin.is_twin(model):
        figures["firing_rate"] = spikes / neurons
    return figures
