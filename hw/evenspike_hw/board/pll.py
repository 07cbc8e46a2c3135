"""Pll: a multiple of a board's oscillator, on ECP5."""

from __future__ import annotations

from amaranth.hdl import Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

VCO_MHZ = 600
"""Of the PLL's own oscillator, which runs at 400 to 800 MHz."""


class Pll(wiring.Component):
    """The ECP5's PLL (EHXPLLL) with its first output only, fed back.

    reference: a clock of `reference_mhz`. clock: `factor` times as fast. locked: it is stable.
    """

    def __init__(self, reference_mhz: float, factor: int) -> None:
        self.reference_mhz = reference_mhz
        self.factor = factor
        super().__init__({"reference": In(1), "clock": Out(1), "locked": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clock_mhz = self.reference_mhz * self.factor
        divider = round(VCO_MHZ / clock_mhz)
        clock = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.reference_mhz:g}",
            a_FREQUENCY_PIN_CLKOP=f"{clock_mhz:g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            p_CLKI_DIV=1,
            p_CLKFB_DIV=self.factor,
            p_CLKOP_DIV=divider,
            p_CLKOP_CPHASE=divider - 1,
            p_CLKOP_FPHASE=0,
            p_CLKOP_ENABLE="ENABLED",
            p_FEEDBK_PATH="CLKOP",
            p_OUTDIVIDER_MUXA="DIVA",
            p_PLLRST_ENA="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_INTFB_WAKE="DISABLED",
            i_CLKI=self.reference,
            i_CLKFB=clock,
            o_CLKOP=clock,
            o_LOCK=self.locked,
            i_RST=0,
            i_STDBY=0,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=1,
            i_PHASESTEP=1,
            i_PHASELOADREG=1,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
        )
        m.d.comb += self.clock.eq(clock)
        return m
