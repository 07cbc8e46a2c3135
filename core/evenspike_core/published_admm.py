"""What the ADMM paper states of LeNet-5 on MNIST, to stand beside what was measured.

*Comprehensive SNN Compression Using ADMM Optimization and Activity Regularization*, Tables II to
VII, T = 10. A point is (sparsity, bits, lambda): 0 bits are 32-bit floating point, a sparsity or a
lambda of 0 is none.
"""

from __future__ import annotations

from dataclasses import dataclass

Point = tuple[float, int, float]


@dataclass(frozen=True)
class Stated:
    """One row: percent correct, the mean firing rate, R_ops in percent; None where not stated."""

    accuracy: float
    rate: float | None = None
    operations: float | None = None


DENSE: Point = (0.0, 0, 0.0)
"""The point that is not compressed."""

PRUNING: dict[Point, Stated] = {
    DENSE: Stated(99.07),
    (0.25, 0, 0.0): Stated(99.19),
    (0.40, 0, 0.0): Stated(99.08),
    (0.50, 0, 0.0): Stated(99.10),
    (0.60, 0, 0.0): Stated(98.64),
    (0.75, 0, 0.0): Stated(96.84),
}
"""Table II."""

QUANTISATION: dict[Point, Stated] = {
    DENSE: Stated(99.07),
    (0.0, 4, 0.0): Stated(99.10),
    (0.0, 3, 0.0): Stated(99.04),
    (0.0, 2, 0.0): Stated(98.93),
    (0.0, 1, 0.0): Stated(98.85),
}
"""Table III."""

ACTIVITY: dict[Point, Stated] = {
    DENSE: Stated(99.07, 0.22),
    (0.0, 0, 0.001): Stated(99.22, 0.19),
    (0.0, 0, 0.01): Stated(99.11, 0.12),
    (0.0, 0, 0.1): Stated(98.54, 0.06),
}
"""Table IV."""

TWO: dict[Point, Stated] = {
    DENSE: Stated(99.07, 0.32, 100.0),
    (0.25, 0, 0.001): Stated(99.11, 0.19, 43.14),
    (0.50, 0, 0.001): Stated(98.97, 0.18, 28.30),
    (0.75, 0, 0.001): Stated(95.30, 0.15, 11.74),
    (0.25, 0, 0.01): Stated(99.22, 0.12, 27.52),
    (0.50, 0, 0.01): Stated(99.13, 0.12, 18.19),
    (0.75, 0, 0.01): Stated(95.39, 0.09, 7.15),
    (0.25, 0, 0.1): Stated(98.70, 0.06, 13.52),
    (0.50, 0, 0.1): Stated(98.89, 0.06, 8.71),
    (0.75, 0, 0.1): Stated(95.49, 0.06, 4.51),
    (0.0, 3, 0.001): Stated(98.65, 0.21, 5.98),
    (0.0, 2, 0.001): Stated(98.83, 0.22, 4.18),
    (0.0, 1, 0.001): Stated(98.33, 0.20, 1.94),
    (0.0, 3, 0.01): Stated(98.92, 0.13, 3.73),
    (0.0, 2, 0.01): Stated(98.72, 0.12, 2.41),
    (0.0, 1, 0.01): Stated(98.44, 0.12, 1.19),
    (0.0, 3, 0.1): Stated(98.81, 0.06, 1.72),
    (0.0, 2, 0.1): Stated(96.68, 0.07, 1.34),
    (0.0, 1, 0.1): Stated(82.25, 0.05, 0.48),
    (0.25, 3, 0.0): Stated(98.59, 0.29, 6.32),
    (0.25, 2, 0.0): Stated(98.75, 0.26, 3.76),
    (0.25, 1, 0.0): Stated(98.64, 0.22, 1.63),
    (0.50, 3, 0.0): Stated(98.27, 0.29, 4.26),
    (0.50, 2, 0.0): Stated(98.53, 0.29, 2.81),
    (0.50, 1, 0.0): Stated(96.25, 0.22, 1.07),
    (0.75, 3, 0.0): Stated(97.13, 0.25, 1.84),
    (0.75, 2, 0.0): Stated(97.01, 0.21, 1.02),
    (0.75, 1, 0.0): Stated(93.52, 0.18, 0.45),
}
"""Table V."""

THREE: dict[Point, Stated] = {
    DENSE: Stated(99.07, 0.33, 100.0),
    (0.25, 3, 0.001): Stated(98.97, 0.19, 4.06),
    (0.25, 1, 0.001): Stated(99.04, 0.19, 1.34),
    (0.75, 3, 0.001): Stated(97.25, 0.16, 1.16),
    (0.75, 1, 0.001): Stated(97.16, 0.17, 0.41),
    (0.25, 3, 0.01): Stated(99.11, 0.12, 2.61),
    (0.25, 1, 0.01): Stated(98.81, 0.13, 0.91),
    (0.75, 3, 0.01): Stated(94.92, 0.11, 0.75),
    (0.75, 1, 0.01): Stated(94.56, 0.11, 0.25),
    (0.25, 3, 0.1): Stated(98.25, 0.06, 1.29),
    (0.25, 1, 0.1): Stated(88.14, 0.05, 0.36),
    (0.75, 3, 0.1): Stated(94.54, 0.07, 0.49),
    (0.75, 1, 0.1): Stated(74.98, 0.06, 0.13),
}
"""Table VI, its rows of MNIST."""

HARD: dict[Point, tuple[float, float]] = {
    (0.50, 0, 0.0): (88.98, 89.15),
    (0.75, 0, 0.0): (87.00, 87.38),
    (0.90, 0, 0.0): (77.90, 85.68),
    (0.0, 3, 0.0): (88.98, 89.32),
    (0.0, 2, 0.0): (88.78, 89.23),
    (0.0, 1, 0.0): (88.63, 89.01),
    (0.75, 3, 0.0): (80.30, 87.27),
    (0.90, 3, 0.0): (75.47, 83.35),
    (0.75, 1, 0.0): (78.85, 86.71),
}
"""Table VII, which is on CIFAR10: percent correct of hard compression, and of ADMM."""
