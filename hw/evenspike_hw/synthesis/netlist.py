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

_MODULE = re.compile(
    r"^(?P<attributes>(?:attribute [^\n]*\n)*)module (?P<name>\\\S+)$(?P<body>.*?)^end$",
    re.MULTILINE | re.DOTALL,
)
_CELL = re.compile(r"^ *cell \\(\S+) (\\\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class DeclaredMemory:
    """A memory of the RTL. block: path of the module that holds it, from the part on; ports: reads
    and writes in a cycle.
    """

    block: str
    name: str
    depth: int
    width: int
    reads: int
    writes: int

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
        for module in _MODULE.finditer(self.text):
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
    text, kept = _merge(rtlil.convert(component, name=top, emit_src=False))
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
            )
        else:
            yield from _declared(inner, f"{path}.{name or f'U${number}'}")


def _merge(text: str) -> tuple[str, set[str]]:
    """The text with equal modules merged, and the names of the modules that are left."""
    bodies = {m["name"]: m["body"] for m in _MODULE.finditer(text)}
    first: dict[str, str] = {}  # body -> the module that stands for all with it
    instead: dict[str, str] = {}

    def canonical(name: str) -> str:
        if name not in instead:
            body = re.sub(
                r"^(\s*cell )(\\\S+)( )",
                lambda m: m[1] + (canonical(m[2]) if m[2] in bodies else m[2]) + m[3],
                bodies[name],
                flags=re.MULTILINE,
            )
            instead[name] = first.setdefault(body, name)
            bodies[name] = body
        return instead[name]

    for name in list(bodies):
        canonical(name)

    def keep(match: re.Match[str]) -> str:
        name = match["name"]
        if instead[name] != name:
            return ""
        return f"{match['attributes']}module {name}{bodies[name]}end"

    kept = {path(name) for name in instead if instead[name] == name}
    return _MODULE.sub(keep, text), kept
