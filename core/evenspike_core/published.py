"""What the papers state, to stand beside what was measured; nothing is read off a picture.

u-Ticket: *Workload-Balanced Pruning for Sparse Spiking Neural Networks*, Tables III and IV (T = 4,
16 PEs). LTH: *Exploring Lottery Ticket Hypothesis in Spiking Neural Networks*, Table 1 (T = 5,
one RTX 2080Ti). Keys are (network, data set, method) as the recipes name them.
"""

from __future__ import annotations

from evenspike_core import published_uticket
from evenspike_core.published_uticket import UNIT

Key = tuple[str, str, str]

FULL_WIDTH = 64
"""Filters of the first layer of the papers' networks."""

TABLE_IV = {key: row for key, row in published_uticket.CYCLES.items() if key[1] != "cifar100"}
"""Its rows of CIFAR100 repeat another's digits."""

UTILIZATION: dict[Key, float] = {key: row.utilization for key, row in TABLE_IV.items()}
"""u-Ticket, Table IV: mean of the layers, weighted by their parameters."""

CYCLES: dict[Key, tuple[float, float, float]] = {
    key: (row.work * UNIT, row.idle * UNIT, row.latency * UNIT) for key, row in TABLE_IV.items()
}
"""u-Ticket, Table IV: (work, idle, latency)."""

ACCURACY: dict[Key, tuple[float, float]] = {
    key: (row.accuracy, row.sparsity) for key, row in published_uticket.TICKETS.items()
} | {
    # LTH, Table 1, at its highest sparsity
    ("vgg16", "fmnist", "imp+early-time"): (93.61, 98.13),
    ("vgg16", "fmnist", "early-bird"): (93.16, 98.13),
    ("vgg16", "fmnist", "early-bird+early-time"): (92.25, 98.13),
    ("resnet19", "fmnist", "imp+early-time"): (94.63, 98.13),
    ("resnet19", "fmnist", "early-bird"): (93.60, 98.13),
    ("resnet19", "fmnist", "early-bird+early-time"): (92.51, 98.13),
}
"""(accuracy, sparsity of the weights), both in percent: u-Ticket, Table III; else as noted."""

SEARCH_HOURS: dict[Key, float] = {
    ("vgg16", "fmnist", "imp"): 26.10,
    ("vgg16", "fmnist", "imp+early-time"): 19.13,
    ("vgg16", "fmnist", "early-bird"): 0.06,
    ("vgg16", "fmnist", "early-bird+early-time"): 0.05,
    ("resnet19", "fmnist", "imp"): 35.90,
    ("resnet19", "fmnist", "imp+early-time"): 22.83,
    ("resnet19", "fmnist", "early-bird"): 0.10,
    ("resnet19", "fmnist", "early-bird+early-time"): 0.08,
}
"""LTH, Table 1: hours to find a ticket of 98.13 %."""

AGC: tuple[tuple[str, str, float, float, float], ...] = (
    ("VGG-11", "none", 91.57, 75.49, 90.37),
    ("VGG-11", "10x", 91.10, 26.97, 90.94),
    ("VGG-16", "none", 92.55, 77.81, 91.52),
    ("VGG-16", "20x", 91.85, 84.71, 91.09),
    ("VGG-16", "33.4x", 91.79, 82.37, 90.59),
    ("VGG-11", "channels, 2x", 91.89, 82.86, 90.97),
    ("VGG-16", "channels, 5x", 91.24, 75.01, 90.54),
)
"""AGC, Tables II and III, CIFAR-10 with direct input and T = 10: network, compression, and accuracy
in percent of the network with ReLU, converted, and after hybrid learning."""
