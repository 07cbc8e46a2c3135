"""Watched: the simulated top with the ports of its parts as a port of its own.

What a part gets and gives in every cycle of a run is what its netlist is replayed with
(`evenspike_hw.power`). The accelerator itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Elaboratable, Fragment, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_hw.engine.elaborated import Elaborated, found
from evenspike_hw.engine.top import SimulatedTop
from evenspike_hw.rtl.accelerator import Accelerator
from evenspike_hw.rtl.apu import Apu
from evenspike_hw.rtl.control import Control
from evenspike_hw.rtl.pe.pe import Pe

PARTS: dict[str, type[wiring.Component]] = {"pe": Pe, "apu": Apu, "top": Accelerator}
"""What can be watched. All but the top itself are reset with the core (`Accelerator`)."""

WORD = 32
"""Bits of a word of the record."""
RESET = "rst"


@dataclass(frozen=True)
class Port:
    """A port of the part, by its name in Verilog. at: its first bit in the part's words."""

    name: str
    width: int
    at: int
    inward: bool


@dataclass(frozen=True)
class Boundary:
    """Ports of a part, with its reset in front. words: that they take. count: such parts. first:
    word of the first of them in `WatchedTop.watch`.
    """

    ports: tuple[Port, ...]
    words: int
    count: int
    first: int


def boundary(arch: Arch, part: str) -> Boundary:
    """What is recorded of a part; raises EvenspikeError, which lists them, for an unknown one, and
    for several clusters.
    """
    if part not in PARTS:
        raise EvenspikeError(f"unknown part {part!r}; those with power are: {', '.join(PARTS)}")
    if arch.clusters > 1:
        raise EvenspikeError(
            f"Arch clusters is {arch.clusters}; power is measured in a machine of 1, whose parts "
            "are those of any"
        )
    first = 0
    for name in PARTS:
        ports, count = _ports(arch, name), arch.pes if name == "pe" else 1
        words = -(-(ports[-1].at + ports[-1].width) // WORD)
        if name == part:
            break
        first += count * words
    return Boundary(ports, words, count, first)


def _ports(arch: Arch, part: str) -> tuple[Port, ...]:
    component = PARTS[part](arch)
    component._MustUse__used = True  # noqa: SLF001  (only its ports are asked for)
    ports, at = [Port(RESET, 1, 0, inward=True)], 1
    for name, value, inward in _members(component):
        ports.append(Port(name, len(value), at, inward))
        at += len(value)
    return tuple(ports)


def _members(component: wiring.Component) -> Iterator[tuple[str, Value, bool]]:
    for path, member, value in component.signature.flatten(component):
        yield "__".join(map(str, path)), Value.cast(value), member.flow is wiring.In


class WatchedTop(SimulatedTop):
    """watch: for each of the parts the bits of its `Boundary`, padded to whole words."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        of = [boundary(arch, part) for part in PARTS]
        super().__init__(arch, {"watch": Out(WORD * sum(one.words * one.count for one in of))})

    def core(self, reset: Signal) -> Elaboratable:
        """Returns the accelerator, from whose inside `watch` is wired."""
        return _Opened(self, Fragment.get(super().core(reset), None), reset)


class _Opened(Elaboratable):
    """The accelerator and the wires out of it. Whose part comes first in the hierarchy is first."""

    def __init__(self, top: WatchedTop, core: Fragment, reset: Signal) -> None:
        self.top, self.core, self.reset = top, core, reset

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.accelerator = Elaborated(self.core)
        [control] = found(self.core, Control)
        bits: list[Any] = []
        for name, kind in PARTS.items():
            words = boundary(self.top.arch, name).words
            reset: Any = self.reset if kind is Accelerator else self.reset | control.reset
            for part in found(self.core, kind):
                values = [value for _, value, _ in _members(part)]
                padding = WORD * words - 1 - sum(map(len, values))
                bits += [reset, *values, Const(0, padding)]
        m.d.comb += self.top.watch.eq(Cat(*bits))
        return m
