"""Boards: what is built for each, and the top that gives `System` its pins and its clock."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_hw.board.pll import Pll, divide
from evenspike_hw.board.system import System

BAUD = 1_000_000


@dataclass(frozen=True)
class Board:
    """A design for a board.

    device: for people. platform: module and class in amaranth-boards. target: of the synthesis.
    arch: as `evenspike_core.arch.preset` takes it; its clock is the accelerator's: the
    oscillator's, or on ECP5 what its PLL makes of it. words: 64-bit words of its memory, in block
    RAM, of which the device has `block_rams`. seeds: how many placements are tried; the fastest
    stays. options: of nextpnr.
    """

    device: str
    platform: tuple[str, str]
    target: str
    arch: str
    words: int
    block_rams: int
    seeds: int = 2
    options: str = ""

    def make_platform(self) -> Any:
        module, name = self.platform
        return getattr(importlib.import_module(f"amaranth_boards.{module}"), name)()


ULX3S = Board(
    "LFE5U-85F",
    ("ulx3s", "ULX3S_85F_Platform"),
    "ecp5",
    "packed,pes=4,spike_entries=5120,table_words=256,clock_mhz=37.5",
    words=29696,
    block_rams=208,
    seeds=1,
)

BOARDS = {
    "ulx3s-85f": ULX3S,
    # Twice the PEs, for kernels of 3x3 at most.
    "ulx3s-85f-8pe": replace(
        ULX3S,
        arch="packed,pes=8,issue=1,spike_entries=4096,table_words=256,kernel_max=3,clock_mhz=37.5",
        words=27392,
    ),
    "ice40-hx8k": Board(
        "iCE40HX8K",
        ("ice40_hx8k_b_evn", "ICE40HX8KBEVNPlatform"),
        "ice40",
        "packed,pes=1,timesteps=1,issue=1,accumulators=8,scratchpad_words=256,header_words=32,"
        "chunk_blocks=8,fifo_depth=1,match_depth=1,address_bits=8,memory_latency=1,stream_depth=1,"
        "spike_entries=128,row_entries=1,table_words=64,kernel_max=3,clock_mhz=12",
        words=256,
        block_rams=32,
    ),
}


def board(name: str) -> Board:
    """Returns the board of this name; raises EvenspikeError, which lists them, for another name."""
    if name not in BOARDS:
        raise EvenspikeError(f"unknown board {name!r}; there are: {', '.join(BOARDS)}")
    return BOARDS[name]


class Top(Elaboratable):
    """`System` on a board: UART, and two lamps, busy and error.

    words: of its memory. Raises EvenspikeError for a clock that the board cannot make.
    """

    def __init__(self, arch: Arch, words: int) -> None:
        self.arch = arch
        self.words = words

    def elaborate(self, platform: Any) -> Module:
        pll = self._pll(platform)
        m = Module()
        if pll is not None:
            self._multiply(m, platform, pll)
        divisor = round(self.arch.clock_mhz * 1e6 / BAUD)
        m.submodules.system = system = System(self.arch, self.words, divisor)
        pins = platform.request("uart", dir={"rx": "-", "tx": "-", **self._others(platform)})
        m.submodules.rx = rx = io.Buffer("i", pins.rx)
        m.submodules.tx = tx = io.Buffer("o", pins.tx)
        m.d.comb += [system.rx.eq(rx.i), tx.o.eq(system.tx)]
        for number, lamp in enumerate((system.busy, system.error)):
            led = io.Buffer("o", platform.request("led", number, dir="-"))
            m.submodules[f"led{number}"] = led
            m.d.comb += led.o.eq(lamp)
        return m

    def _others(self, platform: Any) -> dict[str, str]:
        """Returns the UART's pins for flow control as not to be requested: they stay unused."""
        pins = {part.name for part in platform.lookup("uart").ios}
        return dict.fromkeys(pins - {"rx", "tx"}, "-")

    def _pll(self, platform: Any) -> Pll | None:
        """Returns what makes the accelerator's clock; None where that is the oscillator's."""
        clock, oscillator = self.arch.clock_mhz, platform.default_clk_frequency / 1e6
        if clock == oscillator:
            return None
        if getattr(platform, "family", "") != "ecp5":
            raise EvenspikeError(
                f"Arch clock_mhz is {clock:g}; the board has {oscillator:g} MHz and no PLL"
            )
        divide(oscillator, clock)  # its error, before anything is begun
        return Pll(oscillator, clock)

    def _multiply(self, m: Module, platform: Any, pll: Pll) -> None:
        """Makes the domain `sync` from a PLL; it is in reset until the PLL has locked."""
        pin = io.Buffer("i", platform.request(platform.default_clk, dir="-"))
        m.submodules.clock_pin, m.submodules.pll = pin, pll
        m.domains.sync = ClockDomain()
        m.d.comb += [pll.reference.eq(pin.i), ClockSignal().eq(pll.clock)]
        m.submodules.reset = ResetSynchronizer(~pll.locked)
