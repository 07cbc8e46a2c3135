"""A convolution of 1 x 1, also with strides over few channels, on which PyTorch's crashes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

FEW = 8
"""Input channels below which oneDNN, as PyTorch 2.13 has it, writes behind its memory on some
processors: in the gradient of a convolution of 1 x 1 with strides, channels last."""


class Pointwise(nn.Conv2d):
    """Input [N, C, H, W] -> [N, F, H', W'], every stride-th row and column of it weighed.

    What the strides leave out means nothing to a kernel of 1 x 1. With few channels only the rest
    is convolved in training, and without strides.
    """

    def __init__(
        self, channels: int, filters: int, stride: int | tuple[int, int] = 1, *, bias: bool = False
    ) -> None:
        super().__init__(channels, filters, 1, stride, bias=bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 - PyTorch's name
        down, right = self.stride
        if not self.training or (down, right) == (1, 1) or self.in_channels >= FEW:
            return super()._conv_forward(input, weight, bias)
        return functional.conv2d(input[..., ::down, ::right], weight, bias)
