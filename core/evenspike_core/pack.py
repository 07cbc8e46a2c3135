"""Pack: Program x Mapping x Arch -> Packed, the words in the accelerator's memory.

The weight stream (bit by bit; little-endian, in the order in which the port reads it; a pass is
contiguous, its chunks follow each other). A word of the port has `port_bits` bits; its lanes are 64
bits each, lane 0 the lowest, and lane n belongs to the PEs whose number modulo the lanes is n:

    chunk    pes x 8 bit: 64-bit words of each PE, PE 0 in the low byte of the first port word;
             then in each lane the words of its PEs, round-robin over those that still have some,
             and zeros behind them up to the end of the longest lane
    PE       units of 16 bits (12 where weights have 4), low unit of a word first:
             [n]                     number of tokens
             weights of 16 bits:
             [token 1 | token 0]     a pair of 8-bit tokens, then one unit for each token of the
             [int16] ...             pair that stands for a weight; repeated
             weights of 8 bits:
             [int8 | token] ...      a unit for each token, with its weight
             weights of 4 bits:
             [code | token] ...      likewise; a unit has 12 bits, and a word five of them, the top
                                     four bits 0
             then
             [bias 11:0] [bias 23:12] for each slot, in the last chunk of a pass only; the upper
             bits of both units are 0
             zero-padded
    token    K = 1: [7:1] gap [0] PID      K = 3: [7:4] gap [3:0] PID
             K = 5: [7:5] gap [4:0] PID    K = 7: [7:6] gap [5:0] PID
             PID below K*K: go `gap` kernels on; a weight at kernel position PID follows.
             PID all ones: skip; go (gap + 1) << (bits of gap) kernels on, no weight. Beside a token
             of 8- or 4-bit weights, what is in the weight's place are the high bits of `gap`.
    code     [3] sign [2:0] e: the weight is 2^(base + e), or its negative; the chunk's descriptor
             gives the base, and base + e is 14 at most

Kernels are counted as `(channel - first channel of the chunk) * slots + slot` from 0; within a
kernel the PIDs ascend. The PE's loader turns tokens into kernel headers (slot and WSP) and the
channel table; see docs/timing.md. A weight costs 8 bits of index at any density below about 1/3,
where a 16-bit header for each non-empty kernel costs up to 16 bits a weight. All weights of a
chunk have the same width, which its descriptor gives; the weight bank holds 16 bits of each,
whatever they are in the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.arch import (
    BESIDE_BITS,
    BIAS_BITS,
    CHUNK_WORDS,
    COUNT_BITS,
    DESCRIPTOR_WORDS,
    PID_BITS,
    TOKEN_BITS,
    UNIT_BITS,
    WORD_UNITS,
    Arch,
)
from evenspike_core.codes import CODE_BITS, codes_of
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import mask_type
from evenspike_core.mapping import (
    BIAS_WORDS,
    Chunk,
    Index,
    LayerMapping,
    Mapping,
    check,
    check_plan,
    lanes,
    living,
    no_room,
)
from evenspike_core.program import Layer, Program, Readout, Rebuilt, Segment, immutable

Units = npt.NDArray[np.uint16]
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class SegmentDescriptor:
    """One input of a layer, as the sequencer needs it.

    offset: (row, column) of the source under kernel position (0, 0) of output (0, 0), signed.
    blocks: entries' blocks of the source; height, width: its map.
    spike_base: first entry of the source in the spike memory.
    weight_bits: width of its weights in the weight stream. base: of their codes, if that is 4.
    """

    source: int
    kernel: int
    stride: int
    offset: tuple[int, int]
    average: int
    blocks: int
    height: int
    width: int
    spike_base: int
    weight_bits: int = 16
    base: int = 0


@dataclass(frozen=True, eq=False)
class Descriptor(Rebuilt):
    """One layer, as the sequencer runs it; every field is data, none is a generic.

    blocks: int32 [blocks, pes], the filter of each output lane (the host's key to the results).
    passes: (address, words) of each pass in the weight stream, in words of the port.
    slots_used: slots that the drain of each pass visits.
    size, pool: of the map that the layer writes; the input's is as the encoder hands it on, without
        a pool, in its own order of channels, and has neither passes nor chunks.
    images: of a cluster's share of the batch that share a round; of the input, the whole batch.
    """

    name: str
    host: bool
    readout: Readout | None
    segments: tuple[SegmentDescriptor, ...]
    size: tuple[int, int]
    pool: int
    tile: tuple[int, int]
    slots: int
    chunks: tuple[Chunk, ...]
    passes: tuple[tuple[int, int], ...]
    slots_used: tuple[int, ...]
    threshold: int
    leak: int
    hard: bool
    reset: int
    spike_base: int
    filters: int
    blocks: npt.NDArray[np.int32] = field(repr=False)
    images: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", immutable(self.blocks))

    @property
    def last(self) -> bool:
        return self.readout is not None


@dataclass(frozen=True, eq=False, repr=False)
class Packed(Rebuilt):
    """What is in the memories before the first cycle; read-only to the byte.

    stream: uint64, the weight stream, `Arch.port_lanes` for each word of the port. Each layer's
        part is contiguous, in execution order.
    host: the encoder, which the host runs for every image.
    program: what it was made from; no simulator looks at it.
    mapping: how the filters were assigned: by "cost", or in their "natural" order.
    """

    name: str
    arch: Arch
    timesteps: int
    shape: tuple[int, int, int]
    layers: tuple[Descriptor, ...]
    stream: Words = field(repr=False)
    host: Layer = field(repr=False)
    program: Program
    mapping: str = "cost"

    def __post_init__(self) -> None:
        object.__setattr__(self, "stream", immutable(self.stream))

    @property
    def groups(self) -> int:
        """Groups of `Arch.timesteps` in which the network's timesteps run."""
        return self.arch.groups(self.timesteps)

    @property
    def batch(self) -> int:
        """Images that run together."""
        return self.layers[0].images

    @property
    def share(self) -> int:
        """Images of the batch that each cluster works on: `cluster * share` and those behind."""
        return self.arch.share(self.batch)

    @property
    def maps(self) -> int:
        """Maps of spikes of a layer: one for each image and group, which of an image follow each
        other.
        """
        return self.batch * self.groups

    @property
    def cluster_maps(self) -> int:
        """Those in the spike memory of one cluster."""
        return self.share * self.groups

    @property
    def last_timesteps(self) -> int:
        """Timesteps of the last group; the others have all that the Arch can."""
        return self.timesteps - (self.groups - 1) * self.arch.timesteps

    @property
    def mask_type(self) -> np.dtype[np.unsignedinteger[Any]]:
        """Type of a spike mask of all timesteps."""
        return mask_type(self.timesteps)

    @property
    def region(self) -> int:
        """Entries of the spike memory that each group of each image has: its maps lie so far
        behind the one before's.
        """
        return self.arch.region(self.timesteps, self.batch)

    @property
    def input_words(self) -> int:
        """Port words of the input's spikes."""
        layer = self.layers[0]
        positions: int = layer.blocks.shape[0] * layer.size[0] * layer.size[1]
        return self.maps * positions * self.arch.input_words

    @property
    def memory_words(self) -> int:
        """Port words of all that an inference has in memory: table, stream, input, results."""
        lanes = self.arch.port_lanes
        table = -(-table_words(self.layers) // lanes)
        results: int = self.maps * self.layers[-1].blocks.shape[0] * self.arch.logit_words
        return table + self.stream.size // lanes + self.input_words + results

    def __repr__(self) -> str:
        return (
            f"<Packed {self.name} on {self.arch.preset}: {len(self.layers)} layers, "
            f"{self.stream.size:,} words of 64 bits of weights, mapping {self.mapping}>"
        )


def pack(program: Program, mapping: Mapping, arch: Arch, kind: str = "cost") -> Packed:
    """Lay a Program out in memory. kind: `mapping` of the Packed.

    Raises EvenspikeError naming the layer, and the field of Arch where one is to blame, for what
    the accelerator cannot run and for a mapping that is not one of this Program and Arch.
    """
    check(program, arch, mapping[0].images)
    for index in range(len(program.layers)):
        check_plan(program, mapping, index, arch)
    bases = _allocate(program, mapping, arch)
    address = 0
    layers, streams = [], []
    for index in range(len(program.layers)):
        descriptor, stream = pack_layer(program, mapping, index, arch, bases, address)
        layers.append(descriptor)
        streams.append(stream)
        address += stream.size // arch.port_lanes
    words = table_words(layers)
    if words > arch.table_words:
        raise EvenspikeError(
            f"{program.name}: its layers, passes and chunks take {words} words of the table, "
            f"Arch table_words is {arch.table_words}"
        )
    packed = Packed(
        program.name,
        arch,
        program.timesteps,
        program.shape,
        tuple(layers),
        np.concatenate(streams),
        program.layers[0],
        program,
        kind,
    )
    if packed.memory_words > 1 << arch.address_bits:
        raise EvenspikeError(
            f"{program.name}: table, weights, input and results take {packed.memory_words:,} words "
            f"of memory, with Arch address_bits {arch.address_bits} there are "
            f"{1 << arch.address_bits:,}"
        )
    return packed


def table_words(layers: Sequence[Descriptor]) -> int:
    """64-bit words of the table memory: layers, their passes with the input in front and an end
    behind, and their chunks.
    """
    lists = sum(len(layer.passes) + CHUNK_WORDS * len(layer.chunks) for layer in layers)
    return DESCRIPTOR_WORDS * len(layers) + 2 + lists


def pack_layer(
    program: Program,
    mapping: Sequence[LayerMapping],
    index: int,
    arch: Arch,
    bases: Sequence[int] | None = None,
    address: int = 0,
) -> tuple[Descriptor, Words]:
    """One layer's descriptor and part of the weight stream.

    bases: first entry of each layer's spikes; without, all at 0 (a layer on its own). address: of
    the part in the stream, in words of the port.
    """
    layer, plan = program.layers[index], mapping[index]
    descriptor = describe(program, mapping, index, bases)
    if layer.host:
        return descriptor, np.zeros(0, dtype=np.uint64)
    stream, sizes = _layer_stream(layer, mapping, plan, arch)
    begins = address + np.cumsum(sizes) - sizes
    passes = tuple((int(at), int(size)) for at, size in zip(begins, sizes, strict=True))
    return replace(descriptor, passes=passes), stream


def describe(
    program: Program,
    mapping: Sequence[LayerMapping],
    index: int,
    bases: Sequence[int] | None = None,
) -> Descriptor:
    """One layer's descriptor without its passes, which the weight stream decides."""
    layer, plan = program.layers[index], mapping[index]
    base = bases or [0] * len(program.layers)
    return Descriptor(
        layer.name,
        layer.host,
        layer.readout,
        ()
        if layer.host
        else tuple(_source(program, layer, s, mapping, base) for s in layer.segments),
        layer.output[1:] if layer.host else layer.size,
        1 if layer.host else layer.pool,
        plan.tile,
        plan.slots,
        plan.chunks,
        (),
        tuple(plan.slots_used(n) for n in range(plan.passes)),
        layer.threshold,
        layer.leak,
        layer.hard,
        layer.reset,
        base[index],
        layer.filters,
        plan.blocks,
        plan.images,
    )


def least_words(layer: Layer, plan: LayerMapping, arch: Arch) -> int:
    """Port words that one load of all passes takes at least: skips and padding are not counted."""
    groups = plan.passes * len(plan.chunks)
    # A token is half a unit.
    bits = sum(
        living(segment)[0].size * (TOKEN_BITS + layer.stream_bits(segment))
        for segment in layer.segments
    )
    bits += BIAS_BITS * BIAS_WORDS * plan.slots * plan.passes * arch.pes
    return bits // arch.port_bits + groups * arch.count_words


def _source(
    program: Program,
    layer: Layer,
    segment: Segment,
    mapping: Sequence[LayerMapping],
    bases: Sequence[int],
) -> SegmentDescriptor:
    _, height, width = program.source_shape(segment)
    bits = layer.stream_bits(segment)
    return SegmentDescriptor(
        segment.source,
        segment.kernel,
        segment.stride,
        segment.offset,
        segment.average,
        mapping[segment.source].blocks.shape[0],
        height,
        width,
        bases[segment.source],
        bits,
        (segment.base or 0) if bits == CODE_BITS else 0,
    )


def _allocate(program: Program, mapping: Mapping, arch: Arch) -> list[int]:
    """First entry of each layer's spikes in the region of an image's group; space is reused after
    the last reader has run.
    """
    batch = mapping[0].images
    region = arch.region(program.timesteps, batch)
    reader = {s.source: i for i, layer in enumerate(program.layers) for s in layer.segments}
    taken: list[tuple[int, int, int]] = []  # (base, end, last reader)
    bases = []
    for index, layer in enumerate(program.layers):
        taken = sorted(item for item in taken if item[2] >= index)
        _, height, width = layer.output
        entries = mapping[index].blocks.shape[0] * height * arch.row_pitch(width)
        base = 0
        if not layer.last:
            for start, end, _ in taken:
                if base + entries <= start:
                    break
                base = max(base, end)
            if base + entries > region:
                raise EvenspikeError(no_room(program, layer, entries, arch, batch))
            taken.append((base, base + entries, reader.get(index, index)))
        bases.append(base)
    return bases


def _layer_stream(
    layer: Layer, mapping: Sequence[LayerMapping], plan: LayerMapping, arch: Arch
) -> tuple[Words, Index]:
    """A layer's part of the weight stream, and the port words of each of its passes.

    All PEs, chunks and passes are laid out side by side: the words of a PE for one chunk are
    stream number (pass * chunks + chunk) * pes + pe.
    """
    chunks, spare = len(plan.chunks), BIAS_WORDS * plan.slots
    streams = plan.passes * chunks * arch.pes
    parts = [_tokens(layer, n, mapping, plan) for n in range(len(layer.segments))]
    tokens = np.bincount(np.concatenate([p.stream for p in parts]), minlength=streams)
    position = np.arange(streams) // arch.pes % chunks
    ends = position == chunks - 1
    units: Index = 1 + sum((p.units(streams) for p in parts), np.zeros(streams, dtype=np.int64))
    widths = np.array([layer.stream_bits(layer.segments[chunk[0]]) for chunk in plan.chunks])
    room = np.array([WORD_UNITS[int(bits)] for bits in widths])[position]
    counts = -(-(units + ends * spare) // room)
    if counts.max() >= 1 << COUNT_BITS:
        raise EvenspikeError(
            f"layer {layer.name}: {counts.max()} words for PE {counts.argmax() % arch.pes} in one "
            f"chunk, the count has {COUNT_BITS} bits"
        )
    base = np.cumsum(room * counts) - room * counts
    content = np.zeros(int((room * counts).sum()), dtype=np.uint16)
    content[base] = tokens
    for part in parts:
        _place(part, base + 1, content)
    content[(base + units)[ends, None] + np.arange(spare)] = _biases(layer, plan)
    shaped = counts.reshape(plan.passes, chunks, arch.pes)
    unit_bits = np.array([UNIT_BITS[int(bits)] for bits in widths])[position]
    words = _words(content, np.repeat(room, counts), np.repeat(unit_bits, counts))
    return _interleave(words, shaped, arch.port_lanes, arch.count_words)


def _words(content: Units, room: Index, unit_bits: Index) -> Words:
    """The words of so many units each, of so many bits; the units of all follow each other."""
    first = np.cumsum(room) - room
    words = np.zeros(room.size, dtype=np.uint64)
    for n in range(max(WORD_UNITS.values())):
        has = np.flatnonzero(n < room)
        at = (n * unit_bits[has]).astype(np.uint64)
        words[has] |= content[first[has] + n].astype(np.uint64) << at
    return words


@dataclass(frozen=True)
class _Tokens:
    """Tokens of a segment in the order of the format, stream by stream.

    stream: the number of each token's stream. byte: the token. real: whether it stands for a
    weight. weights: those, in the same order, as the stream has them. bits: their width. far: of a
    skip, what stands in the place of a weight of 8 or 4 bits.
    """

    stream: Index
    byte: npt.NDArray[np.uint8]
    real: npt.NDArray[np.bool_]
    weights: Units
    bits: int
    far: npt.NDArray[np.uint8]

    def units(self, streams: int) -> Index:
        """Units of tokens and weights in each of so many streams."""
        tokens = np.bincount(self.stream, minlength=streams)
        if self.bits in BESIDE_BITS:
            return tokens
        return (tokens + 1) // 2 + np.bincount(self.stream[self.real], minlength=streams)


def _tokens(
    layer: Layer, number: int, mapping: Sequence[LayerMapping], plan: LayerMapping
) -> _Tokens:
    segment = layer.segments[number]
    filters, channels, pids = living(segment)
    places = np.argsort(plan.assignment, axis=None)[-layer.filters :]
    passes, slots, pes = np.unravel_index(places, plan.assignment.shape)
    own = [position for position, chunk in enumerate(plan.chunks) if chunk[0] == number]
    starts = np.array([plan.chunks[position][1] for position in own])
    lane = lanes(segment, mapping)[channels]
    turn = np.searchsorted(starts, lane, side="right") - 1
    stream = passes[filters] * len(plan.chunks) + own[0] + turn
    stream = stream * plan.assignment.shape[2] + pes[filters]
    kernel = (lane - starts[turn]) * plan.slots + slots[filters]
    order = np.argsort((stream * (int(kernel.max(initial=0)) + 1) + kernel) * 64 + pids)
    stream, kernel, pids = stream[order], kernel[order], pids[order]
    bits = layer.stream_bits(segment)
    alive = segment.weights[segment.weights != 0][order]
    if bits == CODE_BITS:
        weights = codes_of(alive, segment.base or 0).astype(np.uint16)
    else:
        weights = alive.view(np.uint16) & (1 << bits) - 1
    gap = np.diff(kernel, prepend=0)
    opens = np.diff(stream, prepend=-1) != 0
    gap[opens] = kernel[opens]
    pid_bits = PID_BITS[segment.kernel]
    reach = 1 << (TOKEN_BITS - pid_bits)
    most = reach << bits if bits in BESIDE_BITS else reach
    leaps = gap // reach
    each = 1 + -(-leaps // most)  # skips of at most `most` leaps, then the weight's own token
    at = np.cumsum(each) - 1
    skips = np.full(int(each.sum()), most - 1)
    skips[at[leaps > 0] - 1] = (leaps[leaps > 0] - 1) % most  # the last one takes what is left
    byte = (skips % reach << pid_bits | (1 << pid_bits) - 1).astype(np.uint8)
    byte[at] = gap % reach << pid_bits | pids
    real = np.zeros(byte.size, dtype=np.bool_)
    real[at] = True
    far = (skips // reach).astype(np.uint8)
    return _Tokens(np.repeat(stream, each), byte, real, weights, bits, far)


def _place(part: _Tokens, base: Index, content: Units) -> None:
    """Write tokens and weights. base: unit of the first pair of each stream."""
    first = np.searchsorted(part.stream, part.stream)
    number = np.arange(part.stream.size) - first
    if part.bits in BESIDE_BITS:
        high = part.far.astype(np.uint16)
        high[part.real] = part.weights
        content[base[part.stream] + number] = high << TOKEN_BITS | part.byte
        return
    before: Index = np.cumsum(part.real) - part.real
    # A pair stands behind the earlier pairs and their weights.
    pair = base[part.stream] + number // 2 + before - before[first]
    even, odd = np.flatnonzero(number % 2 == 0), np.flatnonzero(number % 2)
    content[pair[even]] = part.byte[even]
    content[pair[odd - 1]] |= part.byte[odd].astype(np.uint16) << 8
    content[pair[part.real] + 1] = part.weights


def _biases(layer: Layer, plan: LayerMapping) -> Units:
    """Units of the biases, [passes * pes, 2 * slots]."""
    filters = plan.assignment.swapaxes(1, 2).reshape(-1, plan.slots)
    bias = np.where(filters >= 0, layer.bias[filters], 0)
    low = (1 << BIAS_BITS) - 1
    halves = np.stack([bias & low, bias >> BIAS_BITS & low], axis=2)
    return halves.astype(np.uint16).reshape(len(filters), -1)


def _interleave(words: Words, counts: Index, lanes: int, header: int) -> tuple[Words, Index]:
    """The counts of each chunk, then its PEs' words round-robin in each lane; and the port words of
    each pass.

    words: stream by stream. counts: of each stream, [passes, chunks, pes]. header: port words of
    the counts.
    """
    passes, chunks, pes = counts.shape
    flat = counts.reshape(-1)
    number = np.repeat(np.arange(flat.size), flat)
    group, lane = number // pes, number % lanes
    turn = np.arange(words.size) - np.repeat(np.cumsum(flat) - flat, flat)
    queue = group * lanes + lane
    order = np.argsort(queue << COUNT_BITS | turn, kind="stable")
    long = counts.reshape(-1, pes // lanes, lanes).sum(axis=1)  # of each chunk, words of its lanes
    sizes = long.max(axis=1) + header
    begins = np.cumsum(sizes) - sizes
    heads = np.zeros((sizes.size, header * lanes * 8), dtype=np.uint8)
    heads[:, :pes] = counts.reshape(-1, pes)
    stream = np.zeros((int(sizes.sum()), lanes), dtype=np.uint64)
    place = np.arange(words.size) - np.repeat(np.cumsum(long) - long.reshape(-1), long.reshape(-1))
    chosen = queue[order]
    stream[begins[chosen // lanes] + header + place, chosen % lanes] = words[order]
    stream[begins[:, None] + np.arange(header)] = heads.view(np.uint64).reshape(-1, header, lanes)
    return stream.reshape(-1), sizes.reshape(passes, chunks).sum(axis=1)


def split_chunk(
    words: npt.NDArray[np.uint64], address: int, arch: Arch
) -> tuple[list[npt.NDArray[np.uint64]], int]:
    """Inverse of the interleaving: the words of each PE and the port word behind the chunk.

    words: of a whole stream. address: of the chunk's first port word.

    Raises EvenspikeError for counts that reach beyond the stream.
    """
    lanes, pes = arch.port_lanes, arch.pes
    rows = words[: words.size // lanes * lanes].reshape(-1, lanes)
    begin = address + arch.count_words
    counts = rows[address:begin].reshape(-1).view(np.uint8)[:pes].astype(np.int64)
    size = int(counts.reshape(-1, lanes).sum(axis=0).max()) if counts.size == pes else 0
    if counts.size < pes or begin + size > len(rows):
        raise EvenspikeError(
            f"the chunk at word {address} ends behind the weight stream of {len(rows)} words"
        )
    found: list[npt.NDArray[np.uint64]] = [np.zeros(n, dtype=np.uint64) for n in counts]
    for lane in range(lanes):
        own = counts[lane::lanes]
        there = np.arange(own.max(initial=0))[:, None] < own[None, :]
        grid = np.zeros(there.shape, dtype=np.uint64)
        grid[there] = rows[begin : begin + int(own.sum()), lane]
        for at, count in enumerate(own):
            found[at * lanes + lane] = np.ascontiguousarray(grid[:count, at])
    return found, begin + size
