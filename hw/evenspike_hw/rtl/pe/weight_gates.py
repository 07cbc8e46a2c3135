"""Weight gates: the AND gates of a PE, four weights of one timestep."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import GATE_WEIGHTS, Arch
from evenspike_hw.rtl.layouts import WEIGHT_BITS


class WeightGates(wiring.Component):
    """Four weights meet the spike of one timestep (u-Ticket section IV-B).

    weights: signed. spike: of the activation that all of them belong to.
    addends: the weights, or 0 without a spike.

    Combinational: no latency, four weights a cycle (docs/timing.md, "Gates that are weights").
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        weights = data.ArrayLayout(signed(WEIGHT_BITS), GATE_WEIGHTS)
        super().__init__({"weights": In(weights), "spike": In(1), "addends": Out(weights)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for number in range(GATE_WEIGHTS):
            m.d.comb += self.addends[number].eq(Mux(self.spike, self.weights[number], 0))
        return m
