"""VGG-16 as in the u-Ticket and LTH code: 13 spiking convolutions and a linear read-out."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from evenspike_train.networks.base import (
    NETWORKS,
    NetworkConfig,
    SpikingConv,
    SpikingNetwork,
    keep,
)

#: Channels in units of the base width; "M" is a 2x2 max-pool after the neurons.
VGG16_LAYOUT: tuple[int | str, ...] = (
    1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M",
)  # fmt: skip


class VGG16(SpikingNetwork):
    """conv 3x3 (pad 1, with bias) -> batch norm -> LIF, 13 times; max-pools after the neurons.

    Images of 32x32 leave one position for the read-out.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        layers = []
        channels = config.in_channels
        for index, unit in enumerate(VGG16_LAYOUT):
            if unit == "M":
                continue
            filters = int(unit) * config.width
            pool = VGG16_LAYOUT[index + 1] == "M"
            layers.append(SpikingConv(channels, filters, config.neuron, bias=True, pool=pool))
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
        first, *others = self.blocks()
        current = self.encode(images, first)
        time = current.shape[:2]
        x = self._fire(first, current, record)
        for layer in others:
            x = self._fire(layer, layer.current(x, self.norm_parts).unflatten(0, time), record)
        return self.classifier(x.flatten(1)).unflatten(0, time)

    @staticmethod
    def _fire(layer: SpikingConv, current: Tensor, record: list[Tensor] | None) -> Tensor:
        spikes = layer.spikes(current)
        keep(record, spikes)
        return layer.pooled(spikes)

    @property
    def layer_names(self) -> tuple[str, ...]:
        return (*(f"conv{index + 1}" for index in range(len(self.layers))), "fc")


NETWORKS["vgg16"] = VGG16
