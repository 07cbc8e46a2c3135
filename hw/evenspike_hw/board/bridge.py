"""Bridge: commands of the host, as bytes, to the board's memory and the accelerator's registers.

A command is an opcode and what follows it; every number is little-endian. The host sends the next
one when it has the answer to the one before. Addresses count 64-bit words.

    opcode               what follows                                      answer
    0  no operation                                                        none
    1  write memory      address (4), n (1), n + 1 words (8 each)          06
    2  read memory       address (4), n (1)                                06, n + 1 words (8 each)
    3  write register    register (1), value (4)                           06
    4  read register     register (1)                                      06, value (4)
    any other                                                              15

Registers 0 to 15 are the accelerator's (`registers.Register`; those that it does not have read 0),
16 is the board's (`BoardStatus`). Any other is answered with 15 alone when the command is complete.
Answer 15 means that nothing has changed.

While the accelerator runs it ignores writes of its registers, and a command that uses the memory
waits for a cycle in which the accelerator does not. Words that the memory does not have read as
zero and are not written, and BEYOND tells it.

If a byte is lost, a command stays incomplete and no answer comes: 5 + 8 * 256 bytes 0 complete any
command (a write then ends in zeros) and are no operations from there on.
"""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenspike_hw.board.memory import access
from evenspike_hw.board.uart import BYTE
from evenspike_hw.rtl.layouts import WORD_BITS
from evenspike_hw.rtl.registers import BUS, REGISTER_BITS, Register

ACKNOWLEDGED, REFUSED = 0x06, 0x15
"""First byte of an answer."""

BURST = 256
"""Words of one command, at most."""

LONGEST = 5 + 8 * BURST
"""Bytes that follow an opcode, at most."""

BOARD = 16
"""Number of the board's register."""

FAULTS = 2


class Opcode(IntEnum):
    """First byte of a command."""

    NOTHING = 0
    WRITE_MEMORY = 1
    READ_MEMORY = 2
    WRITE_REGISTER = 3
    READ_REGISTER = 4


class BoardStatus(IntEnum):
    """Bits of the board's register. Written: each 1 in the bits of the faults clears that one."""

    BEYOND = 0
    """the accelerator or the host has used an address that the memory does not have"""
    LOST = 1
    """the UART has dropped a byte of the host"""
    WORDS = 8
    """from this bit on: words of the memory"""


class Bridge(wiring.Component):
    """Takes commands, byte by byte, and answers them; the protocol is this module's docstring.

    words: of the memory.
    commands, answers: bytes from and to the host.
    bus, read: of the accelerator's registers. The address is that of CONTROL in all cycles but
        those of a command's register, so that the status is on `read` else.
    access, word: of the memory (`memory.BoardMemory`).
    beyond, lost: pulses, what `BoardStatus` tells. faults: their bits in it, from the cycle after.

    Takes a byte a cycle, and none from a command's last byte to the end of its answer or while a
    word is being written. Behind the last byte of what follows the opcode: a cycle that looks at
    it, one more for a register that is read; then the answer, a byte a cycle. Each word takes one
    cycle to write, two to read (more if `access` is not ready), besides its bytes.
    """

    def __init__(self, words: int) -> None:
        self.words = words
        super().__init__(
            {
                "commands": In(stream.Signature(BYTE)),
                "answers": Out(stream.Signature(BYTE)),
                "bus": Out(BUS),
                "read": In(REGISTER_BITS),
                "access": Out(stream.Signature(access(words))),
                "word": In(WORD_BITS),
                "beyond": In(1),
                "lost": In(1),
                "faults": Out(FAULTS),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: PLR0915  (one state machine)
        m = Module()
        commands, answers = self.commands, self.answers
        opcode = Signal(3, reset_less=True)
        refused = Signal()
        # Bytes come in at the top and leave at the bottom.
        shift = Signal(WORD_BITS, reset_less=True)
        at = Signal(3, reset_less=True)  # bytes of a number behind this one
        left = Signal(BYTE, reset_less=True)  # words of a command behind this one
        # One bit more than a word's address, which stays once it is there.
        bits = ceil_log2(self.words)
        address = Signal(bits + 1, reset_less=True)
        following = address[:bits] + 1
        advance = address.eq(Cat(following[:bits], following[bits] | address[bits]))

        # What follows the opcode is in the topmost bytes then.
        reads = opcode == Opcode.READ_REGISTER
        register = Mux(reads, shift[56:], shift[24:32])
        value = shift[32:]
        inside, board = Signal(), Signal()
        m.d.comb += [inside.eq(register[4:] == 0), board.eq(register == BOARD)]
        clear = Signal(FAULTS)
        m.d.sync += self.faults.eq(self.faults & ~clear | Cat(self.beyond, self.lost))

        m.d.comb += [
            answers.payload.eq(shift),
            self.access.payload.address.eq(address),
            self.access.payload.data.eq(shift),
            self.bus.address.eq(Register.CONTROL),
            self.bus.data.eq(value),
        ]
        with m.If((commands.valid & commands.ready) | (answers.valid & answers.ready)):
            m.d.sync += at.eq(at - 1)
        with m.FSM():
            with m.State("OPCODE"):
                m.d.comb += commands.ready.eq(1)
                with m.If(commands.valid):
                    m.d.sync += [opcode.eq(commands.payload), refused.eq(0), at.eq(4)]
                    with m.Switch(commands.payload):
                        with m.Case(Opcode.NOTHING):
                            pass
                        with m.Case(Opcode.WRITE_MEMORY, Opcode.READ_MEMORY, Opcode.WRITE_REGISTER):
                            m.next = "OPERANDS"
                        with m.Case(Opcode.READ_REGISTER):
                            m.d.sync += at.eq(0)
                            m.next = "OPERANDS"
                        with m.Default():
                            m.d.sync += refused.eq(1)
                            m.next = "ANSWER"
            with m.State("OPERANDS"):
                m.d.comb += commands.ready.eq(1)
                with m.If(commands.valid):
                    m.d.sync += shift.eq(Cat(shift[BYTE:], commands.payload))
                    with m.If(at == 0):
                        m.next = "EXECUTE"
            with m.State("EXECUTE"):
                m.d.sync += [
                    address.eq(Cat(shift[24 : 24 + bits], shift[24 + bits : 56].any())),
                    left.eq(shift[56:]),
                    at.eq(7),
                ]
                m.next = "ANSWER"
                with m.Switch(opcode):
                    with m.Case(Opcode.WRITE_MEMORY):
                        m.next = "PAYLOAD"
                    with m.Case(Opcode.WRITE_REGISTER):
                        m.d.sync += refused.eq(~inside & ~board)
                        m.d.comb += [
                            self.bus.address.eq(register),
                            self.bus.write.eq(inside),
                            clear.eq(Mux(board, value, 0)),
                        ]
                    with m.Case(Opcode.READ_REGISTER):
                        m.d.sync += refused.eq(~inside & ~board)
                        m.d.comb += self.bus.address.eq(register)
                        m.next = "LOOK"
            with m.State("LOOK"):
                m.d.sync += shift.eq(
                    Mux(board, self.faults | self.words << BoardStatus.WORDS, self.read)
                )
                m.next = "ANSWER"
            with m.State("PAYLOAD"):
                m.d.comb += commands.ready.eq(1)
                with m.If(commands.valid):
                    m.d.sync += shift.eq(Cat(shift[BYTE:], commands.payload))
                    with m.If(at == 0):
                        m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += [self.access.valid.eq(1), self.access.payload.write.eq(1)]
                with m.If(self.access.ready):
                    m.d.sync += [advance, left.eq(left - 1)]
                    m.next = "PAYLOAD"
                    with m.If(left == 0):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    answers.valid.eq(1),
                    answers.payload.eq(Mux(refused, REFUSED, ACKNOWLEDGED)),
                ]
                with m.If(answers.ready):
                    m.next = "OPCODE"
                    with m.If(~refused & (opcode == Opcode.READ_MEMORY)):
                        m.next = "FETCH"
                    with m.If(~refused & reads):
                        m.d.sync += at.eq(3)
                        m.next = "SEND"
            with m.State("FETCH"):
                m.d.comb += self.access.valid.eq(1)
                with m.If(self.access.ready):
                    m.next = "WORD"
            with m.State("WORD"):
                m.d.sync += [shift.eq(self.word), at.eq(7)]
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += answers.valid.eq(1)
                with m.If(answers.ready):
                    m.d.sync += shift.eq(Cat(shift[BYTE:], commands.payload))
                    with m.If(at == 0):
                        m.d.sync += [advance, left.eq(left - 1)]
                        m.next = "OPCODE"
                        with m.If(~reads & (left != 0)):
                            m.next = "FETCH"
        return m
