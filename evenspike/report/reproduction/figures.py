"""All figures of the page, in the order of the paper."""

from __future__ import annotations

from collections.abc import Callable

from evenspike.report.reproduction.breakdown import breakdown
from evenspike.report.reproduction.consistency import consistency
from evenspike.report.reproduction.energy import energy
from evenspike.report.reproduction.layers import layers
from evenspike.report.reproduction.parts import RULES, Data
from evenspike.report.reproduction.rounds import rounds
from evenspike.report.reproduction.scaling import scaling
from evenspike.report.reproduction.system import ARCH as LADDER_ARCH
from evenspike.report.reproduction.system import system
from evenspike.report.reproduction.table1 import table1
from evenspike.report.reproduction.table3 import table3
from evenspike.report.reproduction.table4 import table4

FIGURES: tuple[Callable[[Data], Data], ...] = (
    consistency,
    table1,
    rounds,
    table3,
    table4,
    layers,
    energy,
    scaling,
    breakdown,
    system,
)


def made(record: Data) -> list[Data]:
    """Every figure of a record."""
    return [one(record) for one in FIGURES]


__all__ = ["FIGURES", "LADDER_ARCH", "RULES", "made"]
