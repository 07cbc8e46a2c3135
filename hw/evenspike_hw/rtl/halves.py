"""Halves: when a half of the scratchpads is free in every cluster."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch


class Halves(wiring.Component):
    """Joins what each cluster gives up (docs/timing.md, "Clusters").

    frees: a pulse of each cluster; the half that is occupied for longer is free in it from the next
        cycle on. A cluster is two halves ahead of another at most, since it waits for the next.
    free: a pulse, in the cycle in which the last cluster gives up the oldest half that all of them
        have, or had, occupied. Combinational from `frees`.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__({"frees": In(arch.clusters), "free": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ahead = [Signal(2, name=f"ahead{n}") for n in range(self.arch.clusters)]
        m.d.comb += self.free.eq(
            Cat((count != 0) | self.frees[n] for n, count in enumerate(ahead)).all()
        )
        m.d.sync += [count.eq(count + self.frees[n] - self.free) for n, count in enumerate(ahead)]
        return m
