"""Batch norm over several processes: statistics of the whole batch, of which each holds a part."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, distributed, nn


class _SharedStatistics(torch.autograd.Function):
    """Batch norm of [B, C, ...] over the batches of all processes; mean and variance beside it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, size: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dims = [d for d in range(x.dim()) if d != 1]
        wide = x.float()
        variance, mean = torch.var_mean(wide, dims, correction=0)
        count = torch.full_like(mean, x.numel() // x.shape[1])
        own = torch.stack([mean, variance, count])
        every = [torch.empty_like(own) for _ in range(size)]
        distributed.all_gather(every, own)
        means, variances, counts = torch.stack(every).unbind(1)
        total = counts.sum(0)
        mean = (means * counts).sum(0) / total
        variance = ((variances + (means - mean).square()) * counts).sum(0) / total
        scale = (variance + eps).rsqrt()
        shape = [-1 if d == 1 else 1 for d in range(x.dim())]
        normal = (wide - mean.view(shape)) * scale.view(shape)
        ctx.save_for_backward(x, weight, mean, scale, total)
        ctx.dims, ctx.view = dims, shape
        ctx.mark_non_differentiable(mean, variance, total)
        out = normal * weight.view(shape) + bias.view(shape)
        return out.to(x.dtype), mean, variance, total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, weight, mean, scale, total = ctx.saved_tensors
        grad = grads[0].float()
        normal = (x.float() - mean.view(ctx.view)) * scale.view(ctx.view)
        bias_grad = grad.sum(ctx.dims)
        weight_grad = (grad * normal).sum(ctx.dims)
        sums = torch.stack([bias_grad, weight_grad])
        distributed.all_reduce(sums)
        share = (sums / total).view(2, *ctx.view)
        inner = grad - share[0] - normal * share[1]
        x_grad = inner * (weight * scale).view(ctx.view)
        # Those of weight and bias are this process's; `sum_gradients` adds the others'.
        return x_grad.to(x.dtype), weight_grad, bias_grad, None, None


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics in training are those of all processes' images together.

    `torch.nn.SyncBatchNorm` does the same on GPUs, and only there.
    """

    size = 1

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        out, mean, variance, total = _SharedStatistics.apply(
            x, self.weight, self.bias, self.eps, self.size
        )
        with torch.no_grad():
            cast("Tensor", self.num_batches_tracked).add_(1)
            momentum = cast("float", self.momentum)
            cast("Tensor", self.running_mean).lerp_(mean, momentum)
            cast("Tensor", self.running_var).lerp_(variance * total / (total - 1), momentum)
        result: Tensor = out
        return result


def share_statistics(model: nn.Module, size: int) -> None:
    """Give every batch norm of the model the statistics of the images of all `size` processes."""
    if size == 1:
        return
    for parent in list(model.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                shared = SharedBatchNorm(norm.num_features, norm.eps, norm.momentum)
                shared.to(norm.weight.device)
                shared.load_state_dict(norm.state_dict())
                shared.size = size
                setattr(parent, name, shared)
