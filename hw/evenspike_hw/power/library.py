"""Library: what each standard cell computes, as Yosys reads its Liberty file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenspike_core.documents import read_json
from evenspike_core.errors import EvenspikeError
from evenspike_hw.synthesis import yosys

INPUTS = 6
"""Inputs of a function, at most: its table of truth is a word of 64 bits."""

ONES = (1 << (1 << INPUTS)) - 1
VARIABLES = tuple(
    sum(1 << row for row in range(1 << INPUTS) if row >> bit & 1) for bit in range(INPUTS)
)
"""Table of truth of each variable by itself."""

_GATES: dict[str, Any] = {
    "$_BUF_": lambda a: a,
    "$_NOT_": lambda a: ~a,
    "$_AND_": lambda a, b: a & b,
    "$_OR_": lambda a, b: a | b,
    "$_XOR_": lambda a, b: a ^ b,
    "$_NAND_": lambda a, b: ~(a & b),
    "$_NOR_": lambda a, b: ~(a | b),
    "$_XNOR_": lambda a, b: ~(a ^ b),
    "$_ANDNOT_": lambda a, b: a & ~b,
    "$_ORNOT_": lambda a, b: a | ~b,
    "$_MUX_": lambda a, b, s: (b & s) | (a & ~s),
}
"""What Yosys makes a Liberty file's expressions of, by their inputs A, B and S."""

_FLIP_FLOP = "$_DFF_P_"


@dataclass(frozen=True)
class Cell:
    """A standard cell.

    inputs: its data inputs. outputs: pin -> table of truth over the inputs, in their order; of a
        flip-flop over its state alone.
    clock: pin of a flip-flop's clock, whose rising edge it takes; "" for a gate. following: table
        of its next state over the inputs and, as the last variable, the state.
    """

    inputs: tuple[str, ...]
    outputs: Mapping[str, int]
    clock: str = ""
    following: int = 0


class Library:
    """The cells of a Liberty file, each worked out when it is asked for."""

    def __init__(self, modules: Mapping[str, Any], file: str) -> None:
        """modules: the file's cells as Yosys writes a design. file: its name, for errors."""
        self.file = file
        self._modules = modules
        self._cells: dict[str, Cell] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def __getitem__(self, name: str) -> Cell:
        """Raises EvenspikeError for a cell that a replay cannot compute."""
        if name not in self._cells:
            try:
                self._cells[name] = _cell(self._modules[name])
            except _OddCellError as odd:
                raise EvenspikeError(
                    f"Liberty file {self.file}: the netlist has a cell {name}, and {odd}"
                ) from odd
        return self._cells[name]

    def gates(self, inputs: int) -> Iterator[tuple[float, str, Cell]]:
        """Area, name and function of each gate of so many inputs that a replay can compute."""
        for name in self._modules:
            with contextlib.suppress(EvenspikeError):
                if len(self[name].inputs) == inputs and not self[name].clock:
                    yield float(self._modules[name]["attributes"].get("area", 0)), name, self[name]


def read(folder: Path, file: str) -> Library:
    """Reads a Liberty file that lies in `folder`; raises EvenspikeError as Yosys does."""
    yosys.run(f"read_liberty {file}\nwrite_json cells.json\n", folder, "cells")
    return Library(read_json(folder / "cells.json", "cells", dict)["modules"], file)


class _OddCellError(Exception):
    """Why a cell cannot be computed."""


def _cell(module: Mapping[str, Any]) -> Cell:
    ports = {name: (port["direction"], port["bits"][0]) for name, port in module["ports"].items()}
    outputs = [name for name, (direction, _) in ports.items() if direction == "output"]
    inner = list(module["cells"].values())
    odd = sorted({c["type"] for c in inner} - {*_GATES, _FLIP_FLOP})
    if odd:
        raise _OddCellError(f"the replay knows no {odd[0].strip('$_').lower()}")
    state = [one["connections"] for one in inner if one["type"] == _FLIP_FLOP]
    clock = _clock(state, {bit: name for name, (_, bit) in ports.items()}) if state else ""
    inputs = tuple(n for n, (direction, _) in ports.items() if direction == "input" and n != clock)
    if len(inputs) + bool(clock) > INPUTS:
        raise _OddCellError(f"it has more than {INPUTS} inputs")
    table = _Tables(
        {c["connections"]["Y"][0]: c for c in inner if c["type"] in _GATES},
        {ports[name][1]: VARIABLES[at] for at, name in enumerate(inputs)},
        {one["Q"][0] for one in state},
    )
    if not state:
        return Cell(inputs, {name: table(ports[name][1], 0) for name in outputs})
    if any(table(ports[name][1], 0) not in (0, ONES) for name in outputs):
        raise _OddCellError("an output of its flip-flop follows an input")
    found = {name: table(ports[name][1], VARIABLES[0]) for name in outputs}
    return Cell(inputs, found, clock, table(state[0]["D"][0], VARIABLES[len(inputs)]))


def _clock(state: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> str:
    """The clock pin of a cell's flip-flop. A cell has two where it has both Q and its inverse."""
    edges = {(one["C"][0], one["D"][0]) for one in state}
    if len(edges) > 1 or state[0]["C"][0] not in names:
        raise _OddCellError("its flip-flop is not one with a clock pin of its own")
    return names[state[0]["C"][0]]


@dataclass(frozen=True)
class _Tables:
    """Tables of truth inside a cell, by bit. drivers: gates. inputs: tables. own: the state."""

    drivers: Mapping[int, Any]
    inputs: Mapping[int, int]
    own: set[int]

    def __call__(self, bit: int | str, held: int) -> int:
        """The table of a bit. held: that of the state."""
        if isinstance(bit, str):
            return ONES if bit == "1" else 0
        if bit in self.own:
            return held
        if bit in self.inputs:
            return self.inputs[bit]
        if bit not in self.drivers:
            raise _OddCellError("an output of it has no function")
        gate = self.drivers[bit]
        pins = [gate["connections"][pin][0] for pin in "ABS" if pin in gate["connections"]]
        return int(_GATES[gate["type"]](*(self(pin, held) for pin in pins))) & ONES
