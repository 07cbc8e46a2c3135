"""The network in SpikingJelly: layers in multi-step mode, which fold time into the batch."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from benchmarks.training import problem
from benchmarks.training.problem import Subject


def build(*, channels_last: bool, bf16: bool) -> Subject:
    convolutions, norms, neurons, pools = (nn.ModuleList() for _ in range(4))
    for channels, filters, pool in problem.plan():
        convolutions.append(layer.Conv2d(channels, filters, 3, padding=1, step_mode="m"))
        norms.append(layer.BatchNorm2d(filters, step_mode="m"))
        neurons.append(
            neuron.LIFNode(
                tau=1 / problem.GAIN,  # leak 1 - 1/tau, gain 1/tau
                v_threshold=problem.THRESHOLD,
                surrogate_function=surrogate.ATan(alpha=problem.ALPHA),
                detach_reset=True,
                step_mode="m",
            )
        )
        pools.append(layer.MaxPool2d(2, step_mode="m") if pool else nn.Identity())
    # The first layer's current is computed once, for all timesteps.
    functional.set_step_mode(convolutions[0], "s")
    functional.set_step_mode(norms[0], "s")
    classifier = layer.Linear(problem.LAYOUT[-2], problem.CLASSES, step_mode="m")
    model = nn.ModuleList([convolutions, norms, neurons, pools, classifier])
    problem.initialise(list(convolutions), classifier)  # type: ignore[arg-type]
    if channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(images: Tensor, record: list[Tensor] | None) -> Tensor:
        functional.reset_net(model)
        if channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            x = norms[0](convolutions[0](images))
            x = x.unsqueeze(0).expand(problem.TIMESTEPS, *x.shape)
            for index, (lif, pool) in enumerate(zip(neurons, pools, strict=True)):
                if index:
                    x = norms[index](convolutions[index](x))
                x = lif(x)
                if record is not None:
                    record.append(x.detach().flatten(0, 1))
                x = pool(x)
            logits: Tensor = classifier(x.flatten(2))
        return logits

    return Subject(model, forward, problem.sgd(model))
