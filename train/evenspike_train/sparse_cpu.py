"""A pruned VGG-16 trained with the work its mask leaves, on a CPU.

At 97.6 % sparsity a dense convolution multiplies zeros for most of its time.  This
forward pass computes the same network from the living weights alone, forward,
gradient of the input and gradient of the living weights; parameters, masks,
batch-norm statistics and the optimiser are those of the ordinary model, so the two
can be exchanged between steps.

Maps are [C, H, W, N] in bfloat16, N = T*B innermost (see `sparse_kernels`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from evenspike_train import masks as weight_masks
from evenspike_train import sparse_kernels
from evenspike_train.networks import PIXEL_SCALE, VGG16
from evenspike_train.neuron import LIFParameters


def _bits(x: Tensor) -> np.ndarray:
    return x.detach().view(torch.uint16).numpy()


@dataclass(frozen=True)
class Rows:
    """Living weights in the order of `sparse_kernels.convolve`: output by output."""

    start: np.ndarray
    channel: np.ndarray
    dy: np.ndarray
    dx: np.ndarray

    @staticmethod
    def by(output: Tensor, channel: Tensor, dy: Tensor, dx: Tensor, outputs: int) -> Rows:
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
        self.forward = Rows.by(f, c, dy, dx, filters)
        self.order = c.argsort(stable=True)
        o = self.order
        self.backward = Rows.by(c[o], f[o], -dy[o], -dx[o], channels)


class SparseConv(torch.autograd.Function):
    """3x3 convolution of maps [C, H, W, N] with the living weights of a filter bank."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, where: Structure) -> Tensor:
        _, height, width, images = x.shape
        out = x.new_empty(weight.shape[0], height, width, images)
        values = weight.detach().permute(0, 2, 3, 1).reshape(-1)[where.index]
        rows = where.forward
        sparse_kernels.convolve(
            _bits(x).reshape(-1, images), height, width,
            rows.start, rows.channel, rows.dy, rows.dx, values.numpy(),
            bias.detach().numpy(), _bits(out).reshape(-1, images),
        )  # fmt: skip
        ctx.save_for_backward(x, values)
        ctx.where, ctx.shape = where, weight.shape
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, values = ctx.saved_tensors
        where: Structure = ctx.where
        grad = grads[0].contiguous()
        channels, height, width, images = x.shape
        filters, _, *kernel = ctx.shape
        rows = where.forward
        values_grad = np.empty(len(values), np.float32)
        bias_grad = np.empty(filters, np.float32)
        sparse_kernels.weight_gradient(
            _bits(x).reshape(-1), _bits(grad).reshape(-1), height, width,
            rows.start, rows.channel, rows.dy, rows.dx, values_grad, bias_grad,
        )  # fmt: skip
        weight_grad = torch.zeros(filters, *kernel, channels)
        weight_grad.view(-1)[where.index] = torch.from_numpy(values_grad)
        rows = where.backward
        x_grad = torch.empty_like(x)
        sparse_kernels.convolve(
            _bits(grad).reshape(-1, images), height, width,
            rows.start, rows.channel, rows.dy, rows.dx, values[where.order].numpy(),
            np.zeros(channels, np.float32), _bits(x_grad).reshape(-1, images),
        )  # fmt: skip
        return x_grad, weight_grad.permute(0, 3, 1, 2), torch.from_numpy(bias_grad), None


class MapLIF(torch.autograd.Function):
    """Neurons over maps [P, T, B] bfloat16."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, neuron: LIFParameters) -> Tensor:
        spikes, membranes = torch.empty_like(current), torch.empty_like(current)
        values = np.float32([neuron.leak, neuron.gain, neuron.threshold])
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
        values = np.float32([neuron.leak, neuron.gain, neuron.threshold])
        arrays = (_bits(x) for x in (grads[0].contiguous(), spikes, membranes, grad_current))
        sparse_kernels.lif_backward(
            *arrays, *values, neuron.reset == "hard", np.float32(neuron.alpha)
        )
        return grad_current, None


class SparseForward:
    """Callable in place of the model: images [B, C, 32, 32] -> logits [T, B, classes].

    The masks are read when it is made; make a new one when they change.
    """

    def __init__(self, model: VGG16) -> None:
        if not all(layer.lif.neuron.detach_reset for layer in model.layers):
            raise ValueError("sparse kernels: the reset must be detached")
        self.model = model
        self.weights = weight_masks.originals(model)
        masks = weight_masks.read(model)
        self.structures = {
            name: Structure(mask.cpu())
            for name, mask in masks.items()
            if mask.dim() == 4
        }

    def __call__(self, images: Tensor) -> Tensor:
        steps, batch = self.model.timesteps, images.shape[0]
        x = images
        for index, layer in enumerate(self.model.layers):
            if index == 0:
                # From pixels, once for all timesteps: too little work to matter.
                current = layer.current(images.to(torch.float32) / PIXEL_SCALE)
                maps = current.to(torch.bfloat16).permute(1, 2, 3, 0)
                maps = maps.unsqueeze(3).expand(-1, -1, -1, steps, -1).flatten(3)
            else:
                name = f"layers.{index}.conv"
                bias = layer.conv.bias
                maps = SparseConv.apply(x, self.weights[name], bias, self.structures[name])
                maps = self._norm(layer.norm, maps)
            shape = maps.shape
            rows = maps.reshape(-1, steps, batch)
            x = MapLIF.apply(rows, layer.lif.neuron).view(shape)
            if layer.pool is not None:
                # [C, N, H, W] with N innermost is channels-last to the pooling.
                x = layer.pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        features = x.flatten(0, 2).T
        return self.model.classifier(features).unflatten(0, (steps, batch))

    @staticmethod
    def _norm(norm: torch.nn.BatchNorm2d, maps: Tensor) -> Tensor:
        flat = maps.flatten(1).unsqueeze(0)
        if norm.training:
            norm.num_batches_tracked.add_(1)
        normed = functional.batch_norm(
            flat, norm.running_mean, norm.running_var, norm.weight, norm.bias,
            norm.training, norm.momentum, norm.eps,
        )  # fmt: skip
        return normed.view(maps.shape)
