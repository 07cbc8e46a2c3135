"""Client: the host of a board, over any line of bytes."""

from __future__ import annotations

import time
from binascii import crc_hqx
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Packed
from evenspike_hw.board.bridge import (
    ACKNOWLEDGED,
    BOARD,
    BURST,
    CHECK,
    DAMAGED,
    FAULTS,
    LONGEST,
    REFUSED,
    BoardStatus,
    Opcode,
)
from evenspike_hw.engine.host import Masks, MemoryMap, input_words
from evenspike_hw.engine.results import Buffers
from evenspike_hw.rtl import descriptor
from evenspike_hw.rtl.faults import Fault
from evenspike_hw.rtl.registers import CONTROL, Register, Status

START, FILL, ABORT = (1 << CONTROL[name][0] for name in ("START", "FILL", "ABORT"))
"""What is written to CONTROL."""

SECONDS = 10.0
"""How long the accelerator may stay busy, unless something else is said."""

Words = npt.NDArray[np.uint64]


class Transport(Protocol):
    """A line to the board, such as a serial port of pyserial with a timeout."""

    def write(self, data: bytes, /) -> object: ...

    def read(self, size: int, /) -> bytes:
        """Reads so many bytes, or fewer if no more come within the line's own timeout."""


@dataclass(frozen=True)
class BoardRun:
    """An inference. logits: int64 [filters], of a batch [images, filters]. overflow: a partial sum
    or a membrane saturated.
    """

    logits: npt.NDArray[np.int64]
    cycles: int
    overflow: bool


class Client:
    """A board with `evenspike_hw.board.system.System` on it.

    Every method raises EvenspikeError where the board does not answer, refuses, or has lost a byte
    or an address. Addresses count 64-bit words.
    """

    def __init__(self, transport: Transport) -> None:
        self._line = transport
        self._map: MemoryMap | None = None
        self._lost = False  # what the board waits for is not known

    # Memory and registers.

    def write_memory(self, address: int, words: Words) -> None:
        for at in range(0, len(words), BURST):
            part = words[at : at + BURST]
            self._command(Opcode.WRITE_MEMORY, (address + at, 4), (len(part) - 1, 1))
            content = part.astype("<u8").tobytes()
            self._line.write(content + _check(content))
            self._answer(f"the words of {Opcode.WRITE_MEMORY.name}", 0)
        self._check_faults(f"{len(words)} words written from {address} on")

    def read_memory(self, address: int, count: int) -> Words:
        found = b""
        for at in range(0, count, BURST):
            size = min(BURST, count - at)
            found += self._command(
                Opcode.READ_MEMORY, (address + at, 4), (size - 1, 1), answer=8 * size
            )
        self._check_faults(f"{count} words read from {address} on")
        return np.frombuffer(found, dtype="<u8").astype(np.uint64)

    def write_register(self, number: int, value: int) -> None:
        self._command(Opcode.WRITE_REGISTER, (number, 1), (value, 4))

    def read_register(self, number: int) -> int:
        found = self._command(Opcode.READ_REGISTER, (number, 1), (0, 4), answer=4)
        return int.from_bytes(found, "little")

    def synchronise(self) -> None:
        """Completes a command whose answer has not come, and forgets all answers and faults.

        A command that writes is completed with zeros, so a Packed has to be loaded anew.
        """
        self._map = None
        self._lost = False
        self._line.write(bytes(LONGEST))
        while self._line.read(LONGEST):
            pass
        self.write_register(BOARD, (1 << FAULTS) - 1)

    def abort(self, seconds: float = SECONDS) -> None:
        """Ends whatever the accelerator is at; the next inference is none the worse.

        seconds: that cleaning up may take. A table that was being filled has to be loaded anew.
        """
        self.write_register(Register.CONTROL, ABORT)
        self._wait("in an abort", seconds)

    # Networks.

    def load(self, packed: Packed, seconds: float = SECONDS) -> None:
        """Puts a Packed into the memory, reads it back, and fills the table.

        seconds: that filling it may take. Raises EvenspikeError for a board with another Arch or
        with too little memory for the Packed.
        """
        self._map = None
        digest, wanted = self.read_register(Register.DIGEST), int(packed.arch.digest[:8], 16)
        if digest != wanted:
            raise EvenspikeError(
                f"{packed.name}: packed for the Arch with digest {wanted:08x} "
                f"({packed.arch.preset}), the board has {digest:08x}"
            )
        self._wait("before a Program is loaded", seconds)
        map_ = MemoryMap(packed, descriptor.encode(packed))
        needed = map_.logits + Buffers(packed).logit_words.size
        words = self.read_register(BOARD) >> BoardStatus.WORDS
        if needed > words:
            raise EvenspikeError(
                f"{packed.name}: its table, weights, input and logits take {needed} words, "
                f"the board's memory has {words}"
            )
        self.write_memory(0, map_.constant)
        found = self.read_memory(0, map_.constant.size)
        wrong = np.flatnonzero(found != map_.constant)
        if wrong.size:
            at = int(wrong[0])
            raise EvenspikeError(
                f"board: word {at} of its memory is {found[at]:016x}, "
                f"not {map_.constant[at]:016x} as it was written"
            )
        for register, value in {
            Register.INPUT: map_.input,
            Register.WEIGHTS: map_.weights,
            Register.LOGITS: map_.logits,
            Register.TABLE: 0,
            Register.TABLE_WORDS: map_.tables.words.size,
            Register.PASS_BASE: map_.tables.pass_base,
        }.items():
            self.write_register(register, value)
            if (read := self.read_register(register)) != value:
                raise EvenspikeError(
                    f"board: register {register.name} is {read:08x}, not {value:08x} as written"
                )
        self.write_register(Register.CONTROL, FILL)
        if self._wait("filling its table", seconds) >> Status.ERROR & 1:
            raise EvenspikeError(f"board: stopped filling its table, {self._fault()}")
        self._map = map_

    def run(self, masks: Masks, seconds: float = SECONDS) -> BoardRun:
        """Runs one inference on the input's spikes, masks [channels, H, W] over all timesteps; of a
        Packed with a batch [images, channels, H, W].

        seconds: that it may take. Raises EvenspikeError for masks that are not of the Packed, and
        for an inference that stops at a layer.
        """
        map_ = self._map
        if map_ is None:
            raise EvenspikeError("board: no Program is loaded")
        packed = map_.packed
        words = input_words(packed, masks)
        self._wait("before the inference", seconds)
        self.write_memory(map_.input, words)
        self.write_register(Register.CONTROL, START)
        status = self._wait("in an inference", seconds)
        layer = _layer(status)
        if status >> Status.ERROR & 1:
            name = packed.layers[layer].name if layer < len(packed.layers) else "of no name"
            raise EvenspikeError(
                f"board: stopped at layer {name} (number {layer}), {self._fault()}"
            )
        if not status >> Status.DONE & 1:
            raise EvenspikeError(f"board: no inference has been done, status {status:08x}")
        self._check_faults("the accelerator's own reads and writes")
        results = Buffers(packed)
        results.logit_words[:] = self.read_memory(map_.logits, results.logit_words.size)
        # A board shows its logits alone: of the rest the results say that nothing has happened.
        logits = results.traces(status=0)[-1].logits
        assert logits is not None  # noqa: S101  (of the last layer)
        cycles = self.read_register(Register.CYCLES)
        return BoardRun(logits, cycles, bool(status >> Status.OVERFLOW & 1))

    # The line.

    def _fault(self) -> str:
        """Why it has stopped."""
        code = self.read_register(Register.FAULT)
        if code not in {int(fault) for fault in Fault}:
            return f"fault {code}, which this client does not know"
        return f"fault {Fault(code).name}: {Fault(code).meaning}"

    def _wait(self, what: str, seconds: float) -> int:
        """Waits until the accelerator is idle; returns its status."""
        end = time.monotonic() + seconds
        while (status := self.read_register(Register.CONTROL)) >> Status.BUSY & 1:
            if time.monotonic() > end:
                raise EvenspikeError(
                    f"board: still busy after {seconds:g} s, {what} (layer {_layer(status)})"
                )
        return status

    def _check_faults(self, what: str) -> None:
        """Raises EvenspikeError for a fault that the board has seen, and clears it there."""
        value = self.read_register(BOARD)
        words, faults = value >> BoardStatus.WORDS, value & (1 << FAULTS) - 1
        if not faults:
            return
        self.write_register(BOARD, faults)
        found = {
            BoardStatus.BEYOND: f"an address beyond its {words} words of memory was used",
            BoardStatus.LOST: "its UART has lost a byte",
        }
        text = " and ".join(text for bit, text in found.items() if faults >> bit & 1)
        raise EvenspikeError(f"board: {text} ({what})")

    def _command(self, opcode: Opcode, *numbers: tuple[int, int], answer: int = 0) -> bytes:
        """Sends a command; returns the answer's bytes between acknowledgement and checksum."""
        if self._lost:
            self.synchronise()
        frame = _numbers((opcode, 1), *numbers)
        self._line.write(frame + _check(frame))
        name = f"{opcode.name} {frame[1:].hex(' ')}"
        return self._answer(name, answer, waits=opcode is Opcode.WRITE_MEMORY)

    def _answer(self, name: str, size: int, *, waits: bool = False) -> bytes:
        """What `_command` returns. waits: the board does so for more, if it has taken the command.

        What it waits for is not known any more if no answer comes, or one of unknown length.
        """
        self._lost = True
        first = self._line.read(1)
        if not first:
            raise EvenspikeError(f"board: no answer to {name} within the line's timeout")
        if first[0] not in (ACKNOWLEDGED, REFUSED, DAMAGED):
            raise EvenspikeError(
                f"board: answers {name} with {first[0]:02x}, not with {ACKNOWLEDGED:02x}; "
                "is the line's speed that of the board?"
            )
        size = CHECK + (size if first[0] == ACKNOWLEDGED else 0)
        rest = self._line.read(size)
        if len(rest) != size:
            raise EvenspikeError(
                f"board: {1 + len(rest)} of {1 + size} bytes in answer to {name} within the line's "
                "timeout"
            )
        content, check = first + rest[:-CHECK], rest[-CHECK:]
        self._lost = waits
        if check != _check(content):
            raise EvenspikeError(f"board: the answer to {name} is damaged: wrong checksum")
        self._lost = False
        if first[0] == REFUSED:
            raise EvenspikeError(f"board: refuses {name}")
        if first[0] == DAMAGED:
            raise EvenspikeError(f"board: {name} was damaged on the way: wrong checksum")
        return content[1:]


def _check(content: bytes) -> bytes:
    """The checksum behind these bytes."""
    return crc_hqx(content, 0xFFFF).to_bytes(CHECK, "big")


def _layer(status: int) -> int:
    return status >> Status.LAYER & 0xFF


def _numbers(*numbers: tuple[int, int]) -> bytes:
    """Encodes numbers, each given with its size in bytes."""
    return b"".join(value.to_bytes(size, "little") for value, size in numbers)
