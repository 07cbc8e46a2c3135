"""Layouts: the packets that the blocks hand each other, declared once.

Widths follow from the Arch. What crosses a stream is a `StructLayout` here; what a block reads from
the layer descriptor is in `evenspike_hw.rtl.descriptor`.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Const, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import ceil_log2, exact_log2

from evenspike_core.arch import (
    ENTRIES_MAX,
    FILTER_SIDE,
    HEADER_UNITS,
    KERNEL_MAX,
    MAP_MAX,
    SLOTS_MAX,
    Arch,
)

MAP_BITS = MAP_MAX.bit_length()
"""Bits of the side of a map."""

WORD_BITS = 64
"""Bits of a word of the table, and of a PE's word of the weight stream."""

FILL_BITS = 17
"""Bits of the number of words of a table."""

PSUM_BITS = 24
PSUM_MIN, PSUM_MAX = -(1 << PSUM_BITS - 1), (1 << PSUM_BITS - 1) - 1
"""Where psums and membranes saturate."""

LEAK_FRACTION = 12
LEAK_ONE = 1 << LEAK_FRACTION
"""A leak counts LEAK_ONE-ths and is LEAK_ONE at most."""

LEAK_BITS = LEAK_FRACTION + 1

TIMESTEP_BITS = 4
"""Bits of the number of a group's timesteps."""

LOGIT_BITS = 32
WEIGHT_BITS = 16
UNIT_BITS = 16
"""A unit of a weight stream: a count, a pair of tokens, a weight, a token with its weight, or half
a bias; and a word of the weight bank."""

CODE_UNIT_BITS = 12
"""A unit where weights are codes of 4 bits."""

WEIGHT_WIDTHS = (16, 8, 4)
"""Bits of a weight in the stream, in the order of their code."""

WIDTH_BITS = 2
EXPONENT_BITS = 3
"""Of a code."""

BASE_BITS = 4
"""Of the exponent that is added to those of the codes; the sum stays below 16."""

FILTER_BITS = FILTER_SIDE**2
"""Bits of what the filter knows of a channel: the OR of its WSPs for K <= 3."""

SLOT_BITS = exact_log2(SLOTS_MAX)

LANE_BITS = 6
"""Bits of a lane in the table memory: at most 64 PEs."""


ENTRY_BITS = exact_log2(ENTRIES_MAX)
"""Bits of an entry of the spike memory, and of a stride in it."""

OFFSET_BITS = 9
"""Bits of a segment's offset along an axis, signed."""

SEGMENT = data.StructLayout(
    {
        "log_stride": 1,
        "offset_y": signed(OFFSET_BITS),  # of the source's row, and its column, that kernel
        "offset_x": signed(OFFSET_BITS),  # position (0, 0) of output (0, 0) reads
        "log_average": 2,
        "height": MAP_BITS,
        "width": MAP_BITS,
        "block_stride": ENTRY_BITS,  # height * `Arch.row_pitch` of the width
    }
)
"""One input of a layer: how its kernels read their source, whose map is height x width."""


def pushed(shape: data.Layout) -> wiring.Signature:
    """A stream whose receiver has room: what is valid is taken in the same cycle.

    With `always_ready` a constant would be among the ports, and no netlist of the block alone.
    """
    return wiring.Signature({"payload": Out(shape), "valid": Out(1)})


def join_header(wsp: Value, slot: Value, side: int) -> Value:
    """A header of the header bank, for a kernel side: the WSP's side * side bits, then the slot."""
    return wsp[: side**2] | slot << side**2


def split_header(header: Value, side: int) -> tuple[Value, Value]:
    """WSP and slot of a header."""
    return header[: side**2], header[side**2 : side**2 + SLOT_BITS]


@dataclass(frozen=True)
class Layouts:
    """Widths and packets for one Arch."""

    arch: Arch

    @property
    def sides(self) -> tuple[int, ...]:
        """Kernel sides that there are; the kernel code is the place of one of them."""
        return tuple(range(1, self.arch.kernel_max + 1, 2))

    @property
    def kernel_bits(self) -> int:
        """Bits of a kernel code."""
        return ceil_log2(len(self.sides))

    @property
    def wsp_bits(self) -> int:
        """Bits of the widest WSP."""
        return self.arch.kernel_max**2

    def fetched(self, side: int) -> int:
        """Kernels of a fetch of headers; one, too, where a fetch is half of its header."""
        return max(1, self.arch.fetch_units // HEADER_UNITS[side])

    @property
    def groups(self) -> tuple[int, ...]:
        """Widths of the groups of a pattern: each has a row of one of the kernels of a fetch.

        Kernel n of a fetch has the groups from n * K on; for K = 1 as for K = 3.
        """
        rows = {side: side * self.fetched(side) for side in self.sides if side > 1}
        return tuple(
            max(side for side, count in rows.items() if group < count)
            for group in range(max(rows.values()))
        )

    @property
    def pattern_bits(self) -> int:
        """Bits of the kernel positions of a fetch."""
        return sum(self.groups)

    def group(self, pattern: Value, number: int) -> Value:
        """A group of a pattern."""
        first = sum(self.groups[:number])
        return pattern[first : first + self.groups[number]]

    @property
    def fetch_bits(self) -> int:
        """Bits of the number of a fetch: a channel has at most SLOTS_MAX headers, each of which may
        be of two fetches for K = 7.
        """
        return SLOT_BITS + exact_log2(self.header_line_units // self.arch.fetch_units)

    @property
    def place_bits(self) -> int:
        """Bits of the place of a header in its fetch."""
        return exact_log2(self.arch.fetch_units)

    @property
    def lane_bits(self) -> int:
        """Bits of a lane of a spike block, which is the number of a PE."""
        return exact_log2(self.arch.pes)

    @property
    def block_bits(self) -> int:
        """Bits of a block within a chunk."""
        return ceil_log2(self.arch.chunk_blocks)

    @property
    def line_bits(self) -> int:
        """Bits of a line of the channel table: block within the chunk, then lane."""
        return self.block_bits + self.lane_bits

    @property
    def weight_address_bits(self) -> int:
        """Bits of an address in the weight bank: half 1 follows half 0 without a gap."""
        return ceil_log2(2 * self.arch.weight_words)

    @property
    def header_unit_bits(self) -> int:
        """Bits of a 16-bit unit of one half of the header bank, or of the number of them."""
        return ceil_log2(self.header_lines * self.header_line_units + 1)

    @property
    def header_line_units(self) -> int:
        """Units of a line of the header bank: those of the longest header, or of a fetch."""
        return max(HEADER_UNITS[self.arch.kernel_max], self.arch.fetch_units)

    @property
    def header_lines(self) -> int:
        """Lines of one half of the header bank."""
        return -(-self.arch.header_words // self.header_line_units)

    @property
    def coordinate_bits(self) -> int:
        """Bits of an activation's row or column, counted from the first one that reaches the tile:
        at most (side - 1) * 2 + 6, and no side of a tile is longer than a PE has accumulators.
        """
        side = min(self.arch.accumulators, MAP_MAX)
        return ((side - 1) * 2 + KERNEL_MAX - 1).bit_length()

    @property
    def row_bits(self) -> int:
        """Bits of the address of an accumulator row."""
        return exact_log2(self.arch.accumulators)

    def skew(self, row: Value) -> Value:
        """The bank that has psum 0 of a row; that of psum t is this XOR t."""
        bits = exact_log2(self.arch.banks)
        if not bits:
            return Const(0)
        found: Value = Const(0, bits)
        for first in range(0, len(row), bits):
            found = found ^ row[first : first + bits]
        return found[:bits]

    @property
    def entry_bits(self) -> int:
        """Bits of an address in the spike memory."""
        return ceil_log2(self.arch.spike_entries)

    @property
    def masks(self) -> data.ArrayLayout:
        """The spike masks of a block; lane = PE."""
        return data.ArrayLayout(self.arch.timesteps, self.arch.pes)

    @property
    def entry(self) -> data.StructLayout:
        """An entry of the spike memory: one position of a block."""
        return data.StructLayout({"column": MAP_BITS, "masks": self.masks})

    @property
    def activation(self) -> data.StructLayout:
        """What the APU broadcasts and the FIFOs hold.

        marker: the broadcast's end; of the fields that follow, only the next two count.
        ends_round, frees: the marker ends its round; gives up its half of the scratchpad. With
            neither another image of the round follows.
        half: of the scratchpad. kernel, log_stride: of the segment; code 0 to 3 for the sides
            1, 3, 5, 7, and log2.
        line: of the channel table. mask: bit t = timestep t of the group.
        rows, columns: kernel rows r and columns s that connect the activation to a position of the
            tile, so PID r * K + s matches where rows[r] and columns[s].
        y, x: row - offset - origin * stride; the position for kernel row r is (y - r) / stride.
        """
        return data.StructLayout(
            {
                "marker": 1,
                "ends_round": 1,
                "frees": 1,
                "half": 1,
                "kernel": self.kernel_bits,
                "log_stride": 1,
                "line": self.line_bits,
                "mask": self.arch.timesteps,
                "rows": self.arch.kernel_max,
                "columns": self.arch.kernel_max,
                "y": self.coordinate_bits,
                "x": self.coordinate_bits,
            }
        )

    @property
    def broadcast(self) -> data.StructLayout:
        """What the APU has to know of the chunk that it broadcasts to a tile.

        segment: the layer's input that it belongs to. kernel, half, ends_round, frees: as in
            `activation`.
        blocks: that the chunk touches. entry: where row 0 of the first of them starts, in the map
            of the image and the round's group.
        top, left, height, width: the tile, clipped to the map.
        """
        return data.StructLayout(
            {
                "segment": SEGMENT,
                "kernel": self.kernel_bits,
                "half": 1,
                "ends_round": 1,
                "frees": 1,
                "blocks": 9,
                "entry": ENTRY_BITS,
                "top": MAP_BITS,
                "left": MAP_BITS,
                "height": MAP_BITS,
                "width": MAP_BITS,
            }
        )

    @property
    def place(self) -> data.StructLayout:
        """What the collector has to know of the position whose masks leave the LIF, or come in.

        opens, closes: it is the first, the last position of its pooling window.
        restarts: the window is the first of its row of the map; row_start: of its row of the tile.
        entry: where that row of the map starts in the spike memory. column: of the window.
        """
        return data.StructLayout(
            {
                "valid": 1,
                "opens": 1,
                "closes": 1,
                "restarts": 1,
                "row_start": 1,
                "entry": ENTRY_BITS,
                "column": MAP_BITS,
            }
        )

    @property
    def matched(self) -> data.StructLayout:
        """An entry of the match queue: the matches of one fetch of headers, or a marker.

        kernel, log_stride: as in `activation`.
        pids, wsp: matched and living kernel positions, in `groups`. Zero for a header of another
            channel.
        base: address of the weight of the first bit of `wsp`.
        slots: of each kernel.
        """
        return data.StructLayout(
            {
                "marker": 1,
                "ends_round": 1,
                "frees": 1,
                "kernel": self.kernel_bits,
                "log_stride": 1,
                "pids": self.pattern_bits,
                "wsp": self.pattern_bits,
                "base": self.weight_address_bits,
                "slots": data.ArrayLayout(SLOT_BITS, self.arch.fetch_units),
                "mask": self.arch.timesteps,
                "y": self.coordinate_bits,
                "x": self.coordinate_bits,
            }
        )

    @property
    def selected(self) -> data.StructLayout:
        """What the selector hands on: a matched weight of each way.

        ways: one, or two of which the first has an even, the second an odd address, or four, by
            the address modulo 4. enable: there is one. row: of the accumulators. mask: of the
            spikes that all of them meet.
        """
        way = {"enable": 1, "address": self.weight_address_bits, "row": self.row_bits}
        return data.StructLayout(
            {
                "mask": self.arch.timesteps,
                "ways": data.ArrayLayout(data.StructLayout(way), self.arch.ways),
            }
        )

    @property
    def marker(self) -> data.StructLayout:
        """A marker that issues. ends_round, frees: as in `activation`."""
        return data.StructLayout({"enable": 1, "ends_round": 1, "frees": 1})

    @property
    def load_context(self) -> data.StructLayout:
        """What a PE has to know to unpack a chunk.

        kernel: code. log_slots: log2 of the layer's filters per PE and pass.
        lead: lane of the chunk's first channel. biases: the pass's last chunk, with the biases.
        width: code of the weights' width in the stream, an index of WEIGHT_WIDTHS.
        base: of weights of 4 bits, the exponent of the smallest code.
        """
        return data.StructLayout(
            {
                "kernel": self.kernel_bits,
                "log_slots": 3,
                "lead": self.lane_bits,
                "biases": 1,
                "width": WIDTH_BITS,
                "base": BASE_BITS,
                "half": 1,
            }
        )

    @property
    def load_word(self) -> data.StructLayout:
        """Units for a PE; whether they are its first or its last of the chunk."""
        return data.StructLayout({"units": 64, "first": 1, "last": 1, "context": self.load_context})

    @property
    def load_words(self) -> data.ArrayLayout:
        """A word for a PE in each lane of a port word."""
        return data.ArrayLayout(self.load_word, self.arch.port_lanes)

    @property
    def table_line(self) -> data.StructLayout:
        """A line of the channel table.

        first: number of the channel's first header in the half. last: number of its last fetch,
            counted from its first. tail: place of its last header in that.
        weight: address of its first weight in the weight bank.
        """
        return data.StructLayout(
            {
                "first": self.header_unit_bits,
                "last": self.fetch_bits,
                "tail": self.place_bits,
                "weight": self.weight_address_bits,
            }
        )

    @property
    def weight_write(self) -> data.StructLayout:
        return data.StructLayout(
            {"enable": 1, "address": self.weight_address_bits, "data": WEIGHT_BITS}
        )

    @property
    def header_write(self) -> data.StructLayout:
        """One header, right-aligned. unit: its first 16-bit unit in the half, a multiple of the
        units that a header of this kernel takes.
        """
        return data.StructLayout(
            {
                "enable": 1,
                "half": 1,
                "unit": self.header_unit_bits,
                "kernel": self.kernel_bits,
                "data": HEADER_UNITS[self.arch.kernel_max] * UNIT_BITS,
            }
        )

    @property
    def table_write(self) -> data.StructLayout:
        """pattern: for the filter, of the same channel."""
        return data.StructLayout(
            {
                "enable": 1,
                "half": 1,
                "line": self.line_bits,
                "data": self.table_line,
                "pattern": FILTER_BITS,
            }
        )

    @property
    def presence_write(self) -> data.StructLayout:
        """Which lanes of a block the PE has weights of. clear: forget the whole half first."""
        return data.StructLayout(
            {
                "clear": 1,
                "enable": 1,
                "half": 1,
                "block": self.block_bits,
                "lanes": self.arch.pes,
            }
        )

    @property
    def weight_read(self) -> data.StructLayout:
        return data.StructLayout({"enable": 1, "address": self.weight_address_bits})

    @property
    def header_read(self) -> data.StructLayout:
        """word: of `fetch_units` units, in the half."""
        return data.StructLayout(
            {"enable": 1, "half": 1, "word": self.header_unit_bits - self.place_bits}
        )

    @property
    def table_read(self) -> data.StructLayout:
        return data.StructLayout({"enable": 1, "half": 1, "line": self.line_bits})

    @property
    def presence_read(self) -> data.StructLayout:
        return data.StructLayout({"enable": 1, "half": 1, "block": self.block_bits})

    @property
    def spike_read(self) -> data.StructLayout:
        """A read of an entry of the spike memory, or of the count of the row that starts there."""
        return data.StructLayout({"enable": 1, "address": self.entry_bits})

    @property
    def entry_write(self) -> data.StructLayout:
        return data.StructLayout({"enable": 1, "address": self.entry_bits, "data": self.entry})

    @property
    def count_write(self) -> data.StructLayout:
        return data.StructLayout({"enable": 1, "address": self.entry_bits, "data": MAP_BITS})

    @property
    def row_read(self) -> data.StructLayout:
        return data.StructLayout({"enable": 1, "row": self.row_bits})

    @property
    def addition(self) -> data.StructLayout:
        """A weight, and the row of its neuron."""
        return data.StructLayout({"enable": 1, "row": self.row_bits, "weight": signed(WEIGHT_BITS)})

    @property
    def row_drain(self) -> data.StructLayout:
        """keep: the row is not cleared."""
        return data.StructLayout({"enable": 1, "keep": 1, "row": self.row_bits})

    @property
    def row_carry(self) -> data.StructLayout:
        """A neuron's first psum, which is what its last group of timesteps leaves to the next."""
        return data.StructLayout({"enable": 1, "row": self.row_bits, "value": signed(PSUM_BITS)})

    @property
    def drain_read(self) -> data.StructLayout:
        """What all PEs read in a drain cycle: a half of a bias, or an accumulator row.

        bias, high: read unit `high` of the bias of `slot`, in `half`. row: read and, without
        `keep`, clear it; 0 without `read`. steps, ends: with parallel LIF, all neurons step; the
        last one is read, and with `keep` what is left of all goes on.
        """
        parallel = {"steps": 1, "ends": 1} if self.arch.lif_parallel else {}
        return data.StructLayout(
            {
                "bias": 1,
                "high": 1,
                "half": 1,
                "slot": SLOT_BITS,
                "read": 1,
                "keep": 1,
                "row": self.row_bits,
                **parallel,
            }
        )

    @property
    def sums(self) -> data.ArrayLayout:
        """A row of the accumulators: the partial sums of a neuron, one a timestep."""
        return data.ArrayLayout(signed(PSUM_BITS), self.arch.timesteps)
