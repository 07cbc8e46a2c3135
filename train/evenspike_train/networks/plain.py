"""Plain spiking networks: convolutions and linear layers with neurons behind each, and no norm.

Those of ADMM (*Comprehensive SNN Compression*, IV-A): the neurons of Eq. 2 behind every layer, the
last one included, so that an answer is the rate at which an output neuron fires (Eq. 3). Without a
batch norm nothing is folded into a layer's weights, and weights that are quantised stay what they
are in the integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from evenspike_core.errors import EvenspikeError
from evenspike_train.kernels.neuron import LIF
from evenspike_train.networks.base import PIXEL_SCALE, NetworkConfig, SpikingNetwork, keep
from evenspike_train.networks.bernoulli import drawn_by_host


@dataclass(frozen=True)
class Conv:
    """A convolution with neurons, and the side of the average pool behind them; 1 for none."""

    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: int = 1


@dataclass(frozen=True)
class Full:
    """A fully connected layer with neurons."""

    filters: int


class PlainNetwork(SpikingNetwork):
    """Layers one behind the other: those of `layout`, and the output's, each with its neurons.

    The modules that hold weights, and the Program's layers, are `conv1` ..., `fc1` ...; where
    pixels are drawn as spikes, the Program has `input` in front of them.
    """

    takes_spikes: ClassVar[bool] = True
    answers_in_spikes: ClassVar[bool] = True
    any_recording: ClassVar[bool] = False  # the fully connected layers fix the size of a map

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self._names: list[str] = []
        self._pools: list[int] = []
        self.neurons = nn.ModuleList()
        channels, side = config.in_channels, self.image_size
        for part in (*self.layout(config.width), Full(config.classes)):
            if isinstance(part, Conv):
                conv = nn.Conv2d(channels, part.filters, part.kernel, part.stride, part.padding)
                side = (side + 2 * part.padding - part.kernel) // part.stride + 1
                side //= part.pool
                self._add("conv", conv, part.pool)
            else:
                self._add("fc", nn.Linear(channels * side**2, part.filters), 1)
                side = 1
            channels = part.filters
        self.initialise()

    def _add(self, kind: str, weights: nn.Conv2d | nn.Linear, pool: int) -> None:
        name = f"{kind}{1 + sum(one.startswith(kind) for one in self._names)}"
        self.add_module(name, weights)
        self.neurons.append(LIF(self.config.neuron))
        self._names.append(name)
        self._pools.append(pool)

    @staticmethod
    def layout(width: int) -> Sequence[Conv | Full]:
        """The layers in front of the output, at a base width."""
        raise NotImplementedError

    def initialise(self) -> None:
        """Give the weights their first values; torch's own unless a network says otherwise."""

    def forward(self, images: Tensor, record: list[Tensor] | None = None) -> Tensor:
        """Spikes of the output's neurons at each timestep, [T, B, classes]."""
        modules = [self.get_submodule(name) for name in self._names]
        current = self._entered(images, modules[0])
        time = current.shape[:2]
        x = self.neurons[0](current).flatten(0, 1)
        for module, neurons, pool in zip(
            modules[1:], self.neurons[1:], self._pools[:-1], strict=True
        ):
            keep(record, x if x.dim() == 4 else x[:, :, None, None])
            x = x if pool == 1 else functional.avg_pool2d(x, pool)
            rows = x if isinstance(module, nn.Conv2d) else x.flatten(1)
            x = neurons(module(rows).unflatten(0, time)).flatten(0, 1)
        return cast("Tensor", x.unflatten(0, time))

    def _entered(self, images: Tensor, first: nn.Module) -> Tensor:
        """Current of the first layer, [T, B, F, H, W].

        Pixels are computed once for all timesteps. Drawn ones are spikes, [B, T, C, H, W]; of an
        image, [B, C, H, W], they are those of the Program's encoder.

        Raises EvenspikeError for fewer timesteps than the network has.
        """
        steps = self.timesteps
        if self.config.input == "bernoulli" and images.dim() == 4:
            images = drawn_by_host(images, self.config.timesteps)
        x = images
        if images.dim() == 5:
            if images.shape[1] < steps:
                raise EvenspikeError(f"{images.shape[1]} frames for {steps} timesteps")
            x = images[:, :steps].transpose(0, 1).flatten(0, 1)
        margin = (x.shape[-1] - self.image_size) // 2  # what surrounds the pixels of a data set
        if margin:
            x = functional.pad(x, (-margin,) * 4)
        weight = cast("Tensor", first.weight)
        x = x.to(weight.dtype)
        if self.config.input == "direct":
            x = x / PIXEL_SCALE
        # As the filters are, so that the convolution copies neither.
        last = weight.is_contiguous(memory_format=torch.channels_last)
        order = torch.channels_last if last else torch.contiguous_format
        current = cast("Tensor", first(x.contiguous(memory_format=order)))
        if images.dim() == 5:
            return current.unflatten(0, (steps, -1))
        return current.unsqueeze(0).expand(steps, *current.shape)

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("input", *self._names) if self.config.input == "bernoulli" else tuple(self._names)
