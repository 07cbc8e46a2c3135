"""Bridge: commands of the host, as bytes, to the board's memory and the accelerator's registers.

A command is a frame of eight bytes, whatever it says: opcode, five bytes, and a checksum of these
six. The host sends the next one when it has the answer to the one before. An answer is a byte, what
the command asked for, and a checksum of all that. Numbers are little-endian, addresses count 64-bit
words. A checksum is CRC-16 (polynomial 1021, from FFFF on, `binascii.crc_hqx`), its high byte
first.

    opcode               five bytes                       answer
    00  no operation     (this byte stands alone)         none
    03  write memory     address (4), n (1)               06; then what follows, and 06 once more
    05  read memory      address (4), n (1)               06, n + 1 words (8 each)
    06  write register   register (1), value (4)          06
    09  read register    register (1), any (4)            06, value (4)
    any other            any                              15
    any                  with a wrong checksum            18

When a write of memory has its first answer, n + 1 words (8 each) follow, and a checksum of them.
They are in the memory as they come; the second answer is 18 if the checksum is wrong. So no command
with a flipped bit does anything, nor does one ever go to another address, and a word that came with
one is told. Two opcodes differ in two bits, and so do 00 and any opcode: no flipped bit changes the
length of what follows.

Registers 0 to 15 are the accelerator's (`registers.Register`; those that it does not have read 0),
16 is the board's (`BoardStatus`). Any other is answered with 15. Answers 15 and 18 to a frame mean
that nothing has changed.

While the accelerator runs it ignores writes of its registers but for an abort, and a command that
uses the memory waits for a cycle in which the accelerator does not. Words that the memory does not
have read as zero and are not written, and BEYOND tells it.

If a byte is lost, a command stays incomplete and no answer comes: 8 * 256 + 2 bytes 0 complete any
command and are no operations from there on.
"""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC16_IBM_3740
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenspike_hw.board.memory import access
from evenspike_hw.board.uart import BYTE
from evenspike_hw.rtl.layouts import WORD_BITS
from evenspike_hw.rtl.registers import REGISTERS, Register

ACKNOWLEDGED, REFUSED, DAMAGED = 0x06, 0x15, 0x18
"""First byte of an answer."""

FRAME, CHECK = 8, 2
"""Bytes of a command, and of a checksum."""

BURST = 256
"""Words of one command, at most."""

LONGEST = 8 * BURST + CHECK
"""Bytes that complete any command."""

BOARD = 16
"""Number of the board's register."""

FAULTS = 2


FRAME_LAYOUT = data.StructLayout({"opcode": BYTE, "what": 5 * BYTE, "check": CHECK * BYTE})


class Opcode(IntEnum):
    """First byte of a command."""

    NOTHING = 0
    WRITE_MEMORY = 0x03
    READ_MEMORY = 0x05
    WRITE_REGISTER = 0x06
    READ_REGISTER = 0x09


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
    registers: the accelerator's. The address is that of CONTROL in all cycles but those of a
        command's register, so that the status is on `read` else.
    access, word: of the memory (`memory.BoardMemory`).
    beyond, lost: pulses, what `BoardStatus` tells. faults: their bits in it, from the cycle after.

    Takes a byte a cycle, and none from a frame's last byte to the end of its answer or while a word
    is being written. Behind the last byte of a frame: a cycle that looks at it, one more for a
    register that is read; then the answer, a byte a cycle. Each word takes one cycle to write, two
    to read (more if `access` is not ready), besides its bytes; the checksum behind them one more.
    """

    def __init__(self, words: int) -> None:
        self.words = words
        super().__init__(
            {
                "commands": In(stream.Signature(BYTE)),
                "answers": Out(stream.Signature(BYTE)),
                "registers": Out(REGISTERS),
                "access": Out(stream.Signature(access(words))),
                "word": In(WORD_BITS),
                "beyond": In(1),
                "lost": In(1),
                "faults": Out(FAULTS),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: PLR0915  (one state machine)
        m = Module()
        m.submodules.crc = crc = CRC16_IBM_3740(BYTE).create()
        commands, answers = self.commands, self.answers
        opcode = Signal(BYTE, reset_less=True)
        answer = Signal(BYTE, reset_less=True)  # its first byte
        writes = Signal()  # words of a command are to come, or have come
        # Bytes come in at the top and leave at the bottom.
        shift = Signal(WORD_BITS, reset_less=True)
        at = Signal(range(FRAME), init=FRAME - 1)  # bytes of a number behind this one
        left = Signal(BYTE, reset_less=True)  # words of a command behind this one
        # One bit more than a word's address, which stays once it is there.
        bits = ceil_log2(self.words)
        address = Signal(bits + 1, reset_less=True)
        following = address[:bits] + 1
        advance = address.eq(Cat(following[:bits], following[bits] | address[bits]))

        # A frame, when all of it is there.
        frame = data.View(FRAME_LAYOUT, shift)
        register, value = frame.what[:BYTE], frame.what[BYTE:]
        inside, board = Signal(), Signal()
        m.d.comb += [inside.eq(register[4:] == 0), board.eq(register == BOARD)]
        clear = Signal(FAULTS)
        m.d.sync += self.faults.eq(self.faults & ~clear | Cat(self.beyond, self.lost))

        taken, given = Signal(), Signal()
        m.d.comb += [
            taken.eq(commands.valid & commands.ready),
            given.eq(answers.valid & answers.ready),
            answers.payload.eq(shift),
            crc.data.eq(Mux(taken, commands.payload, answers.payload)),
            crc.valid.eq(taken | given),
            self.access.payload.address.eq(address),
            self.access.payload.data.eq(shift),
            self.registers.address.eq(Register.CONTROL),
            self.registers.data.eq(value),
        ]
        with m.If(taken | given):
            m.d.sync += at.eq(at - 1)
        with m.If(taken):
            m.d.sync += shift.eq(Cat(shift[BYTE:], commands.payload))
        with m.FSM():
            with m.State("FRAME"):
                m.d.comb += [commands.ready.eq(1), crc.start.eq(at == FRAME - 1)]
                with m.If(taken & (at == 0)):
                    m.next = "EXECUTE"
                with m.If((at == FRAME - 1) & (commands.payload == Opcode.NOTHING)):
                    m.d.sync += at.eq(at)
            with m.State("EXECUTE"):
                m.d.sync += [
                    opcode.eq(frame.opcode),
                    address.eq(Cat(frame.what[:bits], frame.what[bits:32].any())),
                    left.eq(frame.what[32:]),
                    writes.eq(0),
                    answer.eq(ACKNOWLEDGED),
                ]
                m.next = "ANSWER"
                with m.If(~crc.match_detected):
                    m.d.sync += answer.eq(DAMAGED)
                with m.Else(), m.Switch(frame.opcode):
                    with m.Case(Opcode.WRITE_MEMORY):
                        m.d.sync += writes.eq(1)
                    with m.Case(Opcode.READ_MEMORY):
                        pass
                    with m.Case(Opcode.WRITE_REGISTER):
                        m.d.comb += [
                            self.registers.address.eq(register),
                            self.registers.write.eq(inside),
                            clear.eq(Mux(board, value, 0)),
                        ]
                        with m.If(~inside & ~board):
                            m.d.sync += answer.eq(REFUSED)
                    with m.Case(Opcode.READ_REGISTER):
                        m.d.comb += self.registers.address.eq(register)
                        m.next = "LOOK"
                        with m.If(~inside & ~board):
                            m.d.sync += answer.eq(REFUSED)
                            m.next = "ANSWER"
                    with m.Default():
                        m.d.sync += answer.eq(REFUSED)
            with m.State("LOOK"):
                m.d.sync += shift.eq(
                    Mux(board, self.faults | self.words << BoardStatus.WORDS, self.registers.read)
                )
                m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    answers.valid.eq(1),
                    answers.payload.eq(answer),
                    crc.start.eq(1),
                ]
                with m.If(given):
                    m.d.sync += at.eq(3)
                    m.next = "HIGH"
                    with m.If(answer == ACKNOWLEDGED):
                        with m.If(opcode == Opcode.READ_MEMORY):
                            m.next = "FETCH"
                        with m.If(opcode == Opcode.READ_REGISTER):
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
                with m.If(given):
                    m.d.sync += shift.eq(shift >> BYTE)
                    with m.If(at == 0):
                        m.d.sync += [advance, left.eq(left - 1)]
                        m.next = "HIGH"
                        with m.If((opcode == Opcode.READ_MEMORY) & (left != 0)):
                            m.next = "FETCH"
            # The checksum does not go into itself.
            with m.State("HIGH"):
                m.d.comb += [
                    answers.valid.eq(1),
                    answers.payload.eq(crc.crc[BYTE:]),
                    crc.valid.eq(0),
                ]
                with m.If(given):
                    m.next = "LOW"
            with m.State("LOW"):
                m.d.comb += [
                    answers.valid.eq(1),
                    answers.payload.eq(crc.crc[:BYTE]),
                    crc.valid.eq(0),
                ]
                with m.If(given):
                    m.d.sync += at.eq(FRAME - 1)
                    m.next = "FRAME"
                    with m.If(writes):
                        m.d.comb += crc.start.eq(1)
                        m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                m.d.comb += commands.ready.eq(1)
                with m.If(taken & (at == 0)):
                    m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += [self.access.valid.eq(1), self.access.payload.write.eq(1)]
                with m.If(self.access.ready):
                    m.d.sync += [advance, left.eq(left - 1)]
                    m.next = "PAYLOAD"
                    with m.If(left == 0):
                        m.d.sync += at.eq(CHECK - 1)
                        m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += commands.ready.eq(1)
                with m.If(taken & (at == 0)):
                    m.next = "CHECKED"
            with m.State("CHECKED"):
                m.d.sync += [
                    writes.eq(0),
                    answer.eq(Mux(crc.match_detected, ACKNOWLEDGED, DAMAGED)),
                ]
                m.next = "ANSWER"
        return m
