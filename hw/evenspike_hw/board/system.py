"""System: the accelerator with a memory and a UART, all that a board's top needs but its pins."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.board.bridge import Bridge
from evenspike_hw.board.memory import BoardMemory
from evenspike_hw.board.uart import UartReceiver, UartTransmitter
from evenspike_hw.rtl.accelerator import Accelerator
from evenspike_hw.rtl.registers import Register, Status


class System(wiring.Component):
    """Accelerator, board memory, bridge and UART (protocol: `evenspike_hw.board.bridge`).

    words: of the memory. divisor: cycles of a bit of the UART.
    rx, tx: of the UART. busy: the accelerator fills its table or runs. error: it has stopped at a
    layer, or one of the board's faults is set. Both are registers, for lamps: some cycles late.
    """

    def __init__(self, arch: Arch, words: int, divisor: int) -> None:
        self.arch = arch
        self.words = words
        self.divisor = divisor
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "busy": Out(1),
                "error": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = Accelerator(self.arch)
        m.submodules.memory = memory = BoardMemory(
            self.words, self.arch.memory_latency, self.arch.address_bits
        )
        m.submodules.bridge = bridge = Bridge(self.words)
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)

        wiring.connect(m, receiver.bytes, bridge.commands)
        wiring.connect(m, bridge.answers, transmitter.bytes)
        wiring.connect(m, bridge.access, memory.access)
        wiring.connect(m, bridge.registers, accelerator.registers)
        wiring.connect(m, accelerator.memory, memory.port)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            bridge.lost.eq(receiver.lost),
            bridge.beyond.eq(memory.beyond),
            bridge.word.eq(memory.word),
        ]

        # The status is on `read` whenever the bridge has not asked for something else.
        shown, stopped = Signal(), Signal()
        m.d.sync += [
            shown.eq(bridge.registers.address == Register.CONTROL),
            self.error.eq(stopped | bridge.faults.any()),
        ]
        with m.If(shown):
            m.d.sync += [
                self.busy.eq(accelerator.registers.read[Status.BUSY]),
                stopped.eq(accelerator.registers.read[Status.ERROR]),
            ]
        return m
