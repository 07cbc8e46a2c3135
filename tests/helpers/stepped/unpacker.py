"""A PE's part of the loader: units of the stream in, weights, headers and the channel table out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evenspike_core.arch import FILTER_SIDE, HEADER_UNITS, PID_BITS, TOKEN_BITS
from tests.helpers.stepped.loader import Word
from tests.helpers.stepped.order import Load
from tests.helpers.stepped.storage import Ram, Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Cluster

LINE_UNITS = 4


@dataclass
class Unpacking:
    """Registers of a PE's token decoder.

    tokens: of the current pair, still to come. opened: the kernel whose WSP grows, or -1.
    pattern: OR of the WSPs of the channel's kernels that are done.
    flush: its header is to be written, it was the last of the chunk.
    """

    load: Load | None = None
    at: int = 0
    counted: bool = False
    left: int = 0
    tokens: tuple[int, ...] = ()
    kernel: int = 0
    opened: int = -1
    wsp: int = 0
    kernel_weight: int = 0
    channel: int = -1
    channel_header: int = 0
    channel_weight: int = 0
    pattern: int = 0
    headers: int = 0
    weights: int = 0
    biases: int = 0
    flush: bool = False


class Unpacker:
    """The PE's part of the loader: units in, weight bank, header bank and table out."""

    def __init__(self, machine: Cluster, banks: Banks) -> None:
        clock = machine.clock
        self.banks = banks
        self.hold: Reg[Word | None] = Reg(clock, None)
        self.given, self.done = Reg(clock, 0), Reg(clock, 0)  # words
        self.state = Reg(clock, Unpacking())
        self.presence = (Reg(clock, 0), Reg(clock, 0))
        self.seen = (Reg(clock, 0), Reg(clock, 0))  # what presence is in the next cycle
        self.bias_base = (Reg(clock, 0), Reg(clock, 0))
        self.completes = Reg(clock, False)  # the chunk's last unit was decoded
        self.unpacked = Reg(clock, 0)

    def word(self) -> Word | None:
        """Wire: the word that is unpacked in this cycle."""
        return None if self.given.q == self.done.q else self.hold.q

    def ready(self) -> bool:
        """Wire: a word can be taken in this cycle."""
        word = self.word()
        if word is None:
            return True
        # Each unit of 8- or 4-bit weights takes a cycle, so that a word's last is known to be.
        last = self.state.q.at == self._room(word.load) - 1
        return word.load.bits < 16 and last and not word.last

    @staticmethod
    def _room(load: Load) -> int:
        """Units of a word."""
        return 5 if load.bits == 4 else 4

    def give(self, word: Word) -> None:
        """The loader hands a word on in this cycle."""
        self.hold.set(word)
        self.given.set(self.given.q + 1)

    def step(self) -> None:
        word, old = self.word(), self.state.q
        for presence, seen in zip(self.presence, self.seen, strict=True):
            presence.set(seen.q)
        if self.completes.q:
            self.unpacked.set(self.unpacked.q + 1)
            self.completes.set(False)
        if word is None and not old.flush:
            return
        new = replace(old)
        if old.flush:
            self._close(new)
            new.flush = False
        if word is not None:
            self._process(word, new)
        self.state.set(new)

    def _process(self, word: Word, new: Unpacking) -> None:
        if word.first and new.at == 0:
            fresh = Unpacking(load=word.load)
            new.__dict__.update(fresh.__dict__)
        assert new.load is not None
        pid_bits = PID_BITS[new.load.layer.segments[new.load.segment].kernel]
        skip = (1 << pid_bits) - 1
        if new.load.bits == 4:
            self._unit(word.bits >> 12 * new.at & 0xFFF, new, pid_bits)
            new.at += 1
        elif new.load.bits == 8:
            self._unit(word.bits >> 16 * new.at & 0xFFFF, new, pid_bits)
            new.at += 1
        elif new.tokens and new.tokens[0] & skip == skip:
            new.kernel += ((new.tokens[0] >> pid_bits) + 1) << (TOKEN_BITS - pid_bits)
            new.tokens = new.tokens[1:]
        else:
            self._unit(word.bits >> 16 * new.at & 0xFFFF, new, pid_bits)
            new.at += 1
        if new.at == self._room(new.load) and not (new.tokens and new.tokens[0] & skip == skip):
            new.at = 0
            self.done.set(self.done.q + 1)
            if word.last:
                self.completes.set(True)

    def _unit(self, unit: int, new: Unpacking, pid_bits: int) -> None:
        assert new.load is not None
        half = new.load.half
        if not new.counted:
            new.counted, new.left = True, unit
            new.biases = 2 * new.load.layer.slots if new.load.last else 0
            self.seen[half].set(0)
            self.bias_base[half].set(0)
        elif new.tokens:
            token, new.tokens = new.tokens[0], new.tokens[1:]
            self._weigh(token, unit - (unit >> 15 << 16), new, pid_bits)
        elif new.left and new.load.bits < 16:
            new.left -= 1
            token, beside = unit & 0xFF, unit >> 8
            gap_bits, skip = TOKEN_BITS - pid_bits, (1 << pid_bits) - 1
            if token & skip == skip:
                new.kernel += ((beside << gap_bits) + (token >> pid_bits) + 1) << gap_bits
            elif new.load.bits == 8:
                self._weigh(token, beside - (beside >> 7 << 8), new, pid_bits)
            else:
                sign = -1 if beside & 8 else 1
                self._weigh(token, sign * 2 ** (new.load.base + beside % 8), new, pid_bits)
        elif new.left:
            new.tokens = (unit & 0xFF, unit >> 8)[: new.left]
            new.left -= len(new.tokens)
        elif new.biases:
            self.banks.write_weight(half, new.weights, unit)
            new.weights += 1
            new.biases -= 1
        # Anything else is the padding of the last word.

    def _weigh(self, token: int, weight: int, new: Unpacking, pid_bits: int) -> None:
        """Write a weight, and open its kernel if that is another one."""
        assert new.load is not None
        half = new.load.half
        new.kernel += token >> pid_bits
        if new.kernel != new.opened:
            if new.opened >= 0:
                self._close(new)
            new.opened, new.wsp, new.kernel_weight = new.kernel, 0, new.weights
        new.wsp |= 1 << (token & ((1 << pid_bits) - 1))
        self.banks.write_weight(half, new.weights, weight)
        new.weights += 1
        channel = new.kernel // new.load.layer.slots
        self.seen[half].set(self.seen[half].q | 1 << channel)
        self.bias_base[half].set(new.weights)
        # The header of the last kernel follows in the cycle after: the bank has one port, and
        # may be taking the header of the kernel before.
        new.flush = not (new.left or new.tokens)

    def _close(self, new: Unpacking) -> None:
        """Write the open kernel's header, and its channel's line of the table and the filter."""
        assert new.load is not None
        half = new.load.half
        channel, slot = divmod(new.opened, new.load.layer.slots)
        if channel != new.channel:
            new.channel, new.channel_header = channel, new.headers
            new.channel_weight, new.pattern = new.kernel_weight, 0
        new.pattern |= new.wsp
        kernel = new.load.layer.segments[new.load.segment].kernel
        self.banks.write_header(half, new.headers, slot << kernel * kernel | new.wsp, kernel)
        new.headers += 1
        line = (new.channel_header, new.channel_weight, new.headers - new.channel_header)
        self.banks.table[half].write(channel, line)
        if kernel <= FILTER_SIDE:
            self.banks.patterns[half].write(channel, new.pattern)


class Banks:
    """A PE's scratchpad, channel table and filter, each in two halves.

    Headers lie in lines of 64 bits, so that one of K = 7 is written at once; a fetch reads a line,
    or half of one. The weight bank of a PE that selects two weights a cycle is two memories, of the
    even and the odd addresses; where the gates are weights four, by the address modulo 4.
    """

    def __init__(self, machine: Cluster) -> None:
        clock, arch = machine.clock, machine.arch
        self.ways = 4 if arch.gates == "weights" else arch.issue
        size = -(-arch.weight_words // self.ways)
        self.weights = tuple(tuple(Ram(clock, size, 0) for _ in range(self.ways)) for _ in range(2))
        self.bias: Reg[tuple[int, int]] = Reg(clock, (0, 0))  # half and address last read
        lines = arch.chunk_channels
        self.table = tuple(Ram(clock, lines, (0, 0, 0)) for _ in range(2))
        self.patterns = tuple(Ram(clock, lines, 0) for _ in range(2))
        words = -(-arch.header_words // LINE_UNITS)
        self.units, self.fetch = arch.header_words, arch.fetch_units
        self.header = tuple(Ram(clock, words, (0,) * LINE_UNITS) for _ in range(2))

    def write_weight(self, half: int, address: int, value: int) -> None:
        self.weights[half][address % self.ways].write(address // self.ways, value)

    def read_weight(self, half: int, address: int) -> None:
        self.weights[half][address % self.ways].read(address // self.ways)

    def weight(self, half: int, address: int) -> int:
        """Wire: what the last read, of `address`, has brought."""
        return self.weights[half][address % self.ways].out

    def read_bias(self, half: int, address: int) -> None:
        """A read of the drain."""
        self.read_weight(half, address)
        self.bias.set((half, address))

    def bias_unit(self) -> int:
        """Wire: what the drain's read in the cycle before has brought."""
        return self.weight(*self.bias.q)

    def write_header(self, half: int, index: int, value: int, kernel: int) -> None:
        units = HEADER_UNITS[kernel]
        assert (index + 1) * units <= self.units, "more headers than the bank holds"
        line, lane = divmod(index * units, LINE_UNITS)
        # A write enable for each 16 bits leaves the neighbours as they are.
        content = list(self.header[half].cells[line])
        for n in range(units):
            content[lane + n] = value >> 16 * n & 0xFFFF
        self.header[half].write(line, tuple(content))

    def read_headers(self, half: int, address: int) -> None:
        """address: in fetches."""
        self.header[half].read(address * self.fetch // LINE_UNITS)

    def headers(self, half: int, address: int) -> tuple[int, ...]:
        """Wire: the units that a read of `address` in the cycle before has brought."""
        first = address * self.fetch % LINE_UNITS
        return self.header[half].out[first : first + self.fetch]
