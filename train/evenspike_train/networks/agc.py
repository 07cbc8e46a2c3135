"""The networks of attention-guided compression: VGG-9, -11, -16 and ResNet-12, no batch norm.

A convolution has no bias and no batch norm, pools are averages, the neurons of each layer have a
leak and a threshold of their own, and the last layer accumulates.  So the same weights make a
network with ReLU (`twin`) and a spiking one, and the one can be converted into the other (AGC,
section IV-A).

The paper names the networks and leaves their layers to its references; those here are VGG's
convolutions with a pool behind each change of the map's size, four of them, and two hidden linear
layers of 64 times the base width (4096 at the published width).  ResNet-12 begins with three
convolutions in place of one, as the paper says.  Images of 32x32 leave maps of 2x2.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from evenspike_train.kernels.learned_neuron import LearnedLIF
from evenspike_train.networks.base import NETWORKS, NetworkConfig, SpikingNetwork, keep
from evenspike_train.networks.bernoulli import drawn_by_host
from evenspike_train.networks.pointwise import Pointwise

#: Filters in units of the base width; "A" is a 2x2 average pool behind the neurons.
LAYOUTS: dict[str, tuple[int | str, ...]] = {
    "agc-vgg9": (1, "A", 2, 4, "A", 4, 8, "A", 8, "A"),
    "agc-vgg11": (1, "A", 2, 4, "A", 8, 8, 8, "A", 8, "A", 8),
    "agc-vgg16": (1, 1, "A", 2, 2, "A", 4, 4, 4, "A", 8, 8, 8, "A", 8, 8, 8),
}

HIDDEN = 64
"""Neurons of a hidden linear layer, in units of the base width."""

MAP = 2
"""Side of the last map of an image of 32x32."""

#: (filters in units of the base width, stride of the first convolution) of ResNet-12's blocks.
BLOCKS = ((1, 1), (2, 2), (4, 2), (8, 2))


class Weighted(nn.Module):
    """A convolution without a bias, its neurons, and dropout or an average pool behind them."""

    def __init__(
        self,
        channels: int,
        filters: int,
        config: NetworkConfig,
        *,
        stride: int = 1,
        pool: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.lif = LearnedLIF(config.neuron, config.learns)
        self.pool = nn.AvgPool2d(2) if pool else None

    def current(self, x: Tensor, parts: int = 1) -> Tensor:
        """Input [N, C, H, W] -> current [N, F, H', W']; without a batch norm there are no parts."""
        current: Tensor = self.conv(x)
        return current


class AttentionNetwork(SpikingNetwork):
    """What the networks of this family share: the input, dropout, the sum over time at the end."""

    takes_spikes: ClassVar[bool] = True

    def __init__(self, config: NetworkConfig) -> None:
        if config.batch_norm != "pooled":
            raise ValueError(
                f"network: {config.name} has no batch norm to take {config.batch_norm}"
            )
        super().__init__(config)

    def _initialise(self) -> None:
        """Kaiming normal (fan in): without a batch norm it alone keeps the currents' size."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")

    def _first(self, images: Tensor, first: Weighted) -> Tensor:
        """Current of the first layer, [T, B, F, H, W].

        Pixels of a network that takes spikes are drawn as the Program's encoder draws them; its
        twin with ReLU takes the pixels themselves.
        """
        if self.config.input == "bernoulli" and images.dim() == 4 and not first.lif.rectifies:
            images = drawn_by_host(images, max(self.config.timesteps, self.timesteps))
        return self.encode(images, first)

    def _names(self, *names: str) -> tuple[str, ...]:
        """Names of the Program's layers: drawn spikes have one of their own in front."""
        return ("input", *names) if self.config.input == "bernoulli" else names

    def _fire(self, neurons: nn.Module, current: Tensor, record: list[Tensor] | None) -> Tensor:
        """Current [T*B, ...] or [T, B, ...] -> spikes [T*B, ...], recorded as maps."""
        folded = current if current.dim() in (3, 5) else current.unflatten(0, (self.timesteps, -1))
        spikes: Tensor = neurons(folded).flatten(0, 1)
        keep(record, spikes if spikes.dim() == 4 else spikes[:, :, None, None])
        return spikes

    def _drop(self, x: Tensor, rate: float) -> Tensor:
        """Dropout of [T*B, ...]: the same neurons of an image are silent at every timestep."""
        if not self.training or not rate:
            return x
        images = x.shape[0] // self.timesteps
        drawn = torch.rand(
            (images, *x.shape[1:]), generator=self.generator, device=x.device, dtype=torch.float32
        )
        mask = ((drawn >= rate).to(x.dtype) / (1 - rate)).repeat(
            self.timesteps, *[1] * (x.dim() - 1)
        )
        return x * mask

    def _behind(self, layer: Weighted, spikes: Tensor) -> Tensor:
        """What a convolution's neurons hand on: pooled, or else with dropout."""
        if layer.pool is not None:
            pooled: Tensor = layer.pool(spikes)
            return pooled
        return self._drop(spikes, self.config.conv_dropout)

    def _answer(self, x: Tensor) -> Tensor:
        """Logits of each timestep; in training those of their sum alone, [1, B, classes].

        The last layer accumulates over time, and the loss is of what it holds at the end.
        """
        logits: Tensor = self.classifier(x).unflatten(0, (self.timesteps, -1))
        return logits.sum(0, keepdim=True) if self.training else logits


class AttentionVGG(AttentionNetwork):
    """Convolutions by a layout, two hidden linear layers, read-out."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        layout, layers, channels = LAYOUTS[config.name], [], config.in_channels
        for index, unit in enumerate(layout):
            if unit == "A":
                continue
            filters = int(unit) * config.width
            pool = layout[index + 1 : index + 2] == ("A",)
            layers.append(Weighted(channels, filters, config, pool=pool))
            channels = filters
        self.layers = nn.ModuleList(layers)
        hidden = HIDDEN * config.width
        self.fc1 = nn.Linear(channels * MAP * MAP, hidden, bias=False)
        self.lif1 = LearnedLIF(config.neuron, config.learns)
        self.fc2 = nn.Linear(hidden, hidden, bias=False)
        self.lif2 = LearnedLIF(config.neuron, config.learns)
        self.classifier = nn.Linear(hidden, config.classes, bias=False)
        self._initialise()

    def forward(self, images: Tensor, record: list[Tensor] | None = None) -> Tensor:
        layers = cast("list[Weighted]", list(self.layers))
        x = self._behind(
            layers[0], self._fire(layers[0].lif, self._first(images, layers[0]), record)
        )
        for layer in layers[1:]:
            x = self._behind(layer, self._fire(layer.lif, layer.current(x), record))
        rate = self.config.dropout
        x = self._drop(self._fire(self.lif1, self.fc1(x.flatten(1)), record), rate)
        x = self._drop(self._fire(self.lif2, self.fc2(x), record), rate)
        return self._answer(x)

    @property
    def layer_names(self) -> tuple[str, ...]:
        convs = (f"conv{index + 1}" for index in range(len(self.layers)))
        return self._names(*convs, "fc1", "fc2", "fc3")


class AttentionBlock(nn.Module):
    """conv -> neurons -> conv, plus the shortcut, -> neurons.

    The shortcut is a 1x1 convolution where the shapes differ, else the input itself.
    """

    def __init__(self, channels: int, filters: int, stride: int, config: NetworkConfig) -> None:
        super().__init__()
        self.first = Weighted(channels, filters, config, stride=stride)
        self.second = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        same = channels == filters and stride == 1
        self.shortcut = None if same else Pointwise(channels, filters, stride)
        self.lif = LearnedLIF(config.neuron, config.learns)


class AttentionResNet12(AttentionNetwork):
    """Three convolutions and a pool, four blocks, read-out of the last map."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        width = config.width
        self.stem = nn.ModuleList(
            [
                Weighted(config.in_channels, width, config),
                Weighted(width, width, config),
                Weighted(width, width, config, pool=True),
            ]
        )
        blocks, channels = [], width
        for unit, stride in BLOCKS:
            blocks.append(AttentionBlock(channels, unit * width, stride, config))
            channels = unit * width
        self.blocks = nn.ModuleList(blocks)
        self.classifier = nn.Linear(channels * MAP * MAP, config.classes, bias=False)
        self._initialise()
        with torch.no_grad():  # two currents of the usual size would be one of twice the variance
            for block in blocks:
                block.second.weight.mul_(0.5**0.5)
                if block.shortcut is not None:
                    block.shortcut.weight.mul_(0.5**0.5)

    def forward(self, images: Tensor, record: list[Tensor] | None = None) -> Tensor:
        stem = cast("list[Weighted]", list(self.stem))
        x = self._behind(stem[0], self._fire(stem[0].lif, self._first(images, stem[0]), record))
        for layer in stem[1:]:
            x = self._behind(layer, self._fire(layer.lif, layer.current(x), record))
        rate = self.config.conv_dropout
        for block in cast("list[AttentionBlock]", list(self.blocks)):
            inner = self._fire(block.first.lif, block.first.current(x), record)
            beside = x if block.shortcut is None else block.shortcut(x)
            current = block.second(self._drop(inner, rate)) + beside
            x = self._drop(self._fire(block.lif, current, record), rate)
        return self._answer(x.flatten(1))

    @property
    def layer_names(self) -> tuple[str, ...]:
        blocks = range(1, len(self.blocks) + 1)
        body = (f"block{number}.conv{half}" for number in blocks for half in (1, 2))
        return self._names("conv1", "conv2", "conv3", *body, "fc")


NETWORKS.update(dict.fromkeys(LAYOUTS, AttentionVGG))
NETWORKS["agc-resnet12"] = AttentionResNet12
