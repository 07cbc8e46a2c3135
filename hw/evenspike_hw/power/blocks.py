"""Blocks: the power of a part, block by block, out of what its nets did and what its cells take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_hw.power.flat import Flat
from evenspike_hw.power.library import Library
from evenspike_hw.power.opensta import Energies
from evenspike_hw.power.replay import Activity

F64 = npt.NDArray[np.float64]

TOLERANCE = 0.01
"""By how much the sum over the blocks may differ from what OpenSTA says of the whole."""


@dataclass(frozen=True)
class Block:
    """A block without the blocks in it, over some cycles.

    path: instances with a slash between them; "" is the part. cells, flip_flops: how many it has.
    clock: J a cycle, inside flip-flops, whatever they do. data: J a cycle, inside cells, for what
    changes. switching: J a cycle, for the nets' loads. clock_pins: J a cycle, for the load of the
    flip-flops' clock pins, which is not in the other three. leakage: W. toggles: changes of its
    cells' outputs a cycle.
    """

    path: str
    cells: int
    flip_flops: int
    clock: float
    data: float
    switching: float
    clock_pins: float
    leakage: float
    toggles: float

    @property
    def internal(self) -> float:
        """J a cycle inside cells."""
        return self.clock + self.data

    @property
    def dynamic(self) -> float:
        """J a cycle, as OpenSTA counts it: internal and switching."""
        return self.internal + self.switching


def blocks(
    flat: Flat,
    library: Library,
    energies: Energies,
    activity: Activity,
    kinds: Sequence[int] | None = None,
) -> list[Block]:
    """Each block in the cycles of these kinds, of all without.

    What a cell with several outputs takes is charged by the mean of their changes, and what its
    inputs take by the mean of theirs.

    Raises EvenspikeError where the cells do not add up to OpenSTA's whole, and without a cycle.
    """
    if energies.apart > TOLERANCE:
        raise EvenspikeError(
            f"OpenSTA: its cells together take {energies.apart:.1%} more or less than the whole"
        )
    chosen = list(range(activity.cycles.size)) if kinds is None else list(kinds)
    cycles = int(activity.cycles[chosen].sum())
    if not cycles:
        raise EvenspikeError("no cycle of these kinds was counted")
    rates = activity.toggles[chosen].sum(axis=0) / cycles
    leaving = _means(flat, rates, [tuple(library[cell.kind].outputs) for cell in flat.cells])
    coming = _means(flat, rates, [library[cell.kind].inputs for cell in flat.cells])
    outputs = np.array([len(library[cell.kind].outputs) for cell in flat.cells])
    flops = np.array([bool(library[cell.kind].clock) for cell in flat.cells])
    block = np.array([cell.block for cell in flat.cells], np.int64)

    def sums(values: npt.NDArray[np.generic]) -> F64:
        return np.bincount(block, values.astype(np.float64), len(flat.blocks)).astype(np.float64)

    columns = (
        np.ones(len(flat.cells)),
        flops,
        energies.clock,
        energies.inputs * coming + energies.inside * leaving,
        energies.loads * leaving,
        energies.pins,
        energies.leakage,
        leaving * outputs,
    )
    table = np.stack([sums(column) for column in columns], axis=1)
    return [
        Block(path, int(row[0]), int(row[1]), *map(float, row[2:]))
        for path, row in zip(flat.blocks, table, strict=True)
    ]


def _means(flat: Flat, rates: F64, pins: Sequence[Sequence[str]]) -> F64:
    """Mean rate of some pins of each cell; 0 without one."""
    counts = np.array([len(names) for names in pins])
    nets = np.array(
        [cell.pins[name] for cell, names in zip(flat.cells, pins, strict=True) for name in names],
        np.int64,
    )
    cell = np.repeat(np.arange(len(pins)), counts)
    sums = np.bincount(cell, rates[nets], len(pins)).astype(np.float64)
    return sums / np.maximum(counts, 1)
