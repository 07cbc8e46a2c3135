"""Ticks: the one rule by which every picture marks an axis and writes a unit.

Steps are 1, 2 or 5 times a power of ten. The numbers of an axis have one unit, which its title
names, and as many decimals as its step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

STEPS = (1.0, 2.0, 5.0)

Units = tuple[tuple[float, float, str], ...]
"""(from which value on, its size, its name), largest first; the last serves all below."""

COUNTS: Units = (
    (1e9, 1e9, "billions"),
    (1e6, 1e6, "millions"),
    (1e5, 1e3, "thousands"),
    (0.0, 1.0, ""),
)
ENERGIES: Units = ((1e9, 1e9, "mJ"), (1e6, 1e6, "µJ"), (1e3, 1e3, "nJ"), (0.0, 1.0, "pJ"))
"""Of values in pJ."""
SHARES: Units = ((0.0, 0.01, "%"),)


def round_down(value: float) -> float:
    """The largest step, times a power of ten, that is not above the positive `value`."""
    power = 10.0 ** math.floor(math.log10(value) + 1e-12)
    return max(step for step in STEPS if step * power <= value * (1 + 1e-9)) * power


def ticks(low: float, high: float, least: int = 4) -> list[float]:
    """Round values from `low` to `high`, evenly spaced: at least so many steps fit in between."""
    step = round_down((high - low) / least)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [step * (first + number) for number in range(count)]


def unit(largest: float, units: Units) -> tuple[float, str]:
    """(size, name) of the unit in which values up to `largest` are written."""
    return next((size, name) for start, size, name in units if abs(largest) >= start)


def labels(values: Sequence[float], units: Units = COUNTS) -> tuple[list[str], str]:
    """The texts of an axis's ticks, and the name of their unit.

    values: from `ticks`, or one alone.
    """
    size, name = unit(max(map(abs, values)), units)
    step = abs(values[1] - values[0]) / size if len(values) > 1 else 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value / size:,.{decimals}f}" for value in values], name
