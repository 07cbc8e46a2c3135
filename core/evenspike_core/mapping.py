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

import numpy as np
import numpy.typing as npt

from evenspike_core.arch import COUNT_BITS, HEADER_UNITS, PID_BITS, TOKEN_BITS, Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Layer, Program, Segment

Chunk = tuple[int, int, int]
"""(segment, first channel, end channel) in the permuted order of the segment's source."""

Activity = Sequence[npt.NDArray[np.float64] | None]
"""Per layer, the share of active neurons (at least one spike) of each output channel."""

BIAS_WORDS = 2
"""16-bit words of a bias in the weight bank."""


@dataclass(frozen=True)
class LayerMapping:
    """The schedule of one layer: `for pass: for tile: for chunk`.

    tile: (height, width) of the output tile, powers of two, before pooling.
    assignment: int32 [passes, slots, pes]; the filter that a PE computes, or -1.
    chunks: in the order of the segments and of their channels; the same for every pass.
    """

    tile: tuple[int, int]
    assignment: npt.NDArray[np.int32]
    chunks: tuple[Chunk, ...] = ()

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

    @property
    def resident(self) -> bool:
        """Whether the weights of a pass stay in the scratchpad for all its tiles."""
        return len(self.chunks) == 1


Mapping = tuple[LayerMapping, ...]
Cost = Callable[[Program, int, Sequence[LayerMapping], LayerMapping], int]
"""Cycles of layer `index` under a candidate, given the mapping of the layers before it."""


def permuted(segment: Segment, mapping: Sequence[LayerMapping]) -> npt.NDArray[np.int16]:
    """Weights of a segment [filters, channels, K*K], channels in the source's block order."""
    lanes = mapping[segment.source].blocks.reshape(-1)
    weights = np.zeros((segment.weights.shape[0], lanes.size, segment.kernel**2), dtype=np.int16)
    used = lanes >= 0
    flat = segment.weights.reshape(*segment.weights.shape[:2], -1)
    weights[:, used] = flat[:, lanes[used]]
    return weights


def filter_cost(program: Program, layer: Layer, activity: Activity) -> npt.NDArray[np.float64]:
    """Matched weights that each filter is expected to cost, float64 [filters].

    A weight costs the share of active neurons of its channel times the output positions that it
    reaches: what the gates count, not what a list of weights counts.
    """
    cost = np.zeros(layer.filters)
    for segment in layer.segments:
        _, height, width = program.source_shape(segment)
        rows, columns = (
            _reach(extent // segment.average, out, segment)
            for extent, out in zip((height, width), layer.size, strict=True)
        )
        alive = (segment.weights != 0).astype(np.float64)
        rate = activity[segment.source] if activity and not layer.host else None
        if rate is None:
            rate = np.ones(segment.channels)
        cost += np.einsum("fcrs,c,r,s->f", alive, rate, rows, columns) * segment.average**2
    return cost


def _reach(extent: int, out: int, segment: Segment) -> npt.NDArray[np.float64]:
    """Output rows (or columns) that kernel row r connects to a row inside the map, [K]."""
    at = np.arange(out)[None, :] * segment.stride + np.arange(segment.kernel)[:, None]
    inside = (at >= segment.padding) & (at < extent + segment.padding)
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
        words, headers = _channel_words(segment, permuted(segment, mapping), candidate)
        channels = words.shape[-1]
        last = number == len(layer.segments) - 1
        start = 0
        while start < channels:
            end = _fit(words, headers, start, channels, segment.kernel, candidate.slots, arch, 0)
            if end == channels and last:
                # The last chunk of a pass also carries the biases.
                end = _fit(
                    words, headers, start, channels, segment.kernel, candidate.slots, arch, spare
                )
                if end == start:
                    return None
            if end == start:
                return None
            chunks.append((number, start, end))
            start = end
    return tuple(chunks)


def _channel_words(
    segment: Segment, weights: npt.NDArray[np.int16], candidate: LayerMapping
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Weight words and header units of each (pass, PE, channel), int64 [passes, pes, channels]."""
    alive = (weights != 0).sum(axis=2)
    alive = np.concatenate([alive, np.zeros((1, alive.shape[1]), dtype=alive.dtype)])
    by_slot = alive[candidate.assignment]  # -1 picks the appended row of zeros
    units = HEADER_UNITS[segment.kernel]
    return by_slot.sum(axis=1), (by_slot > 0).sum(axis=1) * units


def _fit(
    words: npt.NDArray[np.int64],
    headers: npt.NDArray[np.int64],
    start: int,
    channels: int,
    kernel: int,
    slots: int,
    arch: Arch,
    spare: int,
) -> int:
    """End of the largest chunk from `start`; `start` itself if not even one channel fits."""
    end = min(channels, (start // arch.pes + arch.chunk_blocks) * arch.pes)
    weights = np.cumsum(words[..., start:end], axis=-1)
    fits = (weights <= arch.weight_words - spare) & (
        np.cumsum(headers[..., start:end], axis=-1) <= arch.header_words
    )
    # The stream counts a PE's words of a chunk in COUNT_BITS; the skip tokens are bounded, not
    # counted: they depend on where the chunk starts.
    reach = 1 << (TOKEN_BITS - PID_BITS[kernel])
    kernels = slots * np.arange(1, end - start + 1)
    tokens = weights + kernels // reach**2 + np.minimum(weights, kernels // reach)
    units = 1 + (tokens + 1) // 2 + weights + spare
    fits &= units <= arch.port_words * ((1 << COUNT_BITS) - 1)
    return start + int(fits.all(axis=(0, 1)).sum())


def candidates(layer: Layer, arch: Arch) -> list[tuple[tuple[int, int], int]]:
    """(tile, slots) worth trying for a layer: the accumulators filled, from large tiles down."""
    tall, wide = (1 << (n - 1).bit_length() for n in layer.size)
    useful = 1 << (-(-layer.filters // arch.pes) - 1).bit_length()
    found: list[tuple[tuple[int, int], int]] = []
    for height in _powers(layer.pool, tall):
        for width in {height, 2 * height}:
            if layer.pool <= width <= wide and height * width <= arch.accumulators:
                slots = min(arch.accumulators // (height * width), arch.slots, useful)
                found.append(((height, width), slots))
    return sorted(found, key=lambda item: -item[0][0] * item[0][1])


def _powers(low: int, high: int) -> list[int]:
    return [1 << n for n in range(low.bit_length() - 1, high.bit_length())]


def candidate(
    program: Program,
    layer: Layer,
    mapping: Sequence[LayerMapping],
    tile: tuple[int, int],
    slots: int,
    arch: Arch,
    activity: Activity,
    *,
    natural: bool = False,
) -> LayerMapping | None:
    """The mapping of a layer for one (tile, slots), or None where its weights do not fit."""
    cost = filter_cost(program, layer, activity)
    draft = LayerMapping(tile, assign(cost, slots, arch, natural=natural))
    if layer.host:
        return draft
    chunks = chunk(layer, mapping, draft, arch)
    return None if chunks is None else LayerMapping(tile, draft.assignment, chunks)


def choose(
    program: Program,
    arch: Arch,
    cost: Cost | None = None,
    activity: Activity = (),
    *,
    natural: bool = False,
) -> Mapping:
    """Map every layer, front to back.

    cost: cycles of a candidate; the mapper takes the cheapest (ties: the larger tile). Without
        it the first that fits is taken: the largest tile.
    natural: filters in their own order; the tile and the chunks are chosen as before.

    Raises EvenspikeError for a layer that the Arch cannot run.
    """
    check(program, arch)
    mapping: list[LayerMapping] = []
    for index, layer in enumerate(program.layers):
        best: tuple[int, LayerMapping] | None = None
        for tile, slots in candidates(layer, arch):
            found = None
            while found is None and slots:
                found = candidate(
                    program, layer, mapping, tile, slots, arch, activity, natural=natural
                )
                slots //= 2
            if found is None:
                continue
            cycles = 0 if cost is None or layer.host else cost(program, index, mapping, found)
            if best is None or cycles < best[0]:
                best = cycles, found
            if cost is None or layer.host:
                break
        if best is None:
            raise EvenspikeError(
                f"layer {layer.name}: one channel of one filter needs more than the "
                f"{arch.weight_words} weights or {arch.header_words} headers of a scratchpad bank"
            )
        mapping.append(best[1])
    return tuple(mapping)


def check(program: Program, arch: Arch) -> None:
    """Refuse a Program that the Arch cannot run; names the layer, the field and the limit."""
    if program.timesteps > arch.timesteps:
        raise EvenspikeError(
            f"{program.name}: {program.timesteps} timesteps, the Arch has {arch.timesteps}"
        )
    for layer in program.layers:
        if max(layer.size) > 256:
            raise EvenspikeError(f"layer {layer.name}: map {layer.size}, the limit is 256")
        channels, height, width = layer.output
        entries = -(-channels // arch.pes) * height * width
        if not layer.last and entries > arch.spike_entries:
            raise EvenspikeError(
                f"layer {layer.name}: its spikes take {entries} entries, "
                f"the spike memory has {arch.spike_entries}"
            )
