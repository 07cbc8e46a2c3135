"""Convolutions of 1 x 1 with strides: what they compute, and that few channels do not crash."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from evenspike_train.networks.pointwise import FEW, Pointwise


@pytest.mark.parametrize("side", [8, 23, 48])
@pytest.mark.parametrize("channels", [1, 2, 4, 6, FEW - 1, FEW, 16])
def test_it_is_pytorch_s(channels: int, side: int) -> None:
    """Values and gradients, channels last; PyTorch's own in the other order, where it is sound."""
    torch.manual_seed(channels)
    mine, theirs = Pointwise(channels, 2 * channels, 2), nn.Conv2d(channels, 2 * channels, 1, 2)
    with torch.no_grad():
        theirs.weight.copy_(mine.weight)
        assert theirs.bias is not None
        theirs.bias.zero_()
    mine.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(16, channels, side, side)
    found = []
    for conv, given in ((mine, x.to(memory_format=torch.channels_last)), (theirs, x)):
        given = given.detach().requires_grad_()
        out = conv(given)
        (out * torch.arange(out.shape[2])).sum().backward()
        assert given.grad is not None
        assert conv.weight.grad is not None
        found.append((out.detach(), given.grad, conv.weight.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
