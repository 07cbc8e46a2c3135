"""Memories: every RAM of the accelerator that an Arch asks for, with its words, bits and ports.

Area and energy follow from these. The RTL declares its memories itself, and a test holds the two
together for Archs of every kind.
"""

from __future__ import annotations

from dataclasses import dataclass

from evenspike_core.arch import (
    FILTER_SIDE,
    HEADER_UNITS,
    KERNEL_MAX,
    MAP_MAX,
    SLOTS_MAX,
    WEIGHTS,
    WORD_BITS,
    Arch,
)
from evenspike_core.fixed import ACCUMULATOR_BITS, WEIGHT_BITS

MAP_BITS = MAP_MAX.bit_length()
"""Of a row or a column of a map."""
SLOT_BITS = (SLOTS_MAX - 1).bit_length()
HEADER_UNIT_BITS = 16
"""Of a unit of a line of headers."""
FILTER_BITS = FILTER_SIDE**2
"""Of a channel's pattern in the filter."""
LOGIT_BITS = 32
"""Of a result."""
LANE_PUSHES = 2
"""Weights that a lane takes in a cycle, each into a memory of its own."""

QUEUES = ("fifo", "match_queue", "stream")
"""Of one entry they are a register and not a RAM."""


@dataclass(frozen=True)
class Memory:
    """One kind of RAM.

    name: what it holds. count: how many there are; no lanes where one weight issues a cycle, no
        accumulators where LIF is parallel.
    words, width: words of how many bits. reads: its read ports; each has one write port beside
    them. in_pe: it is the PE's.
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
    header_units = max(HEADER_UNITS[arch.kernel_max], arch.fetch_units)  # of a line
    header_lines = -(-arch.header_words // header_units)
    weight, row = _log2(2 * arch.weight_words), _log2(arch.accumulators)
    kernel = (arch.kernel_max // 2).bit_length()  # its code
    fetches = SLOT_BITS + _log2(header_units // arch.fetch_units)  # their number, of a channel
    coordinate = _coordinate_bits(arch)
    activation = 5 + kernel + line + arch.timesteps + 2 * arch.kernel_max + 2 * coordinate
    matched = 4 + kernel + 2 * _pattern_bits(arch) + weight + arch.fetch_units * SLOT_BITS
    matched += arch.timesteps + 2 * coordinate
    table_line = _log2(header_units * header_lines + 1) + fetches + _log2(arch.fetch_units) + weight
    # A bank has all rows, or of each row the sum of a timestep, or a row of each window of neurons.
    banks, sums = (1, arch.timesteps) if arch.issue == 1 else (arch.banks, 1)
    rows = arch.accumulators
    if arch.gates == WEIGHTS:
        banks, rows = arch.window_banks, arch.accumulators // arch.window_banks
    if arch.lif_parallel:  # all are read at once: registers
        banks = 0
    lanes = LANE_PUSHES * arch.pes * banks if arch.issue > 1 else 0
    logit_width = min(arch.port_bits, LOGIT_BITS * arch.pes)
    return (
        Memory("accumulators", arch.pes * banks, rows, ACCUMULATOR_BITS * sums),
        Memory("lanes", lanes, arch.lane_depth // LANE_PUSHES, row + WEIGHT_BITS),
        Memory(
            "weights", arch.pes * arch.ways, -(-2 * arch.weight_words // arch.ways), WEIGHT_BITS
        ),
        Memory("headers", arch.pes, 2 * header_lines, header_units * HEADER_UNIT_BITS),
        Memory("channel_table", arch.pes, 2 * arch.chunk_channels, table_line),
        Memory("filter", arch.pes, 2 * arch.chunk_channels, FILTER_BITS),
        Memory("presence", arch.pes, 2 * arch.chunk_blocks, arch.pes),
        Memory("fifo", arch.pes, arch.fifo_depth, activation),
        Memory("match_queue", arch.pes, arch.match_depth, matched),
        Memory("spikes", 1, arch.spike_entries, MAP_BITS + arch.pes * arch.timesteps, 1, False),
        Memory("row_counts", 1, arch.row_counts, MAP_BITS, 2, False),
        Memory("table", 1, arch.table_words, WORD_BITS, 3, False),
        Memory("stream", 1, arch.stream_depth, arch.port_bits, 1, False),
        Memory("logits", 1, arch.result_blocks * arch.logit_words, logit_width, 1, False),
        Memory("loader", 1, 2, 10 + kernel + lane, 1, False),
    )


def _coordinate_bits(arch: Arch) -> int:
    """Bits of an activation's row or column, counted from the first that reaches the tile, of which
    no side is longer than a PE has accumulators.
    """
    side = min(arch.accumulators, MAP_MAX)
    return (2 * (side - 1) + KERNEL_MAX - 1).bit_length()


def _pattern_bits(arch: Arch) -> int:
    """Bits of the kernel positions of all headers of a fetch, row by row.

    A row of a kernel is as wide as the widest kernel of which a fetch has so many rows.
    """
    rows = {
        side: side * max(1, arch.fetch_units // units)
        for side, units in HEADER_UNITS.items()
        if 1 < side <= arch.kernel_max
    }
    return sum(
        max(side for side, count in rows.items() if row < count)
        for row in range(max(rows.values()))
    )


def _log2(count: int) -> int:
    """Bits that tell so many things apart."""
    return (count - 1).bit_length()
