"""Memories: every RAM of the accelerator that an Arch asks for, with its words, bits and ports.

Area and energy follow from these. The RTL declares its memories itself, and a test holds the two
together for Archs of every kind.
"""

from __future__ import annotations

from dataclasses import dataclass

from evenspike_core.arch import HEADER_UNITS, MAP_MAX, SLOTS_MAX, Arch
from evenspike_core.fixed import ACCUMULATOR_BITS, WEIGHT_BITS

KERNEL_MAX = max(HEADER_UNITS)
PATTERN_BITS = KERNEL_MAX**2
MAP_BITS = MAP_MAX.bit_length()
"""Of a row or a column of a map."""
COORDINATE_BITS = MAP_BITS + 1
"""Of an activation's row or column, counted from the first that reaches the tile."""
SLOT_BITS = (SLOTS_MAX - 1).bit_length()
FETCH_BITS = SLOT_BITS + 1
"""Of the number of fetches that a channel's headers take."""
WORD_BITS = 64
"""Of the memory port, the table and a line of headers."""

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
    header_lines = -(-arch.header_words // 4)
    weight = _log2(2 * arch.weight_words)
    activation = 8 + line + arch.timesteps + 2 * KERNEL_MAX + 2 * COORDINATE_BITS
    matched = 6 + 2 * PATTERN_BITS + weight + 2 * SLOT_BITS + arch.timesteps + 2 * COORDINATE_BITS
    table_line = _log2(4 * header_lines + 1) + FETCH_BITS + 1 + weight
    return (
        Memory("accumulators", arch.pes, arch.accumulators, ACCUMULATOR_BITS * arch.timesteps),
        Memory("weights", arch.pes, 2 * arch.weight_words, WEIGHT_BITS),
        Memory("headers", arch.pes, 2 * header_lines, WORD_BITS),
        Memory("channel_table", arch.pes, 2 * arch.chunk_channels, table_line),
        Memory("presence", arch.pes, 2 * arch.chunk_blocks, arch.pes),
        Memory("fifo", arch.pes, arch.fifo_depth, activation),
        Memory("match_queue", arch.pes, arch.match_depth, matched),
        Memory("spikes", 1, arch.spike_entries, MAP_BITS + arch.pes * arch.timesteps, 1, False),
        Memory("row_counts", 1, arch.spike_entries, MAP_BITS, 2, False),
        Memory("table", 1, arch.table_words, WORD_BITS, 3, False),
        Memory("stream", 1, arch.stream_depth, WORD_BITS, 1, False),
        Memory("loader", 1, 2, 6 + lane, 1, False),
    )


def _log2(count: int) -> int:
    """Bits that tell so many things apart."""
    return (count - 1).bit_length()
