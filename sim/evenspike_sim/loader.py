"""Loader: what the weight stream leaves in the scratchpads, and how long each PE unpacks a word.

Decodes the words of a Packed exactly as a PE's loader does (formats: `evenspike_core.pack`): tokens
become kernel headers (slot and WSP) and the channel table, weights and biases go to the weight
bank. Contents and cycles depend only on the Packed, so they are decoded once and serve every
input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import numpy.typing as npt

from evenspike_core.arch import FILTER_SIDE, HEADER_UNITS, PID_BITS
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import BIAS_WORDS
from evenspike_core.pack import Descriptor, Packed, split_chunk

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LoadedChunk:
    """One half of all scratchpads after a load.

    kernel_start: [pes, channels + 1]; kernels of channel c are kernel_start[p, c] up to [c + 1].
    wsp, slot, weight_start: [pes, kernels], of each kernel header.
    patterns: [pes, channels], the OR of a channel's WSPs for K <= 3, else all bits.
    weights: [pes, words] of the weight bank. bias: [pes, slots], in a pass's last chunk.
    word_pe, word_cycles: [words, lanes]; the PE that each lane of a port word goes to (-1: the
        chunk's counts, or none), and the cycles that the PE's loader takes to unpack it: one a
        unit, one a skip token between 16-bit weights.
    word_held: [words, lanes]; cycles from its hand-over to the first in which the PE can take
        another.
    """

    segment: int
    start: int
    end: int
    kernel_start: I64
    wsp: I64
    slot: I64
    weight_start: I64
    patterns: I64
    weights: I64
    bias: I64
    word_pe: I64
    word_cycles: I64
    word_held: I64
    header_units: int
    word_units: int

    @property
    def units(self) -> int:
        """Units of all lanes' words of a load, those of the counts among them."""
        return self.word_pe.size * self.word_units

    @property
    def scratchpad_writes(self) -> int:
        """16-bit units of weights and headers that a load writes, biases not counted."""
        headers = int(self.kernel_start[:, -1].sum())
        return int(np.count_nonzero(self.weights)) + headers * self.header_units

    @property
    def table_writes(self) -> int:
        """Entries of the channel tables that a load writes: channels of which a PE has a kernel."""
        return int(np.count_nonzero(np.diff(self.kernel_start, axis=1)))


@nb.njit(cache=True, nogil=True)
def _word_units(bits: int) -> int:
    """Units of a PE's word whose weights have so many bits."""
    return 5 if bits == 4 else 4


@nb.njit(cache=True, nogil=True)
def _unpack(
    units: npt.NDArray[np.uint16],
    bits: int,
    base: int,
    pid_bits: int,
    positions: int,
    slots: int,
    kernel_start: I64,
    wsp: I64,
    slot: I64,
    weight_start: I64,
    weights: I64,
    cycles: I64,
) -> int:
    """Decode one PE's units; returns the number of units before the biases, or -1 if malformed.

    bits, base: of the weights, and of their codes if they have 4; then a word has five units.

    Compiled without checks of indices: every write below is in bounds whatever the units are.
    """
    gap_bits = 8 - pid_bits
    skip = (1 << pid_bits) - 1
    channels = kernel_start.size - 1
    room = _word_units(bits)
    beside = bits < 16  # a token and its weight
    for index in range(units.size):
        cycles[index // room] += 1
    left = np.int64(units[0])
    at, stored = 1, 0
    kernel, opened = np.int64(0), np.int64(-1)
    headers = 0
    while left > 0:
        if at >= units.size:
            return -1
        pair = np.int64(units[at])
        recent = at
        at += 1
        for half in range(1 if beside else 2):
            if left == 0:
                break
            token = (pair >> (8 * half)) & 255
            gap, pid = token >> pid_bits, token & skip
            left -= 1
            if pid == skip and beside:
                kernel += ((pair >> 8 << gap_bits | gap) + 1) << gap_bits
                continue
            if pid == skip:
                kernel += (gap + 1) << gap_bits
                # A skip brings no unit of its own: it holds up the word that is being unpacked.
                cycles[recent // room] += 1
                continue
            kernel += gap
            channel = kernel // slots
            if (at >= units.size and not beside) or pid >= positions or channel >= channels:
                return -1
            if stored >= weights.size or (kernel != opened and headers >= slot.size):
                return -1
            if kernel != opened:
                slot[headers] = kernel % slots
                weight_start[headers] = stored
                headers += 1
                kernel_start[channel + 1] += 1
                opened = np.int64(kernel)
            wsp[headers - 1] |= np.int64(1) << pid
            if bits == 4:
                exponent = base + (pair >> 8 & 7)
                if exponent > 14:
                    return -1
                size = np.int64(1) << exponent
                weights[stored] = -size if pair & 0x800 else size
            elif bits == 8:
                weights[stored] = np.int8(pair >> 8)
            else:
                weights[stored] = np.int16(units[at])
                recent = at
                at += 1
            stored += 1
    for c in range(channels):
        kernel_start[c + 1] += kernel_start[c]
    return at


def load_pass(packed: Packed, descriptor: Descriptor, number: int) -> list[LoadedChunk]:
    """Decode all chunks of one pass.

    Raises EvenspikeError naming the layer, pass and PE where the stream is malformed or a bank
    overflows.
    """
    arch = packed.arch
    address, size = descriptor.passes[number]
    chunks = []
    for position, (segment, start, end) in enumerate(descriptor.chunks):
        last = position == len(descriptor.chunks) - 1
        kernel = descriptor.segments[segment].kernel
        bits, base = descriptor.segments[segment].weight_bits, descriptor.segments[segment].base
        try:
            streams, following = split_chunk(packed.stream, address, arch)
        except EvenspikeError as error:
            raise EvenspikeError(
                f"layer {descriptor.name}: pass {number}, chunk {position}: {error}"
            ) from error
        units = HEADER_UNITS[kernel]
        headers = arch.header_words // units
        kernel_start = np.zeros((arch.pes, end - start + 1), dtype=np.int64)
        wsp, slot, weight_start = (np.zeros((arch.pes, headers), dtype=np.int64) for _ in range(3))
        weights = np.zeros((arch.pes, arch.weight_words), dtype=np.int64)
        bias = np.zeros((arch.pes, descriptor.slots), dtype=np.int64)
        room = arch.weight_words - (BIAS_WORDS * descriptor.slots if last else 0)
        cycles, held = [], []
        for pe, stream in enumerate(streams):
            taken = np.zeros(stream.size, dtype=np.int64)
            content = _units(stream, bits)
            at = -1
            if content.size and int(content[0]) <= 2 * content.size:
                at = _unpack(
                    content,
                    bits,
                    base,
                    PID_BITS[kernel],
                    kernel**2,
                    descriptor.slots,
                    kernel_start[pe],
                    wsp[pe],
                    slot[pe],
                    weight_start[pe],
                    weights[pe, :room],
                    taken,
                )
            if at < 0 or (last and at + 2 * descriptor.slots > content.size):
                raise EvenspikeError(
                    f"layer {descriptor.name}: pass {number}, chunk {position}: "
                    f"the weight stream of PE {pe} is malformed"
                )
            if last:
                raw = content[at : at + 2 * descriptor.slots].astype(np.int64).reshape(-1, 2)
                value = raw[:, 0] & 0xFFF | (raw[:, 1] & 0xFFF) << 12
                bias[pe] = np.where(value >> 23, value - (1 << 24), value)
            cycles.append(taken)
            # A word of 8- or 4-bit weights is followed at once by another of its chunk.
            held.append(taken + 1)
            if bits < 16:
                held[-1][:-1] -= 1
        order_pe, order_cycles = _round_robin(cycles, arch.port_lanes)
        _, order_held = _round_robin(held, arch.port_lanes)
        counts = np.full((arch.count_words, arch.port_lanes), -1)
        chunks.append(
            LoadedChunk(
                segment,
                start,
                end,
                kernel_start,
                wsp,
                slot,
                weight_start,
                _patterns(kernel_start, wsp, kernel),
                weights,
                bias,
                np.concatenate([counts, order_pe]),
                np.concatenate([0 * counts, order_cycles]),
                np.concatenate([0 * counts, order_held]),
                units,
                _word_units(bits),
            )
        )
        address = following
    if address != descriptor.passes[number][0] + size:
        raise EvenspikeError(
            f"layer {descriptor.name}: pass {number} has {size} words, not all used"
        )
    return chunks


def _units(words: npt.NDArray[np.uint64], bits: int) -> npt.NDArray[np.uint16]:
    """The units of a PE's words, low one first: four of 16 bits each, or five of 12."""
    if bits != 4:
        return words.view(np.uint16)
    shifts = np.arange(0, 60, 12, dtype=np.uint64)
    return (words[:, None] >> shifts & np.uint64(0xFFF)).astype(np.uint16).reshape(-1)


def _patterns(kernel_start: I64, wsp: I64, kernel: int) -> I64:
    """The OR of each channel's WSPs, [pes, channels]; all bits where the filter knows of none."""
    found = np.zeros((kernel_start.shape[0], kernel_start.shape[1] - 1), dtype=np.int64)
    if kernel > FILTER_SIDE:
        return ~found
    for pe, starts in enumerate(kernel_start):
        channel = np.repeat(np.arange(found.shape[1]), np.diff(starts))
        np.bitwise_or.at(found[pe], channel, wsp[pe, : starts[-1]])
    return found


def _round_robin(cycles: list[I64], lanes: int) -> tuple[I64, I64]:
    """PE and cycles of each lane of each port word, in the order of the port; -1 and 0 for none."""
    longest = max(sum(c.size for c in cycles[lane::lanes]) for lane in range(lanes))
    owners = np.full((longest, lanes), -1, dtype=np.int64)
    found = np.zeros((longest, lanes), dtype=np.int64)
    for lane in range(lanes):
        own = cycles[lane::lanes]
        grid = np.full((max(c.size for c in own), len(own)), -1, dtype=np.int64)
        for at, taken in enumerate(own):
            grid[: taken.size, at] = taken
        there = grid >= 0
        numbers = np.broadcast_to(np.arange(lane, len(cycles), lanes), grid.shape)
        size = int(there.sum())
        owners[:size, lane], found[:size, lane] = numbers[there], grid[there]
    return owners, found
