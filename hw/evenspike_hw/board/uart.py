"""UART: bytes over one wire in each direction, eight data bits, no parity, one stop bit."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

BYTE = 8
DIVISOR_MIN = 4
"""Cycles of a bit below which its middle is not told from its edges."""


def _checked(divisor: int) -> int:
    if divisor < DIVISOR_MIN:
        raise ValueError(f"UART divisor is {divisor}, possible are {DIVISOR_MIN} and more")
    return divisor


class UartReceiver(wiring.Component):
    """Takes bytes off a line: a start bit, the byte from its low bit on, a stop bit.

    divisor: cycles of a bit.
    rx: of any clock, high when idle; two flops delay it, and what follows counts behind them.
    bytes: a byte that has come, until it is taken.
    lost: pulse; a byte is dropped, since its stop bit was low or the one before it was not taken.

    The first low cycle s begins a start bit. Bit n (0: start, 9: stop) is looked at in cycle
    s + divisor // 2 + n * divisor; with the line high at n = 0 it was none. The byte is on `bytes`
    in the cycle after its stop bit was looked at, and the next start bit may begin in that cycle,
    half a bit early. From 16 cycles a bit on, the other side's clock may be 4 % off. After a low
    stop bit the line has to become high first. No back-pressure on the line; one byte waits.
    """

    def __init__(self, divisor: int) -> None:
        self.divisor = _checked(divisor)
        super().__init__(
            {
                "rx": In(1, init=1),
                "bytes": Out(stream.Signature(BYTE)),
                "lost": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        # In a reset it is idle, too: what was on the line before must not look like a start bit.
        m.submodules.synchroniser = FFSynchronizer(self.rx, line, init=1, reset_less=False)
        timer = Signal(range(self.divisor))
        left = Signal(range(BYTE + 2))  # bits to look at behind this one
        shift = Signal(BYTE, reset_less=True)
        arrived = Signal()
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [timer.eq(self.divisor // 2 - 1), left.eq(BYTE + 1)]
                with m.If(~line):
                    m.next = "BITS"
            with m.State("BITS"), m.If(timer == 0):
                m.d.sync += [timer.eq(self.divisor - 1), left.eq(left - 1)]
                with m.If(left == 0):
                    m.d.comb += [arrived.eq(line), self.lost.eq(~line)]
                    m.next = "BREAK"
                    with m.If(line):
                        m.next = "IDLE"
                with m.Elif(left == BYTE + 1), m.If(line):
                    m.next = "IDLE"
                with m.Else():
                    m.d.sync += shift.eq(Cat(shift[1:], line))
            with m.State("BREAK"), m.If(line):
                m.next = "IDLE"
        with m.If(self.bytes.ready):
            m.d.sync += self.bytes.valid.eq(0)
        with m.If(arrived):
            with m.If(self.bytes.valid & ~self.bytes.ready):
                m.d.comb += self.lost.eq(1)
            with m.Else():
                m.d.sync += [self.bytes.valid.eq(1), self.bytes.payload.eq(shift)]
        return m


class UartTransmitter(wiring.Component):
    """Puts bytes on a line: a start bit, the byte from its low bit on, a stop bit.

    divisor: cycles of a bit. bytes: to be sent. tx: high when idle; a register.

    A byte taken in cycle c is on the line in c + 1 ... c + 10 * divisor; the next is taken in
    c + 10 * divisor at the earliest, and then follows without a gap.
    """

    def __init__(self, divisor: int) -> None:
        self.divisor = _checked(divisor)
        super().__init__({"bytes": In(stream.Signature(BYTE)), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timer = Signal(range(self.divisor))
        left = Signal(range(BYTE + 2))  # bits behind the one that is on the line
        shift = Signal(BYTE, reset_less=True)
        m.d.comb += self.bytes.ready.eq((left == 0) & (timer == 0))
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(left != 0):
            # What is shifted in behind the byte is its stop bit.
            m.d.sync += [
                Cat(self.tx, shift).eq(Cat(shift, Const(1, 1))),
                left.eq(left - 1),
                timer.eq(self.divisor - 1),
            ]
        with m.Elif(self.bytes.valid):
            m.d.sync += [
                Cat(self.tx, shift).eq(Cat(Const(0, 1), self.bytes.payload)),
                left.eq(BYTE + 1),
                timer.eq(self.divisor - 1),
            ]
        return m
