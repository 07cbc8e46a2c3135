"""The fused neuron as Triton kernels for a GPU, for float32 and bfloat16 currents.

Triton comes with torch's CUDA builds and is no dependency: `neuron` imports this file when the
first current on a GPU arrives, and computes with tensor operations where that fails.  A program
takes a block of neurons through all its timesteps with the membrane in registers: one read of the
current, one write of spike and membrane.  The arithmetic is that of `neuron.lif_loop` in float32:
no product is contracted into a fused multiply-add, which would round it otherwise.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from triton import language as tl

BLOCK = 1024


@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    current,
    spikes,
    membranes,
    stride,  # between timesteps of the current: 0 for one that is the same at each
    steps,
    neurons,
    leak,
    gain,
    threshold,
    hard: tl.constexpr,
    block: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < neurons
    state = tl.full([block], 0.0, tl.float32)
    x, s, m = current + at, spikes + at, membranes + at
    for _ in range(steps):
        v = leak * state + gain * tl.load(x, mask=inside, other=0.0).to(tl.float32)
        fired = v >= threshold
        tl.store(m, v.to(membranes.dtype.element_ty), mask=inside)
        tl.store(s, tl.where(fired, 1.0, 0.0).to(spikes.dtype.element_ty), mask=inside)
        after = 0.0 if hard else v - threshold
        state = tl.where(fired, after, v)
        x += stride
        s += neurons
        m += neurons


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    grad,
    spikes,
    membranes,
    grad_current,
    steps,
    neurons,
    leak,
    gain,
    threshold,
    alpha,
    hard: tl.constexpr,
    shape: tl.constexpr,
    block: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < neurons
    later = tl.full([block], 0.0, tl.float32)
    last = at + tl.cast(steps - 1, tl.int64) * neurons
    g, s, m, out = grad + last, spikes + last, membranes + last, grad_current + last
    for _ in range(steps):
        distance = tl.load(m, mask=inside, other=0.0).to(tl.float32) - threshold
        if shape == 0:
            scaled = 1.5707963267948966 * alpha * distance
            slope = alpha / 2 / (1.0 + scaled * scaled)
        elif shape == 1:
            within = (distance >= -alpha / 2) & (distance < alpha / 2)
            slope = tl.where(within, 1.0 / alpha, 0.0)
        else:
            slope = alpha * tl.maximum(1.0 - tl.abs(distance) / threshold, 0.0)
        kept = later
        if hard:
            fired = tl.load(s, mask=inside, other=0.0).to(tl.float32) > 0.5
            kept = tl.where(fired, 0.0, later)
        total = kept + slope * tl.load(g, mask=inside, other=0.0).to(tl.float32)
        tl.store(out, (total * gain).to(grad_current.dtype.element_ty), mask=inside)
        later = total * leak
        g -= neurons
        s -= neurons
        m -= neurons
        out -= neurons


def _launch(kernel: Any, neurons: int, tensors: tuple[Tensor, ...], *values: Any) -> None:
    with torch.cuda.device_of(tensors[0]):
        kernel[(triton.cdiv(neurons, BLOCK),)](
            *tensors, *values, block=BLOCK, enable_fp_fusion=False
        )


def lif_forward(
    current: Tensor,
    spikes: Tensor,
    membranes: Tensor,
    leak: float,
    gain: float,
    threshold: float,
    hard: bool,
) -> None:
    """[T, neurons] of one type; fills `spikes` and `membranes` (before the reset)."""
    steps, neurons = spikes.shape
    tensors = (current, spikes, membranes)
    values = (current.stride(0), steps, neurons, leak, gain, threshold, hard)
    _launch(_forward, neurons, tensors, *values)


def lif_backward(
    grad: Tensor,
    spikes: Tensor,
    membranes: Tensor,
    grad_current: Tensor,
    leak: float,
    gain: float,
    threshold: float,
    hard: bool,
    shape: int,
    alpha: float,
) -> None:
    """[T, neurons] of one type; the reset is taken as a constant.

    shape : of the surrogate, its place in `neuron.SURROGATES`.
    """
    steps, neurons = spikes.shape
    tensors = (grad, spikes, membranes, grad_current)
    values = (steps, neurons, leak, gain, threshold, alpha, hard, shape)
    _launch(_backward, neurons, tensors, *values)
