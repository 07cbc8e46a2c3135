"""The leaky integrate-and-fire neuron, and a fused T-step version of it.

    v[t] = leak * v[t-1] + gain * x[t]         (membrane before the spike)
    s[t] = 1 if v[t] >= threshold else 0
    v[t] <- 0 (hard reset)  or  v[t] - threshold (soft reset)   where s[t] = 1

With leak 0.25 and gain 0.75 this is the neuron of the u-Ticket and LTH code
(1/tau = 0.75; the table's "leak factor 0.75").  With leak 0.75 and gain 1 it is
Eq. 1 of the u-Ticket paper read literally.

The spike has no useful derivative; in the backward pass a surrogate takes its place, of
d = v - threshold:

    arctan      (alpha/2) / (1 + (pi/2 * alpha * d)^2)     u-Ticket and LTH
    boxcar      1/alpha where -alpha/2 <= d < alpha/2, else 0     ADMM (Eq. 4)
    triangle    alpha * max(0, 1 - |d| / threshold)     AGC, hybrid sparse learning
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

try:
    from evenspike_train.kernels import neuron_cpu
except ImportError:  # without numba the same arithmetic runs as tensor operations
    neuron_cpu = None  # type: ignore[assignment]

RESETS = ("hard", "soft")

SURROGATES = ("arctan", "boxcar", "triangle")
"""Derivatives that stand in for the spike's; the kernels know them by their place here."""

_COMPILED = (torch.float32, torch.bfloat16)  # what there are kernels for


@dataclass(frozen=True)
class LIFParameters:
    """What one layer of neurons does.

    Parameters
    ----------
    leak : share of the membrane that is left after one timestep, in [0, 1].
    gain : factor on the input current.  Folded into the weights at export.
    threshold : membrane at or above which the neuron fires.
    reset : ``"hard"`` (membrane to 0) or ``"soft"`` (threshold is subtracted).
    surrogate : one of `SURROGATES`.
    alpha : its number: the arctan's steepness (2 in the authors' code), the width of the boxcar,
        the height of the triangle.
    detach_reset : the reset is a constant for the gradient, as in the authors' code.
    """

    leak: float = 0.25
    gain: float = 0.75
    threshold: float = 1.0
    reset: str = "hard"
    surrogate: str = "arctan"
    alpha: float = 2.0
    detach_reset: bool = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.leak <= 1.0:
            raise ValueError(f"neuron: leak must lie in [0, 1], not {self.leak}")
        if self.gain <= 0.0:
            raise ValueError(f"neuron: gain must be positive, not {self.gain}")
        if self.threshold <= 0.0:
            raise ValueError(f"neuron: threshold must be positive, not {self.threshold}")
        if self.alpha <= 0.0:
            raise ValueError(f"neuron: alpha must be positive, not {self.alpha}")
        if self.reset not in RESETS:
            raise ValueError(f"neuron: reset must be one of {RESETS}, not {self.reset!r}")
        if self.surrogate not in SURROGATES:
            raise ValueError(
                f"neuron: surrogate must be one of {SURROGATES}, not {self.surrogate!r}"
            )


def surrogate(distance: Tensor, neuron: LIFParameters) -> Tensor:
    """Derivative that stands in for the spike's, at ``distance = v - threshold``."""
    alpha = neuron.alpha
    if neuron.surrogate == "arctan":
        return (alpha / 2) / (1 + (distance * (math.pi / 2 * alpha)).square())
    if neuron.surrogate == "boxcar":
        inside = (distance >= -alpha / 2) & (distance < alpha / 2)
        return inside.to(distance.dtype) / alpha
    return alpha * (1 - distance.abs() / neuron.threshold).clamp_min(0)


class Spike(torch.autograd.Function):
    """Heaviside step forward (1 at 0: the comparison is >=), the surrogate backward."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, neuron: LIFParameters) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.neuron = neuron
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (distance,) = ctx.saved_tensors
        return grads[0] * surrogate(distance, ctx.neuron), None


def lif_loop(current: Tensor, neuron: LIFParameters) -> Tensor:
    """The definition, one timestep after the other: current [T, ...] -> spikes [T, ...].

    Slow, and what `FusedLIF` is tested against.
    """
    membrane = torch.zeros_like(current[0])
    spikes = []
    for x in current:
        membrane = neuron.leak * membrane + neuron.gain * x
        spike = Spike.apply(membrane - neuron.threshold, neuron)
        fired = spike.detach() if neuron.detach_reset else spike
        if neuron.reset == "hard":
            membrane = membrane * (1 - fired)
        else:
            membrane = membrane - neuron.threshold * fired
        spikes.append(spike)
    return torch.stack(spikes)


def _as_rows(x: Tensor) -> Tensor:
    """View of a dense [T, ...] tensor as [T, neurons] in memory order; RuntimeError otherwise.

    The neurons of a layer are independent, so any order will do; the order in
    memory (channels last or first) is the one that needs no copy.
    """
    strides = x.stride()
    order = [0, *sorted(range(1, x.dim()), key=lambda d: -strides[d])]
    return x.permute(order).view(x.shape[0], -1)


def _bits(*tensors: Tensor) -> list[np.ndarray]:
    """The tensors' memory as the bits of their numbers."""
    bits = torch.uint32 if tensors[0].dtype == torch.float32 else torch.uint16
    return [x.detach().view(bits).numpy() for x in tensors]


def _compiled(x: Tensor) -> bool:
    return neuron_cpu is not None and x.device.type == "cpu" and x.dtype in _COMPILED


@cache
def _triton() -> ModuleType | None:
    """The kernels for a GPU; Triton comes with torch's CUDA builds, not with every torch."""
    try:
        return importlib.import_module("evenspike_train.kernels.neuron_cuda")
    except ImportError:
        return None


def _gpu_kernels(x: Tensor) -> ModuleType | None:
    return _triton() if x.device.type == "cuda" and x.dtype in _COMPILED else None


def _forward_rows(x: Tensor, s: Tensor, m: Tensor, p: LIFParameters) -> None:
    """Current x -> spikes s and membranes before the reset m, all [T, neurons]."""
    if _compiled(x):
        leak, gain, threshold = np.array([p.leak, p.gain, p.threshold], np.float32)
        neuron_cpu.lif_forward(*_bits(x, s, m), leak, gain, threshold, p.reset == "hard")
        return
    if (gpu := _gpu_kernels(x)) is not None:
        gpu.lif_forward(x, s, m, p.leak, p.gain, p.threshold, p.reset == "hard")
        return
    membrane = torch.zeros_like(s[0], dtype=torch.promote_types(x.dtype, torch.float32))
    for t in range(x.shape[0]):
        membrane.mul_(p.leak).add_(x[t], alpha=p.gain)
        m[t] = membrane
        if p.reset == "hard":
            silent = membrane < p.threshold
            s[t] = ~silent
            membrane.mul_(silent)
        else:
            s[t] = membrane >= p.threshold
            membrane.sub_(s[t], alpha=p.threshold)


def _backward_rows(g: Tensor, s: Tensor, m: Tensor, out: Tensor, p: LIFParameters) -> None:
    """Gradient g of the spikes -> gradient `out` of the current, all [T, neurons]."""
    if _compiled(g) and p.detach_reset:
        values = np.array([p.leak, p.gain, p.threshold], np.float32)
        hard = p.reset == "hard"
        shape = SURROGATES.index(p.surrogate)
        neuron_cpu.lif_backward(*_bits(g, s, m, out), *values, hard, shape, np.float32(p.alpha))
        return
    if p.detach_reset and (gpu := _gpu_kernels(g)) is not None:
        hard = p.reset == "hard"
        shape = SURROGATES.index(p.surrogate)
        gpu.lif_backward(g, s, m, out, p.leak, p.gain, p.threshold, hard, shape, p.alpha)
        return
    wide = torch.promote_types(m.dtype, torch.float32)
    # Gradient of the membrane after this timestep's reset; it comes from the next one.
    later = torch.zeros_like(m[0], dtype=wide)
    for t in reversed(range(m.shape[0])):
        slope = surrogate(m[t].to(wide) - p.threshold, p)
        kept = later * (1 - s[t].to(wide)) if p.reset == "hard" else later
        if not p.detach_reset:
            # The membrane after the reset also depends on the spike itself.
            height = m[t] if p.reset == "hard" else p.threshold
            kept = kept - later * height * slope
        later = torch.addcmul(kept, slope, g[t].to(wide))
        out[t] = later * p.gain
        later = later * p.leak


def lif_forward(current: Tensor, neuron: LIFParameters) -> tuple[Tensor, Tensor]:
    """Current [T, ...] -> spikes, and membranes before the reset, both [T, ...]."""
    try:
        rows = _as_rows(current)
    except RuntimeError:
        current = current.contiguous()
        rows = _as_rows(current)
    # A current that is the same at every t arrives expanded: stride 0 over t,
    # which the spikes must not have.
    strides = (current[0].numel(), *current.stride()[1:])
    spikes = current.new_empty_strided(current.shape, strides)
    membranes = torch.empty_like(spikes)
    _forward_rows(rows, _as_rows(spikes), _as_rows(membranes), neuron)
    return spikes, membranes


def learned_backward(
    grad: Tensor, spikes: Tensor, membranes: Tensor, neuron: LIFParameters, fixed: LIFParameters
) -> tuple[Tensor, float, float] | None:
    """Gradients of current, leak and threshold by the compiled kernel; None where there is none.

    neuron : whose surrogate it is, taken of u / threshold - 1. fixed : with leak and threshold as
    they were in the forward pass, of which the others are what `lif_forward` gave.
    """
    if not (_compiled(spikes) and neuron.detach_reset):
        return None
    if grad.stride() != spikes.stride() or grad.dtype != spikes.dtype:
        grad = torch.empty_like(spikes).copy_(grad)
    out = torch.empty_like(spikes)
    rows = [_as_rows(x) for x in (grad, spikes, membranes, out)]
    sums = np.zeros((-(-rows[0].shape[1] // neuron_cpu.CHUNK), 2))
    values = np.array([fixed.leak, fixed.gain, fixed.threshold], np.float32)
    hard, shape = neuron.reset == "hard", SURROGATES.index(neuron.surrogate)
    alpha = np.float32(neuron.alpha)
    neuron_cpu.learned_backward(*_bits(*rows), sums, *values, hard, shape, alpha)
    leak, threshold = sums.sum(0)
    return out, float(leak), float(threshold)


class FusedLIF(torch.autograd.Function):
    """All T steps of `lif_loop` in one node of the graph; current and spikes [T, ...].

    The loop builds about eight graph nodes a timestep and keeps an activation for
    each; here one membrane is kept per timestep.  The membrane is integrated in
    float32 whatever the current's type, so that under bfloat16 only the currents
    are rounded, not the state.
    """

    @staticmethod
    def forward(ctx: Any, current: Tensor, neuron: LIFParameters) -> Tensor:
        spikes, membranes = lif_forward(current, neuron)
        ctx.save_for_backward(spikes, membranes)
        ctx.neuron = neuron
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        spikes, membranes = ctx.saved_tensors
        grad = grads[0]
        if grad.stride() != spikes.stride() or grad.dtype != spikes.dtype:
            grad = torch.empty_like(spikes).copy_(grad)
        grad_current = torch.empty_like(spikes)
        g, s, m, out = (_as_rows(x) for x in (grad, spikes, membranes, grad_current))
        _backward_rows(g, s, m, out, ctx.neuron)
        return grad_current, None


def fused_lif(current: Tensor, neuron: LIFParameters) -> Tensor:
    """What `lif_loop` computes, as one node of the graph: current [T, ...] -> spikes [T, ...]."""
    spikes: Tensor = FusedLIF.apply(current, neuron)
    return spikes


class LIF(nn.Module):
    """A layer of neurons: current [T, B, ...] -> spikes [T, B, ...], state starting at 0."""

    def __init__(self, neuron: LIFParameters) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, current: Tensor) -> Tensor:
        return fused_lif(current, self.neuron)

    def extra_repr(self) -> str:
        return str(self.neuron)
