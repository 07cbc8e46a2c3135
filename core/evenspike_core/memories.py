"""Memories: every RAM of the accelerator that an Arch asks for, with its words, bits and ports.

Area and energy follow from these. The RTL declares its memories itself, and a test holds the two
together for Archs of every kind.
"""

from __future__ import annotations

from dataclasses import dataclass

from evenspike_core.arch import HEADER_UNITS, MAP_MAX, SLOTS_MAX, Arch
from evenspike_core.fixed import ACCUMULATOR_BITS, WEIGHT_BITS

PAIR_BITS = 18
"""Of the patterns of two kernels of 3 x 3, which a fetch brings at once."""
MAP_BITS = MAP_MAX.bit_length()
"""Of a row or a column of a map."""
COORDINATE_BITS = MAP_BITS + 1
"""Of an activation's row or column, counted from the first that reaches the tile."""
SLOT_BITS = (SLOTS_MAX - 1).bit_length()
WORD_BITS = 64
"""Of the table."""
UNIT_BITS = 16
"""Of a unit of a line of headers."""
FETCH_UNITS = 2
"""Of a line of headers that are read at once."""

QUEUES = ("fifo", "match_queue", "stream")
"""Of one entry they are a register and not a RAM."""


@dataclass(frozen=True)
class Memory:
    """One kind of RAM.

    name: what it holds. count: how many there are. words, width: words of how many bits. reads: its
    read ports; each has one write port beside them. in_pe: it is the PE's.
    """

    name: str
    count: int
    words: int
    width: int
    reads: int = 1
    in_pe: bool = True

    @property
    def bits(self) -> int:
        """Bits of all of them."""
        return self.count * self.words * self.width

    @property
    def bytes(self) -> float:
        """Bytes of one of them."""
        return self.words * self.width / 8

    @property
    def register(self) -> bool:
        """Whether it is so small that it is no RAM."""
        return self.words == 1 and self.name in QUEUES


def memories(arch: Arch) -> tuple[Memory, ...]:
    """All memories of the accelerator, one for each name."""
    lane = _log2(arch.pes)
    line = _log2(arch.chunk_blocks) + lane
    longest = HEADER_UNITS[arch.kernel_max]  # header, in units
    header_units = max(longest, FETCH_UNITS)  # of a line
    header_lines = -(-arch.header_words // header_units)
    weight = _log2(2 * arch.weight_words)
    kernel = (arch.kernel_max // 2).bit_length()  # its code
    pattern = max(arch.kernel_max**2, PAIR_BITS)
    fetches = SLOT_BITS + _log2(header_units // FETCH_UNITS)  # their number, of a channel
    activation = 6 + kernel + line + arch.timesteps + 2 * arch.kernel_max + 2 * COORDINATE_BITS
    matched = 4 + kernel + 2 * pattern + weight + 2 * SLOT_BITS + arch.timesteps
    matched += 2 * COORDINATE_BITS
    table_line = _log2(header_units * header_lines + 1) + fetches + 1 + weight
    return (
        Memory("accumulators", arch.pes, arch.accumulators, ACCUMULATOR_BITS * arch.timesteps),
        Memory("weights", arch.pes, 2 * arch.weight_words, WEIGHT_BITS),
        Memory("headers", arch.pes, 2 * header_lines, header_units * UNIT_BITS),
        Memory("channel_table", arch.pes, 2 * arch.chunk_channels, table_line),
        Memory("presence", arch.pes, 2 * arch.chunk_blocks, arch.pes),
        Memory("fifo", arch.pes, arch.fifo_depth, activation),
        Memory("match_queue", arch.pes, arch.match_depth, matched),
        Memory("spikes", 1, arch.spike_entries, MAP_BITS + arch.pes * arch.timesteps, 1, False),
        Memory("row_counts", 1, arch.spike_entries, MAP_BITS, 2, False),
        Memory("table", 1, arch.table_words, WORD_BITS, 3, False),
        Memory("stream", 1, arch.stream_depth, arch.port_bits, 1, False),
        Memory("loader", 1, 2, 5 + kernel + lane, 1, False),
    )


def _log2(count: int) -> int:
    """Bits that tell so many things apart."""
    return (count - 1).bit_length()
