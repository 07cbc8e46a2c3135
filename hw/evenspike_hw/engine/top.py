"""Top: the accelerator as it is simulated, with its reset behind a register."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Elaboratable,
    Fragment,
    Module,
    ResetInserter,
    Signal,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from evenspike_core.arch import Arch
from evenspike_hw.engine.elaborated import Elaborated, found
from evenspike_hw.rtl.accelerator import Accelerator
from evenspike_hw.rtl.control import Control
from evenspike_hw.rtl.repeat import Once


class SimulatedTop(wiring.Component):
    """The accelerator with the ports that its Verilog has, `clk` and `rst` among them.

    A reset reaches the accelerator one cycle after `rst`. It goes into the next value of every
    register, and Verilator works out anew, twice a cycle, all that an input of the top goes into; a
    register it looks at once.
    """

    def __init__(self, arch: Arch, more: dict[str, Any] | None = None) -> None:
        """more: further ports, of who builds on this."""
        self.accelerator = Accelerator(arch)
        super().__init__(
            {
                **dict(self.accelerator.signature.members.items()),
                "clk": In(1),
                "rst": In(1),
                **(more or {}),
            }
        )

    def core(self, reset: Signal) -> Elaboratable:
        """Returns the accelerator behind its reset."""
        return ResetInserter(reset)(self.accelerator)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        reset = Signal(init=1)
        m.d.comb += ClockSignal().eq(self.clk)
        m.d.sync += reset.eq(self.rst)
        core = Fragment.get(self.core(reset), platform)
        m.submodules.accelerator = Elaborated(core)
        if isinstance(platform, Once):
            [control] = found(core, Control)
            m.d.comb += platform.reset.eq(reset | control.reset)
        for name, member in self.accelerator.signature.members.items():
            inner, outer = getattr(self.accelerator, name), getattr(self, name)
            if member.is_signature:
                connect(m, flipped(outer), inner)
            elif member.flow is In:
                m.d.comb += inner.eq(outer)
            else:
                m.d.comb += outer.eq(inner)
        return m
