"""Client: the host of a board, over any line of bytes."""

from __future__ import annotations

import time
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
    """An inference. logits: int64 [filters]. overflow: a partial sum or a membrane saturated."""

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

    # Memory and registers.

    def write_memory(self, address: int, words: Words) -> None:
        for at in range(0, len(words), BURST):
            part = words[at : at + BURST]
            head = _numbers((Opcode.WRITE_MEMORY, 1), (address + at, 4), (len(part) - 1, 1))
            self._command(head + part.astype("<u8").tobytes(), 0)
        self._check_faults(f"{len(words)} words written from {address} on")

    def read_memory(self, address: int, count: int) -> Words:
        found = b""
        for at in range(0, count, BURST):
            size = min(BURST, count - at)
            head = _numbers((Opcode.READ_MEMORY, 1), (address + at, 4), (size - 1, 1))
            found += self._command(head, 8 * size)
        self._check_faults(f"{count} words read from {address} on")
        return np.frombuffer(found, dtype="<u8").astype(np.uint64)

    def write_register(self, number: int, value: int) -> None:
        self._command(_numbers((Opcode.WRITE_REGISTER, 1), (number, 1), (value, 4)), 0)

    def read_register(self, number: int) -> int:
        return int.from_bytes(
            self._command(_numbers((Opcode.READ_REGISTER, 1), (number, 1)), 4), "little"
        )

    def synchronise(self) -> None:
        """Completes a command whose answer has not come, and forgets all answers.

        A command that writes is completed with zeros, so a Packed has to be loaded anew.
        """
        self._map = None
        self._line.write(bytes(LONGEST))
        while self._line.read(LONGEST):
            pass

    def abort(self, seconds: float = SECONDS) -> None:
        """Ends whatever the accelerator is at; the next inference is none the worse.

        seconds: that cleaning up may take. A table that was being filled has to be loaded anew.
        """
        self.write_register(Register.CONTROL, ABORT)
        self._wait("in an abort", seconds)

    # Networks.

    def load(self, packed: Packed, seconds: float = SECONDS) -> None:
        """Puts a Packed into the memory and fills the table.

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
        for register, value in {
            Register.INPUT: map_.input,
            Register.WEIGHTS: map_.weights,
            Register.LOGITS: map_.logits,
            Register.TABLE: 0,
            Register.TABLE_WORDS: map_.tables.words.size,
            Register.PASS_BASE: map_.tables.pass_base,
        }.items():
            self.write_register(register, value)
        self.write_register(Register.CONTROL, FILL)
        if self._wait("filling its table", seconds) >> Status.ERROR & 1:
            raise EvenspikeError(f"board: stopped filling its table, {self._fault()}")
        self._map = map_

    def run(self, masks: Masks, seconds: float = SECONDS) -> BoardRun:
        """Runs one inference on the input's spikes, masks [channels, H, W] over all timesteps.

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
        if code not in iter(Fault):
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

    def _command(self, command: bytes, size: int) -> bytes:
        """Sends a command; returns the answer's bytes behind the acknowledgement."""
        name = Opcode(command[0]).name
        self._line.write(command)
        first = self._line.read(1)
        if not first:
            raise EvenspikeError(f"board: no answer to {name} within the line's timeout")
        if first[0] == REFUSED:
            raise EvenspikeError(f"board: refuses {name} {command[1:6].hex(' ')}")
        if first[0] != ACKNOWLEDGED:
            raise EvenspikeError(
                f"board: answers {name} with {first[0]:02x}, not with {ACKNOWLEDGED:02x}; "
                "is the line's speed that of the board?"
            )
        answer = self._line.read(size) if size else b""
        if len(answer) != size:
            raise EvenspikeError(
                f"board: {len(answer)} of {size} bytes in answer to {name} within the line's "
                "timeout"
            )
        return answer


def _layer(status: int) -> int:
    return status >> Status.LAYER & 0xFF


def _numbers(*numbers: tuple[int, int]) -> bytes:
    """Encodes numbers, each given with its size in bytes."""
    return b"".join(value.to_bytes(size, "little") for value, size in numbers)
