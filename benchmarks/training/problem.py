"""What every framework is timed on: network, batch, first weights, loss, optimiser.

A VGG-16 of full width on 32x32 images, T = 4, direct encoding: the first convolution and its batch
norm are computed once, their current is the same at every timestep.  Needs torch and numpy only, so
that it runs in the environment of the peers, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

TIMESTEPS = 4
LEAK, GAIN, THRESHOLD = 0.25, 0.75, 1.0  # hard reset, which is a constant for the gradient
ALPHA = 2.0  # of the arctan surrogate
CLASSES = 10
PIXEL_SCALE = 256  # a pixel's 255 is 255/256
LAYOUT: tuple[int, ...] = (
    64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0,
)  # fmt: skip
"""Filters of the convolutions; 0 is a 2x2 max-pool of spikes."""

Forward = Callable[[Tensor, list[Tensor] | None], Tensor]


@dataclass(frozen=True)
class Subject:
    """A network of one framework.

    Parameters
    ----------
    module : its parameters, first weights set.
    forward : images [B, 1, 32, 32], float32 in [0, 1) or as ours takes them -> logits
        [T, B, classes]; the list, if there is one, collects the spikes of each layer before its
        pool, [T * B, F, H, W].
    optimizer : over the parameters.
    """

    module: nn.Module
    forward: Forward
    optimizer: torch.optim.Optimizer


def plan() -> list[tuple[int, int, bool]]:
    """(channels, filters, pool behind it) of each convolution."""
    layers, channels = [], 1
    for index, filters in enumerate(LAYOUT):
        if filters:
            layers.append((channels, filters, LAYOUT[index + 1] == 0))
            channels = filters
    return layers


def initialise(convolutions: Sequence[nn.Conv2d], classifier: nn.Linear) -> None:
    """The same numbers for every framework: Kaiming normal (fan out), read-out N(0, 0.01)."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for convolution in convolutions:
            weight = torch.empty(convolution.weight.shape)
            nn.init.kaiming_normal_(
                weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
            convolution.weight.copy_(weight)
            assert convolution.bias is not None
            convolution.bias.zero_()
        classifier.weight.copy_(torch.randn(classifier.weight.shape, generator=generator) * 0.01)
        classifier.bias.zero_()


def batch(path: Path) -> tuple[Tensor, Tensor]:
    """Images uint8 [B, 1, 32, 32] and labels [B]."""
    with np.load(path) as content:
        return torch.from_numpy(content["images"]), torch.from_numpy(content["labels"])


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over timesteps of the cross-entropy of each; logits [T, B, classes]."""
    return functional.cross_entropy(logits.flatten(0, 1).float(), labels.repeat(len(logits)))


def sgd(module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a peer: the same as ours."""
    return torch.optim.SGD(
        module.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
    )
