"""Neurons whose leak and threshold are trained, one number of each for a layer (AGC, III-C).

    u[t] = leak * v[t-1] + gain * x[t]                  z[t] = u[t] / threshold - 1
    s[t] = 1 if z[t] >= 0 else 0                        v[t] = u[t] - threshold * s[t]  (soft reset)

The surrogate H' stands for the spike's derivative by z, not by u (AGC, Eqs. 7 and 10), so that

    ds/du = H'(z) / threshold        ds/dthreshold = -H'(z) * u / threshold^2

and both parameters get the sums over the timesteps that Eqs. 12 and 14 are short for: of the
spike's own part, and of what reaches later timesteps through the membrane.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evenspike_train.kernels.neuron import (
    LIFParameters,
    Spike,
    learned_backward,
    lif_forward,
    surrogate,
)

THRESHOLD_MIN = 1e-3
"""No threshold is trained below it: one of 0 would divide by zero."""


def _normal(neuron: LIFParameters) -> LIFParameters:
    """The surrogate's parameters where it is taken of z: there the threshold is 1."""
    return LIFParameters(surrogate=neuron.surrogate, alpha=neuron.alpha)


def learned_lif_loop(
    current: Tensor, leak: Tensor, threshold: Tensor, neuron: LIFParameters
) -> Tensor:
    """The definition, one timestep after the other: current [T, ...] -> spikes [T, ...].

    leak, threshold : of no dimension. neuron : gain, reset, surrogate; its own leak and threshold
    are not looked at. Slow, and what `LearnedLIFFunction` is tested against.
    """
    membrane, spikes = torch.zeros_like(current[0]), []
    for x in current:
        membrane = leak * membrane + neuron.gain * x
        spike = Spike.apply(membrane / threshold - 1, _normal(neuron))
        fired = spike.detach() if neuron.detach_reset else spike
        if neuron.reset == "hard":
            membrane = membrane * (1 - fired)
        else:
            membrane = membrane - threshold * fired
        spikes.append(spike)
    return torch.stack(spikes)


class LearnedLIFFunction(torch.autograd.Function):
    """All T steps of `learned_lif_loop` in one node of the graph.

    The forward pass is that of `neuron.FusedLIF`; kept for the backward pass are spikes and
    membranes before the reset, from which those behind it follow.
    """

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, leak: Tensor, threshold: Tensor, neuron: LIFParameters
    ) -> Tensor:
        fixed = LIFParameters(
            float(leak), neuron.gain, float(threshold), neuron.reset, detach_reset=True
        )
        spikes, membranes = lif_forward(current, fixed)
        ctx.save_for_backward(spikes, membranes)
        ctx.neuron, ctx.fixed, ctx.like = neuron, fixed, leak
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        spikes, membranes = ctx.saved_tensors
        neuron: LIFParameters = ctx.neuron
        compiled = learned_backward(grads[0], spikes, membranes, neuron, ctx.fixed)
        if compiled is not None:
            like = ctx.like
            return compiled[0], like.new_tensor(compiled[1]), like.new_tensor(compiled[2]), None
        leak, height = ctx.fixed.leak, ctx.fixed.threshold
        hard, shape = neuron.reset == "hard", _normal(neuron)
        wide = torch.promote_types(membranes.dtype, torch.float32)
        grad_current = torch.empty_like(spikes)
        leak_grad = torch.zeros((), dtype=torch.float64, device=spikes.device)
        threshold_grad = torch.zeros_like(leak_grad)
        # Gradient of the membrane behind this timestep's reset; it comes from the next one.
        later = torch.zeros_like(membranes[0], dtype=wide)
        for t in reversed(range(len(membranes))):
            u, s, of_spike = membranes[t].to(wide), spikes[t].to(wide), grads[0][t].to(wide)
            if not neuron.detach_reset:  # the reset depends on the spike itself
                of_spike = of_spike - later * (u if hard else height)
            slope = surrogate(u / height - 1, shape) / height * of_spike
            threshold_grad -= (slope * u).sum(dtype=torch.float64) / height
            if not hard:
                threshold_grad -= (later * s).sum(dtype=torch.float64)
            later = (later * (1 - s) if hard else later) + slope
            grad_current[t] = later * neuron.gain
            if t:
                before, fired = membranes[t - 1].to(wide), spikes[t - 1].to(wide)
                left = before * (1 - fired) if hard else before - height * fired
                leak_grad += (later * left).sum(dtype=torch.float64)
            later = later * leak
        like = ctx.like.dtype
        return grad_current, leak_grad.to(like), threshold_grad.to(like), None


class LearnedLIF(nn.Module):
    """A layer of neurons with a leak and a threshold of its own, which may be trained.

    Current [T, B, ...] -> spikes [T, B, ...], state starting at 0. `rectifies` makes a ReLU of it,
    which has the same parameters: the network's twin.
    """

    def __init__(self, neuron: LIFParameters, learns: str = "both") -> None:
        """learns : "both", "leak", "threshold" or "none"; the other parameters stay as they are."""
        super().__init__()
        self.neuron = neuron
        self.leak = nn.Parameter(torch.tensor(neuron.leak), learns in ("both", "leak"))
        self.threshold = nn.Parameter(
            torch.tensor(neuron.threshold), learns in ("both", "threshold")
        )
        self.rectifies = False

    @torch.no_grad()
    def project(self) -> None:
        """Bring what a step has moved out of its range back: leak 0 to 1, threshold above 0."""
        self.leak.clamp_(0.0, 1.0)
        self.threshold.clamp_(min=THRESHOLD_MIN)

    def forward(self, current: Tensor) -> Tensor:
        if self.rectifies:
            return functional.relu(current)
        self.project()  # what the last step has moved
        spikes: Tensor = LearnedLIFFunction.apply(current, self.leak, self.threshold, self.neuron)
        return spikes

    def values(self) -> LIFParameters:
        """The neurons as they are, with leak and threshold in their ranges."""
        return LIFParameters(
            min(max(float(self.leak.detach()), 0.0), 1.0),
            self.neuron.gain,
            max(float(self.threshold.detach()), THRESHOLD_MIN),
            self.neuron.reset,
            self.neuron.surrogate,
            self.neuron.alpha,
            self.neuron.detach_reset,
        )

    def extra_repr(self) -> str:
        return str(self.values())
