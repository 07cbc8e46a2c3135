"""What the u-Ticket paper states of its networks and its hardware; nothing is read off a picture.

*Workload-Balanced Pruning for Sparse Spiking Neural Networks*, Tables I, III, IV, V and VI and the
sentences of sections I and V. T = 4 and 16 PEs where nothing else is said. Methods are named as the
recipes name them: LTH is `imp`.
"""

from __future__ import annotations

from dataclasses import dataclass

PES = 16
TIMESTEPS = 4

Key = tuple[str, str, str]
"""(network, data set, method)"""


@dataclass(frozen=True)
class Ticket:
    """A row of Table III, in percent."""

    accuracy: float
    sparsity: float
    spike_sparsity: float


@dataclass(frozen=True)
class Cycles:
    """A row of Table IV: PE-cycles, cycles, and a share. Each number has two digits behind the
    point, in units of 1e8.
    """

    work: float
    idle: float
    latency: float
    utilization: float


UNIT = 1e8
HALF_DIGIT = 0.005
"""Half of the last digit of a row of Table IV, in its units."""

TICKETS: dict[Key, Ticket] = {
    ("vgg16", "cifar10", "imp"): Ticket(91.0, 98.2, 84.8),
    ("vgg16", "cifar10", "u-ticket"): Ticket(90.7, 98.4, 85.9),
    ("vgg16", "fmnist", "imp"): Ticket(94.6, 98.2, 83.9),
    ("vgg16", "fmnist", "u-ticket"): Ticket(94.0, 98.5, 81.4),
    ("vgg16", "svhn", "imp"): Ticket(95.5, 98.2, 84.9),
    ("vgg16", "svhn", "u-ticket"): Ticket(94.8, 98.5, 80.1),
    ("vgg16", "cifar100", "imp"): Ticket(63.9, 98.2, 81.9),
    ("vgg16", "cifar100", "u-ticket"): Ticket(63.1, 98.2, 82.0),
    ("resnet19", "cifar10", "imp"): Ticket(91.0, 97.6, 64.1),
    ("resnet19", "cifar10", "u-ticket"): Ticket(90.3, 98.4, 68.3),
    ("resnet19", "fmnist", "imp"): Ticket(94.4, 98.2, 60.1),
    ("resnet19", "fmnist", "u-ticket"): Ticket(93.3, 99.0, 62.9),
    ("resnet19", "svhn", "imp"): Ticket(95.1, 97.6, 63.6),
    ("resnet19", "svhn", "u-ticket"): Ticket(94.6, 98.6, 68.2),
    ("resnet19", "cifar100", "imp"): Ticket(66.7, 98.2, 77.5),
    ("resnet19", "cifar100", "u-ticket"): Ticket(66.3, 98.1, 77.6),
}
"""Table III."""

CYCLES: dict[Key, Cycles] = {
    ("vgg16", "cifar10", "imp"): Cycles(1.34, 0.41, 0.11, 0.59),
    ("vgg16", "cifar10", "u-ticket"): Cycles(0.94, 0.00, 0.06, 1.00),
    ("vgg16", "fmnist", "imp"): Cycles(1.10, 0.42, 0.10, 0.57),
    ("vgg16", "fmnist", "u-ticket"): Cycles(0.81, 0.00, 0.05, 1.00),
    ("vgg16", "svhn", "imp"): Cycles(1.15, 0.69, 0.12, 0.47),
    ("vgg16", "svhn", "u-ticket"): Cycles(0.86, 0.00, 0.05, 1.00),
    ("vgg16", "cifar100", "imp"): Cycles(1.15, 0.69, 0.12, 0.47),
    ("vgg16", "cifar100", "u-ticket"): Cycles(0.86, 0.00, 0.05, 1.00),
    ("resnet19", "cifar10", "imp"): Cycles(1.66, 1.73, 0.21, 0.31),
    ("resnet19", "cifar10", "u-ticket"): Cycles(1.10, 0.00, 0.07, 1.00),
    ("resnet19", "fmnist", "imp"): Cycles(1.26, 1.89, 0.20, 0.27),
    ("resnet19", "fmnist", "u-ticket"): Cycles(0.73, 0.00, 0.05, 1.00),
    ("resnet19", "svhn", "imp"): Cycles(1.27, 1.34, 0.16, 0.30),
    ("resnet19", "svhn", "u-ticket"): Cycles(0.84, 0.00, 0.05, 1.00),
    ("resnet19", "cifar100", "imp"): Cycles(1.15, 0.69, 0.12, 0.47),
    ("resnet19", "cifar100", "u-ticket"): Cycles(0.86, 0.00, 0.05, 1.00),
}
"""Table IV, work, idle and latency in units of 1e8. The rows of CIFAR100 repeat the digits of
VGG-16's SVHN rows, for both networks."""

REDUCTIONS: dict[tuple[str, str], float] = {
    ("vgg16", "cifar10"): 41.8,
    ("vgg16", "fmnist"): 35.4,
    ("vgg16", "svhn"): 37.2,
    ("resnet19", "cifar10"): 55.5,
    ("resnet19", "fmnist"): 63.8,
    ("resnet19", "svhn"): 56.1,
}
"""Section V-B-3 and Fig. 9: energy that u-Ticket saves, percent."""

ABSTRACT = {"utilization": 59.0, "latency": 76.9, "energy": 63.8}
"""Percent: lowest utilization of LTH, and the most that u-Ticket takes off latency and energy."""

EARLY_TICKETS: dict[str, tuple[float, float, float]] = {
    "imp": (91.0, 98.2, 0.66),
    "u-ticket": (90.7, 98.4, 1.00),
    "imp+early-time": (90.9, 98.2, 0.59),
    "u-ticket+early-time": (90.6, 98.3, 1.00),
}
"""Table V, VGG-16 on CIFAR10: accuracy, sparsity (percent), utilization."""

EVENTS: dict[tuple[str, str], tuple[float, float, float]] = {
    ("cifar10-dvs", "imp"): (73.3, 94.4, 0.66),
    ("cifar10-dvs", "u-ticket"): (72.8, 95.3, 1.00),
    ("n-caltech101", "imp"): (63.2, 98.2, 0.54),
    ("n-caltech101", "u-ticket"): (64.9, 97.8, 1.00),
}
"""Table VI, ResNet-19, 10 rounds of 25 %: accuracy, sparsity (percent), utilization."""

BALANCERS: dict[str, tuple[float, str, float]] = {
    "EIE": (77.0, "FIFOs", 75.0),
    "GoSPA": (62.0, "FIFOs", 70.0),
    "SparTen": (35.0, "shuffle units", 95.0),
    "Column combining": (84.0, "permute units", 90.0),
    "u-Ticket": (98.0, "not required", 100.0),
}
"""Table I: weight sparsity (percent), extra hardware, utilization (percent, median)."""

FIFO_AREA, PERMUTE_AREA = 18.0, 13.0
"""Section I and Fig. 1: percent of chip area that FIFOs, and permuting networks, take."""

PE_SHARE, SYSTEM_REDUCTION = 45.0, 19.0
"""Section V-C and Fig. 12 (b), VGG-16 on CIFAR10: percent of the total energy that the PEs take at
a sparsity of 95 %, and that balancing saves of the total."""

BREAKDOWN_SPARSITY = 95.0

ROUND_RATE = 0.25
"""Share of the living weights that a round of pruning takes."""
EVENT_ROUNDS = 10
