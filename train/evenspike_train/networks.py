"""Spiking networks by name.  VGG-16 as in the u-Ticket and LTH code.

Pixels enter as integers 0...255 and are divided by 256, with no mean subtracted:
batch normalisation absorbs both, zero padding stays exactly zero, and the
exported network can be fed the bytes of the image.

Direct encoding: the first convolution and its batch norm are computed once and
the same current drives the first neurons at every timestep.  From there on time
is folded into the batch, [T*B, C, H, W], and unfolded only inside the neurons.
Batch norm is one ordinary layer shared by all timesteps; with time folded its
batch statistics are taken over the timesteps together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from evenspike_train.neuron import LIF, LIFParameters

#: Channels in units of the base width; "M" is a 2x2 max-pool after the neurons.
VGG16_LAYOUT: tuple[int | str, ...] = (
    1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M",
)  # fmt: skip

IMAGE_SIZE = 32
PIXEL_SCALE = 256


@dataclass(frozen=True)
class NetworkConfig:
    """What has to be known to build a network.

    Parameters
    ----------
    name : key of `NETWORKS`.
    width : base width; 64 is the published network, 8 or 16 train on a CPU in minutes.
    in_channels, classes : of the data set.
    timesteps : T, how often the neurons are stepped.
    neuron : of every layer.
    """

    name: str = "vgg16"
    width: int = 64
    in_channels: int = 1
    classes: int = 10
    timesteps: int = 4
    neuron: LIFParameters = LIFParameters()

    def __post_init__(self) -> None:
        if self.name not in NETWORKS:
            raise ValueError(f"network: name must be one of {sorted(NETWORKS)}, not {self.name!r}")
        for field in ("width", "in_channels", "classes", "timesteps"):
            if getattr(self, field) < 1:
                raise ValueError(f"network: {field} must be at least 1, not {getattr(self, field)}")


class SpikingConv(nn.Module):
    """conv 3x3 (pad 1, with bias) -> batch norm -> LIF -> optional 2x2 max-pool.

    Max-pooling spikes is an OR, which is what the accelerator's collector does.
    """

    def __init__(self, channels: int, filters: int, pool: bool, neuron: LIFParameters) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(filters)
        self.lif = LIF(neuron)
        self.pool = nn.MaxPool2d(2) if pool else None

    def current(self, x: Tensor) -> Tensor:
        """Input [N, C, H, W] -> current [N, F, H, W], before the neuron's own gain."""
        return self.norm(self.conv(x))

    def spikes(self, current: Tensor) -> Tensor:
        """Current [T, B, F, H, W] -> spikes [T*B, F, H, W], not yet pooled."""
        return self.lif(current).flatten(0, 1)

    def pooled(self, spikes: Tensor) -> Tensor:
        """Spikes [N, F, H, W] -> what the next layer sees."""
        return spikes if self.pool is None else self.pool(spikes)


class VGG16(nn.Module):
    """13 spiking convolutions and a linear read-out; images [B, C, 32, 32] uint8.

    `forward` returns the logits of each timestep, [T, B, classes]; their sum over T
    is the network's answer.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        #: May be lowered while a ticket is searched (fewer timesteps, same weights).
        self.timesteps = config.timesteps
        layers = []
        channels = config.in_channels
        for index, unit in enumerate(VGG16_LAYOUT):
            if unit == "M":
                continue
            filters = int(unit) * config.width
            pool = VGG16_LAYOUT[index + 1] == "M"
            layers.append(SpikingConv(channels, filters, pool, config.neuron))
            channels = filters
        self.layers = nn.ModuleList(layers)
        self.classifier = nn.Linear(channels, config.classes)
        self._initialise()

    def blocks(self) -> list[SpikingConv]:
        """The spiking convolutions in order."""
        return cast("list[SpikingConv]", list(self.layers))

    def _initialise(self) -> None:
        """Kaiming normal (fan out) for convolutions, N(0, 0.01) for the read-out."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(cast("Tensor", module.bias))
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor, record: list[Tensor] | None = None) -> Tensor:
        """Logits [T, B, classes].  `record` collects the spikes of each layer, [T*B, F, H, W]."""
        steps, batch = self.timesteps, images.shape[0]
        x = images.to(self.classifier.bias.dtype) / PIXEL_SCALE
        x = x.contiguous(memory_format=torch.channels_last)
        for index, layer in enumerate(self.blocks()):
            current = layer.current(x)
            if index == 0:
                current = current.unsqueeze(0).expand(steps, *current.shape)
            else:
                current = current.unflatten(0, (steps, batch))
            spikes = layer.spikes(current)
            if record is not None:
                record.append(spikes.detach())
            x = layer.pooled(spikes)
        return self.classifier(x.flatten(1)).unflatten(0, (steps, batch))


NETWORKS: dict[str, type[VGG16]] = {"vgg16": VGG16}


def build(config: NetworkConfig) -> VGG16:
    """A freshly initialised network; the caller seeds torch."""
    return NETWORKS[config.name](config)


def channels_last(model: VGG16) -> VGG16:
    """The same model with its filters in channels-last memory, what convolutions like best."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def prunable(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(name, module) of everything whose weight is pruned: convolutions and linear layers.

    The first convolution and the read-out are included, as in the authors' code;
    biases and batch norm are not.  In the order of the forward pass.
    """
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            yield name, module
