"""The ten-layer network of ADMM for CIFAR: strides in the place of pools, every layer spiking.

Input-128C3S1-256C3S2-256C3S1-512C3S2-512C3S1-1024C3S1-2048C3S2-1024FC-512FC-classes (IV-A).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from evenspike_train.networks.base import NETWORKS
from evenspike_train.networks.plain import Conv, Full, PlainNetwork


class Strided10(PlainNetwork):
    """Seven convolutions of 3x3, three of them with stride 2, and three fully connected layers.

    At a width of 128 the published one. Images of 32x32 leave maps of 4x4.
    """

    @staticmethod
    def layout(width: int) -> Sequence[Conv | Full]:
        plan = ((1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (8, 1), (16, 2))
        convs = [Conv(width * units, 3, stride, padding=1) for units, stride in plan]
        return (*convs, Full(width * 8), Full(width * 4))

    def initialise(self) -> None:
        """Variance 2 / inputs: with torch's third of that over inputs, spikes die out on the way.

        The threshold is the unit: a membrane is to be about as large as that, whatever it is.
        """
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                module.weight.data.mul_(2 * self.config.neuron.threshold)
                nn.init.zeros_(cast("Tensor", module.bias))


NETWORKS["strided10"] = Strided10
