"""ResNet-19 as in the u-Ticket and LTH code: eight residual blocks, and two linear layers.

The shortcut is added to the current of a block's second convolution, before the neurons: what
leaves a block is spikes again.  Spikes are averaged over the last map before the first linear
layer, so that layer alone does not read zeros and ones.
"""

from __future__ import annotations

from torch import Tensor, nn

from evenspike_train.kernels.neuron import LIF, LIFParameters
from evenspike_train.networks.base import (
    NETWORKS,
    ConvNorm,
    NetworkConfig,
    SpikingConv,
    SpikingNetwork,
    keep,
)

#: (blocks, filters in units of the base width) of each stage; its first block has stride 2.
STAGES = ((3, 2), (3, 4), (2, 8))
#: Neurons between the linear layers, in units of the base width.
HIDDEN = 4


class BasicBlock(nn.Module):
    """conv -> BN -> LIF -> conv -> BN, plus the shortcut, -> LIF.

    The shortcut is a 1x1 convolution with BN where the shapes differ, else the input's spikes.
    """

    def __init__(self, channels: int, filters: int, stride: int, neuron: LIFParameters) -> None:
        super().__init__()
        self.first = SpikingConv(channels, filters, neuron, stride=stride)
        self.second = ConvNorm(filters, filters)
        same = channels == filters and stride == 1
        self.shortcut = None if same else ConvNorm(channels, filters, kernel=1, stride=stride)
        self.lif = LIF(neuron)

    def forward(self, x: Tensor, timesteps: int, parts: int, record: list[Tensor] | None) -> Tensor:
        """Spikes [T*B, C, H, W] -> spikes [T*B, F, H', W'].

        parts : of the batch, for `ConvNorm.current`.
        """
        time = (timesteps, -1)
        inner = self.first.spikes(self.first.current(x, parts).unflatten(0, time))
        keep(record, inner)
        beside = x if self.shortcut is None else self.shortcut.current(x, parts)
        current = self.second.current(inner, parts) + beside
        spikes = self.lif(current.unflatten(0, time)).flatten(0, 1)
        keep(record, spikes)
        return spikes


class ResNet19(SpikingNetwork):
    """conv1, stages of 3, 3 and 2 blocks, average pool, fc1 -> LIF, read-out.

    No convolution has a bias.  Initialised as torch does by default, as in the authors' code.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        channels = config.width
        self.stem = SpikingConv(config.in_channels, channels, config.neuron)
        blocks = []
        for count, unit in STAGES:
            for index in range(count):
                filters, stride = unit * config.width, 1 if index else 2
                blocks.append(BasicBlock(channels, filters, stride, config.neuron))
                channels = filters
        self.blocks = nn.ModuleList(blocks)
        self.fc1 = nn.Linear(channels, HIDDEN * config.width)
        self.lif = LIF(config.neuron)
        self.classifier = nn.Linear(HIDDEN * config.width, config.classes)

    def forward(self, images: Tensor, record: list[Tensor] | None = None) -> Tensor:
        time = (self.timesteps, -1)
        x = self.stem.spikes(self.encode(images, self.stem))
        keep(record, x)
        for block in self.blocks:
            x = block(x, self.timesteps, self.norm_parts, record)
        hidden = self.fc1(x.mean((2, 3))).unflatten(0, time)
        spikes = self.lif(hidden).flatten(0, 1)
        keep(record, spikes[:, :, None, None])
        return self.classifier(spikes).unflatten(0, time)

    @property
    def layer_names(self) -> tuple[str, ...]:
        blocks = range(1, len(self.blocks) + 1)
        body = (f"block{number}.conv{half}" for number in blocks for half in (1, 2))
        return ("conv1", *body, "fc1", "fc2")


NETWORKS["resnet19"] = ResNet19
