"""The network in snnTorch: time folded into the batch, but for the neurons, which it steps.

Its neuron fires above the threshold, not at it; the gain is a multiplication of its own.
"""

from __future__ import annotations

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor, nn

from benchmarks.training import problem
from benchmarks.training.problem import Subject


def build(*, channels_last: bool, bf16: bool) -> Subject:
    convolutions, norms, neurons, pools = (nn.ModuleList() for _ in range(4))
    for channels, filters, pool in problem.plan():
        convolutions.append(nn.Conv2d(channels, filters, 3, padding=1))
        norms.append(nn.BatchNorm2d(filters))
        # The delayed reset sets the membrane to 0 before it leaks into the next timestep: the
        # spikes are those of a reset at once.
        neurons.append(
            snntorch.Leaky(
                problem.LEAK,
                problem.THRESHOLD,
                spike_grad=surrogate.atan(problem.ALPHA),
                reset_mechanism="zero",
            )
        )
        pools.append(nn.MaxPool2d(2) if pool else nn.Identity())
    classifier = nn.Linear(problem.LAYOUT[-2], problem.CLASSES)
    model = nn.ModuleList([convolutions, norms, neurons, pools, classifier])
    problem.initialise(list(convolutions), classifier)  # type: ignore[arg-type]
    if channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def step(lif: nn.Module, current: Tensor) -> Tensor:
        """Current [T, B, ...] -> spikes [T * B, ...]."""
        membrane = torch.zeros_like(current[0])
        spikes = []
        for x in current:
            spike, membrane = lif(problem.GAIN * x, membrane)
            spikes.append(spike)
        return torch.cat(spikes)

    def forward(images: Tensor, record: list[Tensor] | None) -> Tensor:
        if channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        time = (problem.TIMESTEPS, -1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            once = norms[0](convolutions[0](images))
            current = once.unsqueeze(0).expand(problem.TIMESTEPS, *once.shape)
            x = images
            for index, (lif, pool) in enumerate(zip(neurons, pools, strict=True)):
                if index:
                    current = norms[index](convolutions[index](x)).unflatten(0, time)
                x = step(lif, current)
                if record is not None:
                    record.append(x.detach())
                x = pool(x)
            logits: Tensor = classifier(x.flatten(1)).unflatten(0, time)
        return logits

    return Subject(model, forward, problem.sgd(model))
