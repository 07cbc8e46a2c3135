"""Pack: Program x Mapping x Arch -> Packed, the words in the accelerator's memory.

The weight stream (bit by bit; 64-bit words, little-endian, in the order in which the port reads
them; a pass is contiguous, its chunks follow each other):

    chunk    pes x 8 bit: words of each PE, PE 0 in the low byte of the first word;
             then words of the PEs, round-robin over the PEs that still have some
    PE       16-bit units, low unit of a word first:
             [n]                     number of tokens
             [token 1 | token 0]     a pair of 8-bit tokens, then one unit for each token of the
             [int16] ...             pair that stands for a weight; repeated; zero-padded
             [bias 15:0] [bias 23:16] for each slot, in the last chunk of a pass only
    token    K = 1: [7:1] gap [0] PID      K = 3: [7:4] gap [3:0] PID
             K = 5: [7:5] gap [4:0] PID    K = 7: [7:6] gap [5:0] PID
             PID below K*K: go `gap` kernels on; a weight at kernel position PID follows.
             PID all ones: skip; go (gap + 1) << (bits of gap) kernels on, no weight.

Kernels are counted as `(channel - first channel of the chunk) * slots + slot` from 0; within a
kernel the PIDs ascend. The PE's loader turns tokens into kernel headers (slot and WSP) and the
channel table; see docs/timing.md. A weight costs 8 bits of index at any density below about 1/3,
where a 16-bit header for each non-empty kernel costs up to 16 bits a weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evenspike_core.arch import COUNT_BITS, PID_BITS, TOKEN_BITS, Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import Leak, Reset
from evenspike_core.mapping import BIAS_WORDS, Chunk, LayerMapping, Mapping, check, permuted
from evenspike_core.program import Layer, Program, Segment

Units = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class SegmentDescriptor:
    """One input of a layer, as the sequencer needs it.

    blocks: entries' blocks of the source; height, width: its map.
    spike_base: first entry of the source in the spike memory.
    """

    source: int
    kernel: int
    stride: int
    padding: int
    average: int
    blocks: int
    height: int
    width: int
    spike_base: int


@dataclass(frozen=True)
class Descriptor:
    """One layer, as the sequencer runs it; every field is data, none is a generic.

    blocks: int32 [blocks, pes], the filter of each output lane (the host's key to the results).
    passes: (address, words) of each pass in the weight stream.
    slots_used: slots that the drain of each pass visits.
    """

    name: str
    host: bool
    last: bool
    segments: tuple[SegmentDescriptor, ...]
    size: tuple[int, int]
    pool: int
    tile: tuple[int, int]
    slots: int
    chunks: tuple[Chunk, ...]
    passes: tuple[tuple[int, int], ...]
    slots_used: tuple[int, ...]
    threshold: int
    leak: Leak
    reset: Reset
    spike_base: int
    filters: int
    blocks: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Packed:
    """What is in the memories before the first cycle.

    stream: uint64, the weight stream. Each layer's part is contiguous, in execution order.
    host: the layer whose currents the host computes for every image.
    """

    name: str
    arch: Arch
    timesteps: int
    shape: tuple[int, int, int]
    layers: tuple[Descriptor, ...]
    stream: npt.NDArray[np.uint64]
    host: Layer = field(repr=False)


def pack(program: Program, mapping: Mapping, arch: Arch) -> Packed:
    """Lay a Program out in memory.

    Raises EvenspikeError naming the layer where a table, a count or the spike memory is too small.
    """
    check(program, arch)
    bases = _allocate(program, mapping, arch)
    address = 0
    layers, streams = [], []
    for index in range(len(program.layers)):
        descriptor, stream = pack_layer(program, mapping, index, arch, bases, address)
        layers.append(descriptor)
        streams.append(stream)
        address += stream.size
    return Packed(
        program.name,
        arch,
        program.timesteps,
        program.shape,
        tuple(layers),
        np.concatenate(streams),
        program.layers[0],
    )


def pack_layer(
    program: Program,
    mapping: Sequence[LayerMapping],
    index: int,
    arch: Arch,
    bases: Sequence[int] | None = None,
    address: int = 0,
) -> tuple[Descriptor, npt.NDArray[np.uint64]]:
    """One layer's descriptor and part of the weight stream.

    bases: first entry of each layer's spikes; without, all at 0 (a layer on its own).
    """
    layer, plan = program.layers[index], mapping[index]
    base = bases or [0] * len(program.layers)
    weights = [] if layer.host else [permuted(s, mapping) for s in layer.segments]
    streams = [
        _pack_pass(layer, plan, weights, number, arch)
        for number in range(0 if layer.host else plan.passes)
    ]
    ends = address + np.cumsum([0, *(s.size for s in streams)])
    descriptor = Descriptor(
        layer.name,
        layer.host,
        layer.last,
        tuple(_describe(program, s, mapping, base) for s in layer.segments),
        layer.size,
        layer.pool,
        plan.tile,
        plan.slots,
        plan.chunks,
        tuple((int(at), s.size) for at, s in zip(ends, streams, strict=False)),
        tuple(plan.slots_used(n) for n in range(plan.passes)),
        layer.threshold,
        layer.leak,
        layer.reset,
        base[index],
        layer.filters,
        plan.blocks,
    )
    return descriptor, np.concatenate([np.zeros(0, dtype=np.uint64), *streams])


def _describe(
    program: Program, segment: Segment, mapping: Sequence[LayerMapping], bases: Sequence[int]
) -> SegmentDescriptor:
    _, height, width = program.source_shape(segment)
    inner = segment.source >= 0
    return SegmentDescriptor(
        segment.source,
        segment.kernel,
        segment.stride,
        segment.padding,
        segment.average,
        mapping[segment.source].blocks.shape[0] if inner else 0,
        height,
        width,
        bases[segment.source] if inner else 0,
    )


def _allocate(program: Program, mapping: Mapping, arch: Arch) -> list[int]:
    """First entry of each layer's spikes; space is reused after the last reader has run."""
    reader = {s.source: i for i, layer in enumerate(program.layers) for s in layer.segments}
    taken: list[tuple[int, int, int]] = []  # (base, end, last reader)
    bases = []
    for index, layer in enumerate(program.layers):
        taken = sorted(item for item in taken if item[2] >= index)
        entries = mapping[index].blocks.shape[0] * layer.output[1] * layer.output[2]
        base = 0
        if not layer.last:
            for start, end, _ in taken:
                if base + entries <= start:
                    break
                base = max(base, end)
            if base + entries > arch.spike_entries:
                raise EvenspikeError(
                    f"layer {layer.name}: no room for {entries} entries of spikes beside those "
                    f"still needed; the spike memory has {arch.spike_entries}"
                )
            taken.append((base, base + entries, reader.get(index, index)))
        bases.append(base)
    return bases


def _pack_pass(
    layer: Layer,
    plan: LayerMapping,
    weights: list[npt.NDArray[np.int16]],
    number: int,
    arch: Arch,
) -> npt.NDArray[np.uint64]:
    parts = []
    for position, (segment, start, end) in enumerate(plan.chunks):
        last = position == len(plan.chunks) - 1
        streams = []
        for pe in range(arch.pes):
            filters = plan.assignment[number, :, pe]
            tokens, values = _tokens(
                weights[segment][:, start:end], filters, layer.segments[segment].kernel
            )
            biases = _biases(layer, filters) if last else np.zeros(0, dtype=np.uint16)
            units = np.concatenate([_units(tokens, values, layer, segment), biases])
            units = np.concatenate([units, np.zeros(-units.size % 4, dtype=np.uint16)])
            streams.append(units.view(np.uint64))
        parts.append(_interleave(layer, streams))
    return np.concatenate(parts)


def _tokens(
    weights: npt.NDArray[np.int16], filters: npt.NDArray[np.int32], kernel: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16]]:
    """Tokens of one PE and chunk, and the weights that follow those that are not skips."""
    used = filters >= 0
    own = np.zeros((weights.shape[1], filters.size, kernel**2), dtype=np.int16)
    own[:, used] = weights[filters[used]].transpose(1, 0, 2)
    flat = own.reshape(-1, kernel**2)
    kernels, pids = np.nonzero(flat)
    gaps = np.diff(kernels, prepend=0)
    pid_bits = PID_BITS[kernel]
    gap_bits = TOKEN_BITS - pid_bits
    skip_pid = (1 << pid_bits) - 1
    tokens: list[int] = []
    step = 1 << gap_bits
    for gap, pid in zip(gaps.tolist(), pids.tolist(), strict=True):
        while gap >= step:
            leap = min(gap >> gap_bits, step)
            tokens.append((leap - 1) << pid_bits | skip_pid)
            gap -= leap << gap_bits
        tokens.append(gap << pid_bits | pid)
    return np.array(tokens, dtype=np.uint8), flat[kernels, pids]


def _units(
    tokens: npt.NDArray[np.uint8], values: npt.NDArray[np.int16], layer: Layer, segment: int
) -> Units:
    """16-bit units of a token stream: the count, then pairs of tokens and their weights."""
    skip = (1 << PID_BITS[layer.segments[segment].kernel]) - 1
    real = (tokens & skip) != skip
    pairs = -(-tokens.size // 2)
    padded = np.zeros(2 * pairs, dtype=np.uint16)
    padded[: tokens.size] = tokens
    counted = np.zeros(2 * pairs, dtype=np.int64)
    counted[: tokens.size] = real
    before = np.concatenate([[0], np.cumsum(counted)])
    # A pair's unit stands behind the count, the earlier pairs and the earlier weights.
    pair_at = 1 + np.arange(pairs) + before[:-1:2]
    units = np.zeros(1 + pairs + values.size, dtype=np.uint16)
    units[0] = tokens.size
    units[pair_at] = padded[::2] | padded[1::2] << 8
    owner = np.flatnonzero(real) // 2
    units[2 + owner + np.arange(values.size)] = values.view(np.uint16)
    return units


def _biases(layer: Layer, filters: npt.NDArray[np.int32]) -> Units:
    units = np.zeros((filters.size, BIAS_WORDS), dtype=np.uint16)
    used = filters >= 0
    bias = layer.bias[filters[used]]
    units[used, 0] = bias & 0xFFFF
    units[used, 1] = (bias >> 16) & 0xFF
    return units.reshape(-1)


def _interleave(layer: Layer, streams: list[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
    """The chunk's counts, then the PEs' words round-robin."""
    counts = np.array([s.size for s in streams])
    if counts.max() >= 1 << COUNT_BITS:
        raise EvenspikeError(
            f"layer {layer.name}: {counts.max()} words for PE {counts.argmax()} in one chunk, "
            f"the count has {COUNT_BITS} bits"
        )
    header = np.zeros(-(-counts.size // 8) * 8, dtype=np.uint8)
    header[: counts.size] = counts
    grid = np.zeros((counts.max(), counts.size), dtype=np.uint64)
    there = np.arange(counts.max())[:, None] < counts[None, :]
    for pe, stream in enumerate(streams):
        grid[: stream.size, pe] = stream
    return np.concatenate([header.view(np.uint64), grid[there]])


def split_chunk(
    words: npt.NDArray[np.uint64], address: int, pes: int
) -> tuple[list[npt.NDArray[np.uint64]], int]:
    """Inverse of the interleaving: the words of each PE and the address behind the chunk.

    Raises EvenspikeError for counts that reach beyond the stream.
    """
    header = -(-pes // 8)
    counts = words[address : address + header].view(np.uint8)[:pes].astype(np.int64)
    if counts.size < pes or address + header + int(counts.sum()) > words.size:
        raise EvenspikeError(
            f"the chunk at word {address} ends behind the weight stream of {words.size} words"
        )
    there = np.arange(counts.max(initial=0))[:, None] < counts[None, :]
    end = address + header + int(counts.sum())
    grid = np.zeros(there.shape, dtype=np.uint64)
    grid[there] = words[address + header : end]
    return [np.ascontiguousarray(grid[: counts[pe], pe]) for pe in range(pes)], end
