"""Convolutions and neurons of a pruned network with the work its masks leave, on a CPU.

At 97.6 % sparsity a dense convolution multiplies zeros for most of its time.  These compute the
living weights alone: forward, gradient of the input, gradient of the living weights
(`sparse_networks` makes whole networks of them).

Maps are [H, W, C, N] in bfloat16, N = T*B innermost (see `sparse_kernels`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from evenspike_train.export.programs import follow
from evenspike_train.kernels import sparse_kernels
from evenspike_train.kernels.neuron import LIFParameters
from evenspike_train.kernels.sparse_kernels import Rows
from evenspike_train.networks import SpikingNetwork
from evenspike_train.tickets import masks as weight_masks


def _bits(x: Tensor) -> np.ndarray:
    return x.detach().view(torch.uint16).numpy()


def _rows(output: Tensor, channel: Tensor, dy: Tensor, dx: Tensor, outputs: int) -> Rows:
    start = np.zeros(outputs + 1, np.int64)
    start[1:] = np.cumsum(np.bincount(output.numpy(), minlength=outputs))
    return Rows(start, *(np.ascontiguousarray(a.numpy()) for a in (channel, dy, dx)))


class Structure:
    """Where the living weights of one convolution are.

    ``forward`` lists them by filter; ``backward`` by input channel with mirrored
    offsets, which makes the gradient of the input a convolution of the same kind.
    ``index`` finds them in the weight's channels-last memory, ``order`` turns the
    forward order into the backward one.
    """

    def __init__(self, mask: Tensor) -> None:
        filters, channels, height, width = mask.shape
        f, r, s, c = mask.permute(0, 2, 3, 1).nonzero().T
        self.index = ((f * height + r) * width + s) * channels + c
        dy, dx = r - height // 2, s - width // 2
        self.forward = _rows(f, c, dy, dx, filters)
        self.order = c.argsort(stable=True)
        o = self.order
        self.backward = _rows(c[o], f[o], -dy[o], -dx[o], channels)


class SparseConv(torch.autograd.Function):
    """Convolution of stride 1 of maps [H, W, C, N] of spikes with a bank's living weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, where: Structure) -> Tensor:
        height, width, _, images = x.shape
        x = x.contiguous()
        out = x.new_empty(height, width, weight.shape[0], images)
        values = weight.detach().permute(0, 2, 3, 1).reshape(-1)[where.index]
        spikes = sparse_kernels.packed(_bits(x)) or _bits(
            x
        )  # for the gradient, too: they are small
        sparse_kernels.convolve(
            spikes, where.forward, values.numpy(), bias.detach().numpy(), _bits(out)
        )
        ctx.save_for_backward(values)
        ctx.spikes, ctx.like = spikes, x.shape
        ctx.where, ctx.shape = where, weight.shape
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (values,) = ctx.saved_tensors
        where: Structure = ctx.where
        grad = grads[0].contiguous()
        filters, channels, *kernel = ctx.shape
        values_grad = np.empty(len(values), np.float32)
        bias_grad = np.empty(filters, np.float32)
        sparse_kernels.weight_gradient(
            ctx.spikes, _bits(grad), where.forward, values_grad, bias_grad
        )
        weight_grad = torch.zeros(filters, *kernel, channels)
        weight_grad.view(-1)[where.index] = torch.from_numpy(values_grad)
        x_grad = grad.new_empty(ctx.like)
        no_bias = np.zeros(channels, np.float32)
        sparse_kernels.convolve(
            _bits(grad), where.backward, values[where.order].numpy(), no_bias, _bits(x_grad)
        )
        return x_grad, weight_grad.permute(0, 3, 1, 2), torch.from_numpy(bias_grad), None


def convolve(x: Tensor, weight: Tensor, bias: Tensor, where: Structure) -> Tensor:
    """Maps [H, W, C, N] -> [H, W, F, N] bfloat16, differentiable in all three tensors."""
    out: Tensor = SparseConv.apply(x, weight, bias, where)
    return out


class MapLIF(torch.autograd.Function):
    """Neurons over maps [P, T, B] bfloat16."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, neuron: LIFParameters) -> Tensor:
        spikes, membranes = torch.empty_like(current), torch.empty_like(current)
        values = np.array([neuron.leak, neuron.gain, neuron.threshold], np.float32)
        arrays = (_bits(x) for x in (current, spikes, membranes))
        sparse_kernels.lif_forward(*arrays, *values, neuron.reset == "hard")
        ctx.save_for_backward(spikes, membranes)
        ctx.neuron = neuron
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        spikes, membranes = ctx.saved_tensors
        neuron: LIFParameters = ctx.neuron
        grad_current = torch.empty_like(spikes)
        values = np.array([neuron.leak, neuron.gain, neuron.threshold], np.float32)
        arrays = (_bits(x) for x in (grads[0].contiguous(), spikes, membranes, grad_current))
        sparse_kernels.lif_backward(
            *arrays, *values, neuron.reset == "hard", np.float32(neuron.alpha)
        )
        return grad_current, None


def work_share(model: SpikingNetwork) -> float:
    """Multiply-accumulates the masks leave, as a share of the dense network's.

    Over the convolutions after the first; a weight counts once for every position of
    its map, so early layers count for more than their number of weights says.
    """
    masks = weight_masks.read(model)
    left, dense = 0, 0
    for layer in follow(model).layers[1:]:
        for module in layer.modules:
            if masks[module].dim() == 4:
                mask, positions = masks[module], layer.size[0] * layer.size[1]
                left += int(mask.sum()) * positions
                dense += mask.numel() * positions
    return left / dense
