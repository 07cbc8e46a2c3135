"""Mapping: which PE computes what, and when.

For every layer the mapper fixes the output tile, the filters per pass, the filter -> PE
assignment and the channel chunks. Filters of a pass that share a slot are one *block*: the same
output position of a block leaves the PEs in the same cycle and is one entry of the spike memory.
So the assignment permutes a layer's output channels, and the next layer's weights absorb it:
channel `block * pes + pe`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from evenspike_core.arch import (
    BATCH_MAX,
    BESIDE_BITS,
    COUNT_BITS,
    HEADER_UNITS,
    LAYERS_MAX,
    MAP_MAX,
    PID_BITS,
    TABLE_BITS,
    TOKEN_BITS,
    WORD_UNITS,
    Arch,
)
from evenspike_core.codes import CODE_BITS, EXPONENT_MAX, EXPONENTS, base_of
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import signed_range
from evenspike_core.program import Layer, Program, Segment

Chunk = tuple[int, int, int]
"""(segment, first channel, end channel) in the permuted order of the segment's source."""

Index = npt.NDArray[np.int64]

Activity = Sequence[npt.NDArray[np.float64] | None]
"""Per layer, the share of active neurons (at least one spike) of each output channel."""

BIAS_WORDS = 2
"""16-bit words of a bias in the weight bank."""


@dataclass(frozen=True)
class LayerMapping:
    """The schedule of one layer: for pass, tile, part of the batch, group, chunk.

    tile: (height, width) of the output tile, powers of two, before pooling.
    assignment: int32 [passes, slots, pes]; the filter that a PE computes, or -1.
    chunks: in the order of the segments and of their channels; the same for every pass.
    images: of a cluster's share of the batch that share a round, and so a load of its weights and
        the accumulators; a power of two. Of the input it is the whole batch.
    """

    tile: tuple[int, int]
    assignment: npt.NDArray[np.int32]
    chunks: tuple[Chunk, ...] = ()
    images: int = 1

    @property
    def passes(self) -> int:
        return int(self.assignment.shape[0])

    @property
    def slots(self) -> int:
        """Filters per PE and pass."""
        return int(self.assignment.shape[1])

    @property
    def blocks(self) -> npt.NDArray[np.int32]:
        """int32 [blocks, pes]: the filter of each lane of each output block, or -1."""
        rows = self.assignment.reshape(-1, self.assignment.shape[2])
        return rows[(rows >= 0).any(axis=1)]

    def slots_used(self, index: int) -> int:
        """Slots of a pass that hold a filter on any PE; the drain visits no others."""
        return int((self.assignment[index] >= 0).any(axis=1).sum())

    def tiles(self, size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
        """(y, x, height, width) of each tile of a map, clipped to it, row by row."""
        for y in range(0, size[0], self.tile[0]):
            for x in range(0, size[1], self.tile[1]):
                yield y, x, min(self.tile[0], size[0] - y), min(self.tile[1], size[1] - x)

    def tile_count(self, size: tuple[int, int]) -> int:
        return -(-size[0] // self.tile[0]) * -(-size[1] // self.tile[1])

    @property
    def resident(self) -> bool:
        """Whether the weights of a pass stay in the scratchpad for all its rounds."""
        return len(self.chunks) == 1


def rounds(plan: LayerMapping, size: tuple[int, int], arch: Arch, groups: int, batch: int) -> int:
    """Rounds of a pass of a layer on a map of this size: tiles, parts of a cluster's images of the
    batch, groups.
    """
    return plan.tile_count(size) * groups * (arch.share(batch) // plan.images)


Mapping = tuple[LayerMapping, ...]
KINDS = ("cost", "natural")
"""How filters are assigned to PEs: by their cost, or in their own order."""
Progress = Callable[[int, int], None]
Cost = Callable[[Program, int, Sequence[LayerMapping], LayerMapping, int | None], int]
"""Cycles of layer `index` under a candidate, given the mapping of the layers before it. From the
limit on, the cycles of the best candidate so far, any lower bound will do."""


@lru_cache(maxsize=4)
def living(segment: Segment) -> tuple[Index, Index, Index]:
    """Filter, channel and kernel position of each weight that is not zero, int64, in this order.

    Kept for the segments asked for last: every candidate of a layer asks for the same ones.
    """
    filters, channels, pids = np.nonzero(segment.weights.reshape(*segment.weights.shape[:2], -1))
    return filters, channels, pids


def lanes(segment: Segment, mapping: Sequence[LayerMapping]) -> Index:
    """int64 [channels]: where each channel of a segment lies in its source's block order."""
    order = mapping[segment.source].blocks.reshape(-1)
    found = np.zeros(segment.channels, dtype=np.int64)
    found[order[order >= 0]] = np.flatnonzero(order >= 0)
    return found


def filter_cost(program: Program, layer: Layer, activity: Activity) -> npt.NDArray[np.float64]:
    """Matched weights that each filter is expected to cost, float64 [filters].

    A weight costs the share of active neurons of its channel times the output positions that it
    reaches: what the gates count, not what a list of weights counts.
    """
    cost = np.zeros(layer.filters)
    for segment in layer.segments:
        _, height, width = program.source_shape(segment)
        rows, columns = (
            _reach(extent // segment.average, out, segment, offset)
            for extent, out, offset in zip((height, width), layer.size, segment.offset, strict=True)
        )
        alive = (segment.weights != 0).astype(np.float64)
        rate = activity[segment.source] if activity else None
        if rate is None:
            rate = np.ones(segment.channels)
        cost += np.einsum("fcrs,c,r,s->f", alive, rate, rows, columns) * segment.average**2
    return cost


def _reach(extent: int, out: int, segment: Segment, offset: int) -> npt.NDArray[np.float64]:
    """Output rows (or columns) that kernel row r connects to a row inside the map, [K]."""
    at = np.arange(out)[None, :] * segment.stride + np.arange(segment.kernel)[:, None] + offset
    inside = (at >= 0) & (at < extent)
    reached: npt.NDArray[np.float64] = inside.sum(axis=1).astype(np.float64)
    return reached


def assign(
    cost: npt.NDArray[np.float64], slots: int, arch: Arch, *, natural: bool = False
) -> npt.NDArray[np.int32]:
    """Assign filters to passes, slots and PEs; int32 [passes, slots, pes], -1 where none.

    natural: filter f goes to pass f // (pes * slots), PE f mod pes, as in the paper.
    Otherwise filters of like cost share a pass, because its barrier waits for the slowest PE, and
    inside a pass longest-processing-time-first gives each filter to the PE with the least work
    that has a free slot.
    """
    filters, group = cost.size, arch.pes * slots
    passes = -(-filters // group)
    assignment = np.full((passes, slots, arch.pes), -1, dtype=np.int32)
    if natural:
        assignment.reshape(-1)[:filters] = np.arange(filters)
        return assignment
    order = np.argsort(-cost, kind="stable")
    for index in range(passes):
        members = order[index * group : (index + 1) * group]
        # A partial pass spreads over all PEs before it opens a new slot: the drain and the next
        # layer's blocks cost by slots used.
        limit = -(-members.size // arch.pes)
        work = np.zeros(arch.pes)
        used = np.zeros(arch.pes, dtype=np.int64)
        for member in members:
            pe = int(np.argmin(np.where(used < limit, work, np.inf)))
            assignment[index, used[pe], pe] = member
            work[pe] += cost[member]
            used[pe] += 1
    return assignment


def chunk(
    layer: Layer,
    mapping: Sequence[LayerMapping],
    candidate: LayerMapping,
    arch: Arch,
) -> tuple[Chunk, ...] | None:
    """Cut the channels of a layer so that each chunk fits half a scratchpad on every PE.

    Greedy: the largest chunks that hold. None if a single channel does not fit.
    """
    chunks: list[Chunk] = []
    spare = BIAS_WORDS * candidate.slots
    for number, segment in enumerate(layer.segments):
        width = mapping[segment.source].blocks.size
        words, headers = _channel_words(segment, lanes(segment, mapping), width, candidate)
        channels = words.shape[-1]
        kind = segment.kernel, layer.stream_bits(segment)
        last = number == len(layer.segments) - 1
        start = 0
        while start < channels:
            end = _fit(words, headers, start, channels, kind, candidate.slots, arch, 0)
            if end == channels and last:
                # The last chunk of a pass also carries the biases.
                end = _fit(words, headers, start, channels, kind, candidate.slots, arch, spare)
                if end == start:
                    return None
            if end == start:
                return None
            chunks.append((number, start, end))
            start = end
    return tuple(chunks)


def _channel_words(
    segment: Segment, lanes: Index, width: int, candidate: LayerMapping
) -> tuple[Index, Index]:
    """Weight words and header units of each (pass, PE, channel), int64 [passes, pes, width]."""
    filters, channels, _ = living(segment)
    rows = segment.weights.shape[0] + 1  # -1, no filter, picks the last one, which has no weights
    alive = np.bincount(filters * width + lanes[channels], minlength=rows * width)
    by_slot = alive.reshape(rows, width)[candidate.assignment]
    units = HEADER_UNITS[segment.kernel]
    return by_slot.sum(axis=1), (by_slot > 0).sum(axis=1) * units


def _fit(
    words: npt.NDArray[np.int64],
    headers: npt.NDArray[np.int64],
    start: int,
    channels: int,
    kind: tuple[int, int],
    slots: int,
    arch: Arch,
    spare: int,
) -> int:
    """End of the largest chunk from `start`; `start` itself if not even one channel fits.

    kind: side of the kernels, and width of the weights in the stream.
    """
    kernel, weight_bits = kind
    end = min(channels, (start // arch.pes + arch.chunk_blocks) * arch.pes)
    weights = np.cumsum(words[..., start:end], axis=-1)
    fits = (weights <= arch.weight_words - spare) & (
        np.cumsum(headers[..., start:end], axis=-1) <= arch.header_words
    )
    # The stream counts a PE's words of a chunk in COUNT_BITS; the skip tokens are bounded, not
    # counted: they depend on where the chunk starts.
    reach = 1 << (TOKEN_BITS - PID_BITS[kernel])
    kernels = slots * np.arange(1, end - start + 1)
    most = reach**2 << weight_bits if weight_bits in BESIDE_BITS else reach**2
    tokens = weights + kernels // most + np.minimum(weights, kernels // reach)
    units = 1 + spare + (tokens if weight_bits in BESIDE_BITS else (tokens + 1) // 2 + weights)
    fits &= units <= WORD_UNITS[weight_bits] * ((1 << COUNT_BITS) - 1)
    return start + int(fits.all(axis=(0, 1)).sum())


def candidates(layer: Layer, arch: Arch, images: int = 1) -> list[tuple[tuple[int, int], int]]:
    """(tile, slots) worth trying for a layer: the accumulators filled, from large tiles down.

    images: that share a round. Too many of them leave no room for a tile.
    """
    rows = arch.accumulators // images
    tall, wide = (1 << (n - 1).bit_length() for n in layer.size)
    useful = 1 << (-(-layer.filters // arch.pes) - 1).bit_length()
    found: list[tuple[tuple[int, int], int]] = []
    for height in _powers(layer.pool, tall):
        for width in {height, 2 * height}:
            if layer.pool <= width <= wide and height * width <= rows:
                slots = min(rows // (height * width), arch.slots, useful)
                found.append(((height, width), slots))
    return sorted(found, key=lambda item: -item[0][0] * item[0][1])


def _powers(low: int, high: int) -> list[int]:
    return [1 << n for n in range(low.bit_length() - 1, high.bit_length())]


def candidate(
    layer: Layer,
    mapping: Sequence[LayerMapping],
    tile: tuple[int, int],
    slots: int,
    arch: Arch,
    cost: npt.NDArray[np.float64],
    *,
    natural: bool = False,
    images: int = 1,
) -> LayerMapping | None:
    """The mapping of a layer for one (tile, slots), or None where its weights do not fit.

    cost: of `filter_cost`. images: that share a round.
    """
    draft = LayerMapping(tile, assign(cost, slots, arch, natural=natural))
    chunks = chunk(layer, mapping, draft, arch)
    return None if chunks is None else LayerMapping(tile, draft.assignment, chunks, images)


def choose(
    program: Program,
    arch: Arch,
    cost: Cost | None = None,
    activity: Activity = (),
    *,
    natural: bool = False,
    batch: int | None = None,
    progress: Progress | None = None,
) -> Mapping:
    """Map every layer, front to back.

    cost: cycles of a candidate; the mapper takes the cheapest (ties: the larger tile). Without
        it the first that fits is taken: the largest tile.
    natural: filters in their own order; the tile and the chunks are chosen as before.
    batch: images that run together, None for one for each cluster. How many of them share a round
        is chosen for each layer.
    progress: called with (layers mapped, layers in all), with 0 at first.

    Raises EvenspikeError for a layer that the Arch cannot run.
    """
    batch = arch.clusters if batch is None else batch
    check(program, arch, batch)
    mapping: list[LayerMapping] = []
    for index, layer in enumerate(program.layers):
        if progress is not None:
            progress(index, len(program.layers))
        if layer.host:
            mapping.append(input_mapping(layer, arch, batch))
            refusal = overflow(program, layer, mapping[-1], arch, batch)
            if refusal is not None:
                raise EvenspikeError(refusal)
        else:
            work = filter_cost(program, layer, activity)
            mapping.append(_best(program, mapping, arch, cost, work, natural=natural))
    if progress is not None:
        progress(len(program.layers), len(program.layers))
    return tuple(mapping)


def _best(
    program: Program,
    mapping: Sequence[LayerMapping],
    arch: Arch,
    cost: Cost | None,
    work: npt.NDArray[np.float64],
    *,
    natural: bool,
) -> LayerMapping:
    """The cheapest candidate of the layer behind those that are mapped. work: of `filter_cost`."""
    layer, batch = program.layers[len(mapping)], mapping[0].images
    best: tuple[int, LayerMapping] | None = None
    refusals: list[str] = []
    shared = (1 << n for n in range(arch.share(batch).bit_length()))
    options = [(images, *one) for images in shared for one in candidates(layer, arch, images)]
    for images, tile, slots in options:
        found = None
        while found is None and slots:
            found = candidate(
                layer, mapping, tile, slots, arch, work, natural=natural, images=images
            )
            slots //= 2
        if found is None:
            continue
        excess = overflow(program, layer, found, arch, batch)
        if excess is not None:
            refusals.append(excess)
            continue
        if cost is None:
            return found
        limit = None if best is None else best[0]
        cycles = cost(program, len(mapping), mapping, found, limit)
        if limit is None or cycles < limit:
            best = cycles, found
    if best is not None:
        return best[1]
    refusals.append(
        f"layer {layer.name}: one channel of one filter needs more than the "
        f"{arch.weight_words} weights or {arch.header_words} headers of half a scratchpad; "
        "raise Arch scratchpad_words or change header_words"
    )
    raise EvenspikeError(refusals[0])


def check_batch(arch: Arch, batch: object) -> None:
    """Refuse a batch that is none, or has not an image for each cluster."""
    least = arch.clusters
    if type(batch) is not int or not least <= batch <= BATCH_MAX or batch.bit_count() != 1:
        why = f": Arch clusters is {least}, each of which takes as many images" * (least > 1)
        raise EvenspikeError(
            f"batch is {batch!r}, possible are powers of two from {least} to {BATCH_MAX}{why}"
        )


def check(program: Program, arch: Arch, batch: int | None = None) -> None:
    """Refuse a Program that the Arch cannot run; names the layer, the field and the limit.

    batch: images that run together, None for one for each cluster.
    """
    batch = arch.clusters if batch is None else batch
    check_batch(arch, batch)
    region = arch.region(program.timesteps, batch)
    reader = {s.source: at for at, layer in enumerate(program.layers) for s in layer.segments}
    needed: dict[int, int] = {}  # entries of layers that are still to be read
    if len(program.layers) > LAYERS_MAX:
        raise EvenspikeError(
            f"{program.name}: {len(program.layers)} layers, the limit is {LAYERS_MAX}"
        )
    for index, layer in enumerate(program.layers):
        channels, height, width = layer.output
        kernel = 0 if layer.host else max(segment.kernel for segment in layer.segments)
        if kernel > arch.kernel_max:
            raise EvenspikeError(
                f"layer {layer.name}: kernel {kernel}, Arch kernel_max is {arch.kernel_max}"
            )
        for segment in layer.segments:
            if not layer.host and not segment.fits(layer.stream_bits(segment)):
                raise EvenspikeError(_does_not_fit(layer, segment))
        side = max(height, width) if layer.host else max(layer.size)
        if side > MAP_MAX:
            raise EvenspikeError(f"layer {layer.name}: map {layer.size}, the limit is {MAP_MAX}")
        entries = -(-channels // arch.pes) * height * arch.row_pitch(width)
        needed = {at: size for at, size in needed.items() if reader[at] >= index}
        if layer.last:
            continue
        if entries > region:
            raise EvenspikeError(
                f"layer {layer.name}: its spikes take {entries} entries; "
                f"{spike_room(program, arch, batch)}"
            )
        # Of a single image `pack` says so, behind the mapping; for more that takes long to find.
        if arch.share(batch) > 1 and entries + sum(needed.values()) > region:
            raise EvenspikeError(no_room(program, layer, entries, arch, batch))
        if index in reader:
            needed[index] = entries


def _does_not_fit(layer: Layer, segment: Segment) -> str:
    """What is to be said of a segment whose weights the stated width cannot hold."""
    where, stated = f"layer {layer.name}", f"its weight_bits {layer.weight_bits} hold"
    if layer.weight_bits == CODE_BITS:
        try:
            base_of(segment.weights)
        except EvenspikeError as error:
            return (
                f"{where}: {error}; {stated} powers of two up to 2^{EXPONENT_MAX}, of at most "
                f"{EXPONENTS} exponents in a row"
            )
    flat = segment.weights.reshape(-1)
    worst = flat[np.abs(flat.astype(np.int32)).argmax()]
    low, high = signed_range(layer.stream_bits(segment))
    return f"{where}: weight {worst}, {stated} {low} to {high}"


def no_room(program: Program, layer: Layer, entries: int, arch: Arch, batch: int) -> str:
    """That the spikes of a layer do not fit beside those of earlier ones, for a message."""
    return (
        f"layer {layer.name}: no room for {entries} entries of spikes beside those still needed; "
        f"{spike_room(program, arch, batch)}"
    )


def spike_room(program: Program, arch: Arch, batch: int) -> str:
    """What the spike memory has for each image of a batch and group of timesteps, for a message."""
    groups, images = arch.groups(program.timesteps), arch.share(batch)
    of = "the batch" if arch.clusters == 1 else "a cluster"
    shares = [f"{images} images of {of}"] * (images > 1)
    shares += [f"{groups} groups of {arch.timesteps} timesteps"] * (groups > 1)
    if not shares:
        return f"Arch spike_entries is {arch.spike_entries}"
    return (
        f"Arch spike_entries is {arch.spike_entries}, of which each of the "
        f"{' and '.join(shares)} has {arch.region(program.timesteps, batch)}"
    )


def input_mapping(layer: Layer, arch: Arch, batch: int = 1) -> LayerMapping:
    """The encoder's channels in their own order; each block of them is a pass of one slot."""
    assignment = assign(np.zeros(layer.filters), 1, arch, natural=True)
    return LayerMapping((1, 1), assignment, images=batch)


def overflow(
    program: Program, layer: Layer, plan: LayerMapping, arch: Arch, batch: int
) -> str | None:
    """What of a layer's schedule its fields in the table memory cannot hold, in words, or None."""
    groups = arch.groups(program.timesteps)
    if layer.host:
        _, height, width = layer.output
        words = batch * groups * plan.passes * height * width * arch.input_words
        counts = {
            "loads": (words, "words of spikes", ""),
            "passes": (plan.passes, "blocks of channels", "; raise Arch pes"),
        }
    else:
        turns = rounds(plan, layer.size, arch, groups, batch)
        loads = plan.passes * (1 if plan.resident else turns)
        smaller = "; raise Arch accumulators"
        one = arch.share(batch) == 1
        several = "tiles and groups" if one else "tiles, groups and parts of the batch"
        counts = {
            "loads": (loads, "loads of its chunks", f"{smaller} or scratchpad_words"),
            "passes": (plan.passes, "passes", f"{smaller}, slots or pes"),
            "chunks": (len(plan.chunks), "chunks", "; raise Arch scratchpad_words or chunk_blocks"),
            "repeats": (0 if plan.resident else turns, several, smaller),
        }
    for name, (value, what, remedy) in counts.items():
        limit = (1 << TABLE_BITS[name]) - 1
        if value > limit:
            return f"layer {layer.name}: {value} {what}, the limit is {limit}{remedy}"
    return None


def check_plan(program: Program, mapping: Sequence[LayerMapping], index: int, arch: Arch) -> None:
    """Refuse a mapping of a layer that is not one of this Program and Arch; says what is wrong."""
    layer, plan, batch = program.layers[index], mapping[index], mapping[0].images
    share, of = arch.share(batch), "the batch" if arch.clusters == 1 else "a cluster's share"
    if layer.host:
        if not np.array_equal(plan.assignment, input_mapping(layer, arch).assignment):
            raise EvenspikeError(f"layer {layer.name}: the mapping changes the order of the input")
        excess = overflow(program, layer, plan, arch, batch)
        if excess is not None:
            raise EvenspikeError(excess)
        return
    (height, width), slots = plan.tile, plan.slots
    if {height.bit_count(), width.bit_count(), slots.bit_count()} != {1} or not (
        layer.pool <= min(height, width) <= max(height, width) <= MAP_MAX
        and height * width * slots <= arch.accumulators
        and slots <= arch.slots
    ):
        raise EvenspikeError(
            f"layer {layer.name}: the mapping has a tile of {height} x {width} and {slots} slots; "
            f"possible are powers of two, tiles that hold its pool of {layer.pool}, up to Arch "
            f"accumulators {arch.accumulators} in all and Arch slots {arch.slots}"
        )
    images, room = plan.images, arch.accumulators // (height * width * slots)
    if not 1 <= images <= min(share, room) or images.bit_count() != 1:
        raise EvenspikeError(
            f"layer {layer.name}: in the mapping {images} images share a round; possible are "
            f"powers of two up to {of} of {share}, and up to {room}, for which Arch "
            f"accumulators {arch.accumulators} have room"
        )
    used = np.any(plan.assignment >= 0, axis=2, keepdims=True)[..., 0]
    filters = plan.assignment[plan.assignment >= 0]
    if (
        plan.assignment.shape[2] != arch.pes
        or not np.array_equal(np.sort(filters), np.arange(layer.filters))
        or not used[:-1].all()
        or not used[-1, : plan.slots_used(-1)].all()
    ):
        raise EvenspikeError(
            f"layer {layer.name}: the mapping does not give each of its {layer.filters} filters to "
            f"one of {arch.pes} PEs, slots filled from the first and passes but the last full"
        )
    if not _covers(layer, mapping, plan, arch):
        raise EvenspikeError(
            f"layer {layer.name}: the mapping's chunks do not cover its channels in order, "
            f"Arch chunk_blocks {arch.chunk_blocks} blocks at most in each"
        )
    excess = overflow(program, layer, plan, arch, batch)
    if excess is not None:
        raise EvenspikeError(excess)
    for position, (number, start, end) in enumerate(plan.chunks):
        segment = layer.segments[number]
        where = lanes(segment, mapping), mapping[segment.source].blocks.size
        words, headers = (
            n[..., start:end].sum(axis=2) for n in _channel_words(segment, *where, plan)
        )
        biases = BIAS_WORDS * slots if position == len(plan.chunks) - 1 else 0
        if words.max() + biases > arch.weight_words or headers.max() > arch.header_words:
            raise EvenspikeError(
                f"layer {layer.name}: chunk {position} has {words.max() + biases} words of weights "
                f"and {headers.max()} of headers for a PE; half of Arch scratchpad_words holds "
                f"{arch.weight_words} and header_words {arch.header_words}"
            )


def _covers(layer: Layer, mapping: Sequence[LayerMapping], plan: LayerMapping, arch: Arch) -> bool:
    """Whether the chunks hold every channel of every segment once, in order."""
    widths = [mapping[s.source].blocks.size for s in layer.segments]
    following = (0, 0)
    for number, start, end in plan.chunks:
        if (number, start) != following or number == len(widths):
            return False
        if (
            not start
            < end
            <= min(widths[number], (start // arch.pes + arch.chunk_blocks) * arch.pes)
        ):
            return False
        following = (number + 1, 0) if end == widths[number] else (number, end)
    return following == (len(widths), 0)
