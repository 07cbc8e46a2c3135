"""Buffers: trees in front of many inputs, which a mapper that looks at one module does not see.

Yosys maps each block by itself and does not count what its ports meet. A net with hundreds of loads
would have a slope far outside a library's tables, and powers that are extrapolated from it.
"""

from __future__ import annotations

from dataclasses import replace

from evenspike_core.errors import EvenspikeError
from evenspike_hw.power.flat import ONE, Flat, Instance
from evenspike_hw.power.library import VARIABLES, Library

FANOUT = 8
"""Inputs of cells that a net drives, at most. Chosen: eight inputs of the default library's usual
cells are 0.1 pF, and the tables of its smallest gates end at 0.15 pF."""


def buffered(flat: Flat, library: Library, limit: int = FANOUT) -> Flat:
    """Returns the netlist with a tree of the library's smallest buffers behind each net, other than
    the clock, that drives more than `limit` inputs of cells. A buffer is in the block of the first
    input behind it.

    Raises EvenspikeError where buffers are needed and the library has none.
    """
    cells = list(flat.cells)
    sinks: dict[int, list[tuple[int, str]]] = {}
    for number, cell in enumerate(cells):
        for pin in library[cell.kind].inputs:
            if cell.pins[pin] > ONE:
                sinks.setdefault(cell.pins[pin], []).append((number, pin))
    nets = flat.nets
    for net, behind in list(sinks.items()):
        while len(behind) > limit:
            kind, gate_in, gate_out = _buffer(library)
            behind.sort(key=lambda sink: cells[sink[0]].block)
            above = []
            for first in range(0, len(behind), limit):
                group = behind[first : first + limit]
                above.append((len(cells), gate_in))
                cells.append(
                    Instance(kind, cells[group[0][0]].block, {gate_in: net, gate_out: nets})
                )
                for number, pin in group:
                    cell = cells[number]
                    cells[number] = replace(cell, pins={**cell.pins, pin: nets})
                nets += 1
            behind = above
    return replace(flat, nets=nets, cells=cells)


def _buffer(library: Library) -> tuple[str, str, str]:
    """Name, input and output of the smallest buffer."""
    found = [
        (area, name, cell.inputs[0], next(iter(cell.outputs)))
        for area, name, cell in library.gates(1)
        if list(cell.outputs.values()) == [VARIABLES[0]]
    ]
    if not found:
        raise EvenspikeError(f"Liberty file {library.file}: there is no buffer in it")
    return min(found)[1:]
