"""What the papers state, to stand beside what was measured; nothing is read off a picture.

u-Ticket: *Workload-Balanced Pruning for Sparse Spiking Neural Networks*, Tables III and IV (T = 4,
16 PEs). LTH: *Exploring Lottery Ticket Hypothesis in Spiking Neural Networks*, Table 1 (T = 5,
one RTX 2080Ti). Keys are (network, data set, method) as the recipes name them.
"""

from __future__ import annotations

Key = tuple[str, str, str]

FULL_WIDTH = 64
"""Filters of the first layer of the papers' networks."""

UTILIZATION: dict[Key, float] = {
    ("vgg16", "cifar10", "imp"): 0.59,
    ("vgg16", "cifar10", "u-ticket"): 1.00,
    ("vgg16", "fmnist", "imp"): 0.57,
    ("vgg16", "fmnist", "u-ticket"): 1.00,
    ("resnet19", "cifar10", "imp"): 0.31,
    ("resnet19", "cifar10", "u-ticket"): 1.00,
    ("resnet19", "fmnist", "imp"): 0.27,
    ("resnet19", "fmnist", "u-ticket"): 1.00,
}
"""u-Ticket, Table IV: mean of the layers, weighted by their parameters."""

CYCLES: dict[Key, tuple[float, float, float]] = {
    ("vgg16", "cifar10", "imp"): (1.34e8, 0.41e8, 0.11e8),
    ("vgg16", "cifar10", "u-ticket"): (0.94e8, 0.0, 0.06e8),
    ("vgg16", "fmnist", "imp"): (1.10e8, 0.42e8, 0.10e8),
    ("vgg16", "fmnist", "u-ticket"): (0.81e8, 0.0, 0.05e8),
    ("resnet19", "cifar10", "imp"): (1.66e8, 1.73e8, 0.21e8),
    ("resnet19", "cifar10", "u-ticket"): (1.10e8, 0.0, 0.07e8),
    ("resnet19", "fmnist", "imp"): (1.26e8, 1.89e8, 0.20e8),
    ("resnet19", "fmnist", "u-ticket"): (0.73e8, 0.0, 0.05e8),
}
"""u-Ticket, Table IV: (work, idle, latency)."""

ACCURACY: dict[Key, tuple[float, float]] = {
    ("vgg16", "cifar10", "imp"): (91.0, 98.2),
    ("vgg16", "cifar10", "u-ticket"): (90.7, 98.4),
    ("vgg16", "fmnist", "imp"): (94.6, 98.2),
    ("vgg16", "fmnist", "u-ticket"): (94.0, 98.5),
    ("resnet19", "cifar10", "imp"): (91.0, 97.6),
    ("resnet19", "cifar10", "u-ticket"): (90.3, 98.4),
    ("resnet19", "fmnist", "imp"): (94.4, 98.2),
    ("resnet19", "fmnist", "u-ticket"): (93.3, 99.0),
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
