"""Flat: a mapped netlist as nets, cells and RAMs, each with the block that it is in.

The hierarchy is kept as a name: cells get short names without escapes, which every tool reads, and
the block of each is beside them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evenspike_core.errors import EvenspikeError
from evenspike_hw.power.library import Library
from evenspike_hw.synthesis.netlist import path
from evenspike_hw.synthesis.targets import MEMORY

ZERO, ONE = 0, 1
"""Nets that are constant."""


@dataclass(frozen=True)
class Instance:
    """A standard cell. block: index into `Flat.blocks`. pins: net of each pin; those of outputs
    that drive nothing have one, too.
    """

    kind: str
    block: int
    pins: dict[str, int]


@dataclass(frozen=True)
class Reader:
    """A read port of a RAM. enable: net; only a port with a clock has a use for it."""

    clocked: bool
    enable: int
    address: list[int]
    data: list[int]


@dataclass(frozen=True)
class Writer:
    """A write port of a RAM. enable: a net for each bit."""

    enable: list[int]
    address: list[int]
    data: list[int]


@dataclass(frozen=True)
class Ram:
    """A memory, which stays one. content: its words at first."""

    name: str
    block: int
    depth: int
    width: int
    readers: list[Reader]
    writers: list[Writer]
    content: list[int]


@dataclass
class Flat:
    """A part's netlist. nets: how many there are; `ZERO` and `ONE` are two of them.

    blocks: path of each block, its instances' names with a slash between them; "" is the part.
    ports: name -> nets, the low bit first. inward: names of those that are inputs.
    """

    nets: int = 2
    blocks: list[str] = field(default_factory=list)
    cells: list[Instance] = field(default_factory=list)
    rams: list[Ram] = field(default_factory=list)
    ports: dict[str, list[int]] = field(default_factory=dict)
    inward: set[str] = field(default_factory=set)


def flatten(design: Mapping[str, Any], top: str, library: Library) -> Flat:
    """Takes a design that Yosys has written as JSON apart.

    Raises EvenspikeError for a cell that is neither a module, nor the library's, nor a RAM that the
    replay knows.
    """
    return _Flattening(design["modules"], library).run(top)


class _Flattening:
    def __init__(self, modules: Mapping[str, Any], library: Library) -> None:
        self.modules, self.library = modules, library
        self.flat = Flat()
        self.same: list[int] = [ZERO, ONE]

    def run(self, top: str) -> Flat:
        flat, module = self.flat, self.modules[top]
        local = self._inside(top, "", {})
        for name, port in module["ports"].items():
            flat.ports[name] = [self._net(local, bit) for bit in port["bits"]]
            if port["direction"] == "input":
                flat.inward.add(name)
        return self._renumbered()

    def _new(self) -> int:
        self.same.append(len(self.same))
        return len(self.same) - 1

    def _root(self, net: int) -> int:
        while self.same[net] != net:
            self.same[net] = self.same[self.same[net]]
            net = self.same[net]
        return net

    def _net(self, local: dict[int, int], bit: int | str) -> int:
        if isinstance(bit, str):
            return ONE if bit == "1" else ZERO
        if bit not in local:
            local[bit] = self._new()
        return local[bit]

    def _join(self, one: int, other: int) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        self.same[high] = low  # a constant has the lowest number

    def _inside(self, name: str, block: str, outer: Mapping[str, list[int]]) -> dict[int, int]:
        """Adds all that is in an instance of a module; nets of its bits."""
        module = self.modules[name]
        local: dict[int, int] = {}
        for port, nets in outer.items():
            for bit, net in zip(module["ports"][port]["bits"], nets, strict=True):
                if isinstance(bit, int) and bit not in local:
                    local[bit] = net
                else:
                    self._join(net, self._net(local, bit))
        here = len(self.flat.blocks)
        self.flat.blocks.append(block)
        for label, cell in module["cells"].items():
            kind = cell["type"]
            pins = {
                pin: [self._net(local, bit) for bit in bits]
                for pin, bits in cell["connections"].items()
            }
            if kind == MEMORY:
                self.flat.rams.append(_ram(path(label), here, cell["parameters"], pins))
            elif kind in self.library:
                self._add(kind, here, pins)
            elif kind in self.modules:
                inner = f"{block}/{path(label)}" if block else path(label)
                self._inside(kind, inner, pins)
            else:
                raise EvenspikeError(f"{block or name}: the library has no cell for {kind}")
        return local

    def _add(self, kind: str, block: int, pins: Mapping[str, list[int]]) -> None:
        cell = self.library[kind]
        single = {pin: nets[0] for pin, nets in pins.items() if nets}
        for pin in cell.outputs:
            if pin not in single:
                single[pin] = self._new()
        self.flat.cells.append(Instance(kind, block, single))

    def _renumbered(self) -> Flat:
        """Numbers the nets anew, without those that are another one."""
        number = {ZERO: ZERO, ONE: ONE}

        def of(net: int) -> int:
            return number.setdefault(self._root(net), len(number))

        def all_of(nets: list[int]) -> list[int]:
            return [of(net) for net in nets]

        flat = self.flat
        flat.cells = [
            Instance(one.kind, one.block, {pin: of(net) for pin, net in one.pins.items()})
            for one in flat.cells
        ]
        flat.rams = [
            Ram(
                one.name,
                one.block,
                one.depth,
                one.width,
                [
                    Reader(r.clocked, of(r.enable), all_of(r.address), all_of(r.data))
                    for r in one.readers
                ],
                [Writer(*map(all_of, (w.enable, w.address, w.data))) for w in one.writers],
                one.content,
            )
            for one in flat.rams
        ]
        flat.ports = {name: all_of(nets) for name, nets in flat.ports.items()}
        flat.nets = len(number)
        return flat


def _ram(name: str, block: int, given: Mapping[str, Any], pins: Mapping[str, list[int]]) -> Ram:
    def flags(key: str, count: int) -> list[bool]:
        text = str(given[key]).replace("x", "0")
        return [bool(int(text, 2) >> n & 1) for n in range(count)]

    def number(key: str) -> int:
        return int(str(given[key]), 2)

    depth, width, bits = number("SIZE"), number("WIDTH"), number("ABITS")
    reads, writes = number("RD_PORTS"), number("WR_PORTS")
    clocked = flags("RD_CLK_ENABLE", reads)
    odd = [
        "a reset of what is read"
        if any(net != ZERO for key in ("RD_ARST", "RD_SRST") for net in pins[key])
        else "",
        "a write that is read in the same cycle"
        if "1" in str(given["RD_TRANSPARENCY_MASK"])
        else "",
        "words of several widths"
        if "1" in f"{given['RD_WIDE_CONTINUATION']}{given['WR_WIDE_CONTINUATION']}"
        else "",
        "writes without a clock" if not all(flags("WR_CLK_ENABLE", writes)) else "",
    ]
    if any(odd):
        raise EvenspikeError(f"RAM {name}: the replay knows no {next(filter(None, odd))}")

    def part(key: str, port: int, size: int) -> list[int]:
        return pins[key][port * size : (port + 1) * size]

    text = re.sub("[^01]", "0", str(given["INIT"])) if "INIT" in given else "0"
    whole = int(text or "0", 2)
    content = [whole >> width * at & (1 << width) - 1 for at in range(depth)] if whole else []
    return Ram(
        name,
        block,
        depth,
        width,
        [
            Reader(
                clocked[n], pins["RD_EN"][n], part("RD_ADDR", n, bits), part("RD_DATA", n, width)
            )
            for n in range(reads)
        ],
        [
            Writer(part("WR_EN", n, width), part("WR_ADDR", n, bits), part("WR_DATA", n, width))
            for n in range(writes)
        ],
        content,
    )
