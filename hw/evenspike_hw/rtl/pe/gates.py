"""Gates: the AND gates of a PE."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import WEIGHT_BITS


class Gates(wiring.Component):
    """One weight meets the spikes of all timesteps of a neuron (u-Ticket section IV-B).

    weight: signed. mask: bit t = a spike at timestep t.
    addends: for each timestep the weight, or 0 without a spike.

    Combinational: no latency, one weight a cycle (docs/timing.md, "Selector, gates and
    accumulators").
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__(
            {
                "weight": In(signed(WEIGHT_BITS)),
                "mask": In(arch.timesteps),
                "addends": Out(data.ArrayLayout(signed(WEIGHT_BITS), arch.timesteps)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for time in range(self.arch.timesteps):
            m.d.comb += self.addends[time].eq(Mux(self.mask[time], self.weight, 0))
        return m
