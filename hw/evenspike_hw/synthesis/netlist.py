"""Netlist: RTLIL of a part as the synthesis takes it, with one module for all that are the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Fragment, Shape
from amaranth.hdl._mem import MemoryInstance
from amaranth.lib import wiring

from evenspike_hw.modules import MODULE, merge

_CELL = re.compile(r"^ *cell \\(\S+) (\\\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class DeclaredMemory:
    """A memory of the RTL. block: path of the module that holds it, from the part on; ports: reads
    and writes in a cycle. clocked: it is read with a clock, as a block RAM is.
    """

    block: str
    name: str
    depth: int
    width: int
    reads: int
    writes: int
    clocked: bool = True

    @property
    def bits(self) -> int:
        return self.depth * self.width


@dataclass(frozen=True)
class Netlist:
    """text: RTLIL whose top module is `top`. memories: those of each module, once."""

    top: str
    text: str
    memories: tuple[DeclaredMemory, ...]

    @property
    def instances(self) -> dict[str, dict[str, list[str]]]:
        """For each module: the modules that it is made of, and the names of their instances."""
        found: dict[str, dict[str, list[str]]] = {}
        for module in MODULE.finditer(self.text):
            inner = found.setdefault(module["name"].removeprefix("\\"), {})
            for kind, name in _CELL.findall(module["body"]):
                inner.setdefault(kind, []).append(path(name))
        return found


def netlist(component: wiring.Component, top: str) -> Netlist:
    """Converts a component to RTLIL; the same component gives the same text.

    Amaranth writes a module for each instance. Those that are the same but for their names become
    one, so that sixteen PEs are synthesised once, and are counted sixteen times.
    """
    memories = list(_declared(Fragment.get(component, None), top))
    text, names = merge(rtlil.convert(component, name=top, emit_src=False))
    kept = set(map(path, names))
    return Netlist(top, text, tuple(memory for memory in memories if memory.block in kept))


def path(module: str) -> str:
    """A module's path in the design: Amaranth numbers a name that a signal has, too."""
    return re.sub(r"\$\d+(?=\.|$)", "", module.removeprefix("\\"))


def _declared(fragment: Any, path: str) -> Iterator[DeclaredMemory]:
    for number, (inner, name, *_) in enumerate(fragment.subfragments):
        if isinstance(inner, MemoryInstance):
            data = inner._data  # noqa: SLF001  (Amaranth has no other way to ask)
            yield DeclaredMemory(
                path,
                name or data.name,
                data.depth,
                Shape.cast(data.shape).width,
                len(inner._read_ports),  # noqa: SLF001
                len(inner._write_ports),  # noqa: SLF001
                all(port._domain != "comb" for port in inner._read_ports),  # noqa: SLF001
            )
        else:
            yield from _declared(inner, f"{path}.{name or f'U${number}'}")
