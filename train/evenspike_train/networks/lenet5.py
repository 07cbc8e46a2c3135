"""LeNet-5 as ADMM compresses it: two convolutions and two fully connected layers, all spiking.

Of the networks that go by this name it is the one of the literature on pruning: the paper counts
five layers with the input (Table VIII), so four have weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from evenspike_train.networks.base import NETWORKS
from evenspike_train.networks.plain import Conv, Full, PlainNetwork


class LeNet5(PlainNetwork):
    """conv 5x5 -> LIF -> average pool 2x2, twice; fully connected -> LIF, twice.

    At a width of 20: 20 and 50 filters, 500 neurons. Images of 28x28 leave maps of 4x4.
    """

    image_size: ClassVar[int] = 28
    crops: ClassVar[bool] = True  # MNIST comes with a margin of 2 pixels

    @staticmethod
    def layout(width: int) -> Sequence[Conv | Full]:
        return (
            Conv(width, 5, pool=2),
            Conv(width * 5 // 2, 5, pool=2),
            Full(width * 25),
        )


NETWORKS["lenet5"] = LeNet5
