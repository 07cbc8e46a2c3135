"""Pll: a multiple of a board's oscillator, on ECP5."""

from __future__ import annotations

from amaranth.hdl import Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.errors import EvenspikeError

VCO_MHZ = 600
"""What the PLL's own oscillator comes near to; it runs at 400 to 800 MHz."""

LOWEST, HIGHEST = 10, 200
"""MHz of a clock for which that is so, and that any design here can use."""

COMPARED_MHZ = 10
"""Clocks slower than this are not compared: the reference is divided to no less."""


def divide(reference_mhz: float, clock_mhz: float) -> int:
    """Returns what the reference is divided by, so that the clock is a multiple of it.

    Raises EvenspikeError for a clock that the PLL does not make.
    """
    parts = int(reference_mhz / COMPARED_MHZ)
    fits = (n for n in range(1, parts + 1) if (clock_mhz * n / reference_mhz).is_integer())
    divisor = next(fits, 0)
    if not divisor or not LOWEST <= clock_mhz <= HIGHEST:
        raise EvenspikeError(
            f"Arch clock_mhz is {clock_mhz:g}; the PLL makes {LOWEST} to {HIGHEST}, multiples of "
            f"{reference_mhz:g} / 1 to {parts}"
        )
    return divisor


class Pll(wiring.Component):
    """The ECP5's PLL (EHXPLLL) with its first output only, fed back.

    reference: a clock of `reference_mhz`. clock: one of `clock_mhz`. locked: it is stable.
    The clock is one that `divide` takes.
    """

    def __init__(self, reference_mhz: float, clock_mhz: float) -> None:
        self.reference_mhz = reference_mhz
        self.clock_mhz = clock_mhz
        self.divisor = divide(reference_mhz, clock_mhz)
        super().__init__({"reference": In(1), "clock": Out(1), "locked": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clock_mhz = self.clock_mhz
        divider = round(VCO_MHZ / clock_mhz)
        clock = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.reference_mhz:g}",
            a_FREQUENCY_PIN_CLKOP=f"{clock_mhz:g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            p_CLKI_DIV=self.divisor,
            p_CLKFB_DIV=round(clock_mhz * self.divisor / self.reference_mhz),
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
