"""The cycle model: sequencer, barriers and counters over a whole network.

`Accelerator(packed)` decodes the weight stream once; `run` works off one input and returns, for
every layer, the spikes, the cycles and what every PE did in each of them. It is the second
statement of docs/timing.md (the RTL is the third): a difference of one cycle is a defect.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import mask_type
from evenspike_core.mapping import BIAS_WORDS
from evenspike_core.pack import Descriptor, Packed, SegmentDescriptor
from evenspike_core.program import Readout
from evenspike_core.trace import Span
from evenspike_sim.collector import BIAS_READS, READOUTS, drain, drain_logits
from evenspike_sim.loader import I64, LoadedChunk, load_pass
from evenspike_sim.pe import Count, Stages, Window, broadcast
from evenspike_sim.port import Port
from evenspike_sim.spikes import Masks, SpikeMap, count_spikes, join, split
from evenspike_sim.timeline import Timeline

BARRIER_LATENCY = 2
"""Register of each PE's `done` flag and register of their AND."""
LAYER_SETUP = 5
"""Cycles from a layer's last write to the first action of the next: the descriptor switch."""


@dataclass(frozen=True)
class LayerRun:
    """One layer of one inference, which is that of a batch of images where the Packed has one.

    cycles: from the last write of the layer before to this layer's last write; the layers add up
        to the latency. Per PE, busy + starved + waiting + loading + draining == cycles.
    busy: a matched weight issues, in any lane. loading: the PE has finished its chunk and the next
        is not in the scratchpad, or the input's spikes are on their way. draining: the PEs drain in
        lockstep. waiting: the PE has finished its round and waits for the others, or for the last
        write of the layer. starved: the rest (no activation that matches).
    masks: [filters, H, W] after pooling, over all timesteps; of the last layer silent.
    logits: int64 [filters] of the last layer, by its read-out, over all timesteps. Masks and logits
        of a batch have an axis of images in front.
    overflows: times that a partial sum has saturated. accumulator_overflow, membrane_overflow: bool
        [pes], the sticky flags of the hardware.
    actions: counts by the names of energy.toml.
    reached: for each segment the pairs of an active input neuron (one with a spike in a timestep
        of the group, of all groups together) and an output position that it reaches, each under a
        kernel position of its own: the matched weights of one filter without a pruned one, each of
        which is a busy cycle where one issues a cycle. None in the input layer.
    reached_spikes: the same pairs, each for every timestep in which the neuron fires: the
        accumulations of such a filter.
    drains: cycle of the inference in which each round's drain begins; none in the input layer.
    """

    name: str
    cycles: int
    busy: I64
    starved: I64
    waiting: I64
    loading: I64
    draining: I64
    words_loaded: int
    spikes_in: int
    spikes_out: int
    accumulations: int
    broadcasts: int
    overflows: int
    accumulator_overflow: npt.NDArray[np.bool_]
    membrane_overflow: npt.NDArray[np.bool_]
    actions: dict[str, int]
    masks: Masks
    logits: I64 | None = None
    drains: tuple[int, ...] = ()
    reached: tuple[int, ...] = ()
    reached_spikes: tuple[int, ...] = ()


@dataclass
class _Clock:
    """Cycles that one layer hands to the next."""

    written: int = 0
    """last write of the layer before"""
    resume: int = 1
    """first cycle in which a PE may pop an activation: behind the last drain"""
    drained: list[int] = field(default_factory=lambda: [0, 0])
    """last drain cycle of the round before the last, and of the last"""
    released: list[int] = field(default_factory=lambda: [0, 0])
    """first cycle in which each half may be overwritten"""
    half: int = 0


class Accelerator:
    """A Packed, loaded and ready to run inputs.

    Raises EvenspikeError where the weight stream is malformed.
    """

    def __init__(self, packed: Packed, only: int | None = None) -> None:
        """Decode the weight stream of every layer, or of layer `only`."""
        self.packed = packed
        self._passes: list[list[list[LoadedChunk]]] = [
            [load_pass(packed, d, n) for n in range(len(d.passes))]
            if not d.host and only in (None, index)
            else []
            for index, d in enumerate(packed.layers)
        ]

    def run(self, masks: Masks, spans: list[Span] | None = None) -> list[LayerRun]:
        """Run the network on the spikes of its input, the encoder's output; one LayerRun a layer.

        masks: [channels, H, W] over all timesteps, of `fixed.mask_type`; of a batch [images,
            channels, H, W].
        spans: collects what happened when, for `trace.perfetto`.

        Raises EvenspikeError for spikes of another shape, type or number of timesteps.
        """
        first = self.packed.layers[0]
        self._check(first.name, "the input", masks, (first.filters, *first.size))
        port, stages, clock = self.fresh()
        maps = [self._encode(masks, first)]
        runs = [self._input(first, masks, maps[0], port, clock, spans)]
        for index, descriptor in enumerate(self.packed.layers[1:], start=1):
            output = self._output(descriptor)
            sources = [maps[s.source] for s in descriptor.segments]
            runs.append(self._layer(index, sources, output, port, stages, clock, spans))
            maps.append(output)
        return runs

    def run_layer(
        self,
        index: int,
        inputs: Sequence[Masks],
        state: tuple[Port, Stages, _Clock] | None = None,
        spans: list[Span] | None = None,
    ) -> LayerRun:
        """One layer behind the input on given spikes, per segment and as in `run` (traces, the
        mapper).

        state: of `fresh`, to run layers behind each other with their loads overlapping.
        spans: collects what happened when, as in `run`.

        Raises EvenspikeError for spikes of another number, shape, type or number of timesteps.
        """
        descriptor = self.packed.layers[index]
        self._check_inputs(descriptor, inputs)
        port, stages, clock = state or self.fresh()
        sources = [
            self._encode(dense, self.packed.layers[s.source])
            for dense, s in zip(inputs, descriptor.segments, strict=True)
        ]
        return self._layer(index, sources, self._output(descriptor), port, stages, clock, spans)

    def _check_inputs(self, descriptor: Descriptor, inputs: Sequence[Masks]) -> None:
        wanted = len(descriptor.segments)
        if len(inputs) != wanted:
            raise EvenspikeError(
                f"layer {descriptor.name}: {len(inputs)} inputs for {wanted} segments"
            )
        for number, (dense, s) in enumerate(zip(inputs, descriptor.segments, strict=True)):
            shape = (self.packed.layers[s.source].filters, s.height, s.width)
            self._check(descriptor.name, f"input {number}", dense, shape)

    def _check(self, layer: str, what: str, dense: Masks, shape: tuple[int, ...]) -> None:
        """The compiled loops do not check an index: a smaller map would be read beyond its end."""
        kind = mask_type(self.packed.timesteps)
        if self.packed.batch > 1:
            shape = (self.packed.batch, *shape)
        if dense.dtype != kind or dense.shape != shape:
            raise EvenspikeError(
                f"layer {layer}: {what} is {dense.dtype} {dense.shape}, not {kind} {shape}"
            )
        if int(dense.max()) >> self.packed.timesteps:
            raise EvenspikeError(
                f"layer {layer}: {what} has a mask of {dense.max()}, "
                f"more than {self.packed.timesteps} timesteps"
            )

    def fresh(self) -> tuple[Port, Stages, _Clock]:
        """The registers after a reset."""
        return Port(self.packed.arch), Stages(self.packed.arch), _Clock()

    def _encode(self, masks: Masks, descriptor: Descriptor) -> list[SpikeMap]:
        """A layer's spikes as the memory holds them, a map for each group of each image."""
        parts = split(masks, self.packed.arch.timesteps, self.packed.groups)
        return [SpikeMap.encode(part, descriptor.blocks) for part in parts]

    def _output(self, descriptor: Descriptor) -> list[SpikeMap]:
        """The maps that a layer is to write, one for each group of each image."""
        height, width = (n // descriptor.pool for n in descriptor.size)
        blocks, pes = descriptor.blocks.shape
        return [SpikeMap.empty(blocks, height, width, pes) for _ in range(self.packed.maps)]

    def _masks(self, descriptor: Descriptor, output: list[SpikeMap]) -> Masks:
        """The spikes that a layer has written, over all timesteps."""
        parts = [spikes.decode(descriptor.blocks, descriptor.filters) for spikes in output]
        return join(parts, self.packed.arch.timesteps, self.packed.timesteps)

    def _tiles(self, descriptor: Descriptor) -> list[tuple[int, int, int, int]]:
        (rows, columns), (height, width) = descriptor.tile, descriptor.size
        return [
            (y, x, min(rows, height - y), min(columns, width - x))
            for y in range(0, height, rows)
            for x in range(0, width, columns)
        ]

    def _input(
        self,
        descriptor: Descriptor,
        masks: Masks,
        output: list[SpikeMap],
        port: Port,
        clock: _Clock,
        spans: list[Span] | None,
    ) -> LayerRun:
        """The first layer: its spikes come through the port, a position of a block at a time."""
        arch = self.packed.arch
        height, width = descriptor.size
        positions = self.packed.maps * descriptor.blocks.shape[0] * height * width
        drained = port.spikes(positions) + 1
        cycles = drained + 1
        clock.written, clock.resume = cycles, cycles
        clock.drained = [drained, drained]
        words = positions * arch.input_words
        written = sum(int(spikes.counts.sum()) for spikes in output)
        loading = drained - positions
        if spans is not None:
            timeline = Timeline(spans, descriptor.name)
            timeline.block("layers", 1, cycles, cycles=cycles)
            timeline.block("memory port", 0, drained, words=words)
            timeline.block("collector", 1, cycles, entries=written)
            timeline.pes(arch.pes, 0, drained, loading=loading, draining=positions)
            timeline.pes(arch.pes, drained, cycles, waiting=1)
        ones = np.ones(arch.pes, dtype=np.int64)
        none = np.zeros(arch.pes, dtype=np.bool_)
        return LayerRun(
            name=descriptor.name,
            cycles=cycles,
            busy=0 * ones,
            starved=0 * ones,
            waiting=ones,
            loading=loading * ones,
            draining=positions * ones,
            words_loaded=words,
            spikes_in=0,
            spikes_out=count_spikes(masks),
            accumulations=0,
            broadcasts=0,
            overflows=0,
            accumulator_overflow=none,
            membrane_overflow=none,
            actions={"memory_word": words, "spike_write": written, **_idle(cycles, arch.pes)},
            masks=masks.copy(),
        )

    def _layer(
        self,
        index: int,
        sources: Sequence[list[SpikeMap]],
        output: list[SpikeMap],
        port: Port,
        stages: Stages,
        clock: _Clock,
        spans: list[Span] | None,
    ) -> LayerRun:
        """Passes, tiles, parts of the batch, groups, chunks and images of one layer."""
        descriptor, arch, groups = self.packed.layers[index], self.packed.arch, self.packed.groups
        logs, images = _logs(descriptor), descriptor.images
        rows = descriptor.slots << logs[0]
        begin = clock.written
        words_before, busy_before = port.words, stages.busy.copy()
        stages.counts[:] = 0
        stages.overflow[:] = 0
        loading, draining, waiting = (np.zeros(arch.pes, dtype=np.int64) for _ in range(3))
        results = self.packed.maps if descriptor.last else 0
        logits = np.zeros((results, descriptor.filters, *descriptor.size), dtype=np.int64)
        entered = begin
        layer_start = begin + LAYER_SETUP
        written = steps = neuron_rows = 0
        drains: list[int] = []
        spiking = descriptor.readout is not Readout.PSUM
        parts = range(0, self.packed.batch, images)
        rounds = list(itertools.product(self._tiles(descriptor), parts, range(groups)))
        timeline = None if spans is None else Timeline(spans, descriptor.name)
        for number, chunks in enumerate(self._passes[index]):
            lanes = self._lanes(descriptor, number)
            resident = len(chunks) == 1
            for position, (tile, part, group) in enumerate(rounds):
                finished = np.full(arch.pes, entered, dtype=np.int64)
                at = {"pass": number, "tile": f"{tile[0]},{tile[1]}", "group": group}
                if self.packed.batch > 1:
                    at |= {"images": f"{part} to {part + images - 1}"}
                for order, chunk in enumerate(chunks):
                    if not (resident and position):  # else the pass's load still serves
                        clock.half ^= 1
                        words_loaded = port.words
                        first, loaded = port.load(chunk, clock.released[clock.half])
                        if timeline is not None:
                            timeline.place = {"pass": number, "chunk": order}
                            length, words = port.handed - first + 1, port.words - words_loaded
                            timeline.block("memory port", first, length, words=words)
                    fetched = np.maximum(finished, loaded)
                    loading += fetched - finished
                    source = descriptor.segments[chunk.segment]
                    geometry = (source.kernel, source.stride, source.offset, source.average)
                    window = Window.of(tile, *geometry, (source.height, source.width))
                    busy_so_far = stages.busy.copy()
                    for image in range(images):
                        # The next round may be broadcast into the FIFOs while this one drains, not
                        # the one behind it: the round bit of a FIFO entry tells two apart.
                        start = 1 + max(loaded, int(stages.apu[2]), clock.drained[0], layer_start)
                        spikes = sources[chunk.segment][(part + image) * groups + group]
                        broadcast(
                            stages,
                            chunk,
                            (spikes.counts, spikes.columns, spikes.masks),
                            geometry,
                            window,
                            logs,
                            (image * rows, image == images - 1),
                            start,
                            clock.resume,
                        )
                        if timeline is not None:
                            timeline.place = {**at, "chunk": order}
                            timeline.block("APU", start, int(stages.apu[2]) - start + 1)
                    if timeline is not None:
                        timeline.place = {**at, "chunk": order}
                        timeline.pes(arch.pes, finished, fetched, loading=fetched - finished)
                        worked = stages.busy - busy_so_far
                        starved = stages.gate - fetched - worked
                        timeline.pes(arch.pes, fetched, stages.gate, busy=worked, starved=starved)
                    finished = stages.gate.copy()
                    if order < len(chunks) - 1:
                        clock.released[clock.half] = int(finished.max()) + BARRIER_LATENCY + 1
                drain_start = int(finished.max()) + BARRIER_LATENCY + 1
                drains.append(drain_start)
                positions = tile[2] * tile[3]
                carries = spiking and group < groups - 1
                each = arch.position_cycles(last=descriptor.last, carries=carries)
                length = images * lanes.shape[0] * (BIAS_READS + positions * each)
                if arch.lif_parallel:  # one bias for all images, and a step for all neurons
                    length = BIAS_READS + arch.step_cycles + images * positions * each
                if carries:
                    length += arch.carry_cycles
                timesteps = arch.timesteps if group < groups - 1 else self.packed.last_timesteps
                for image in range(images):
                    row = (
                        stages.accumulators,
                        chunks[-1].bias,
                        lanes,
                        *tile,
                        *logs,
                        image * rows,
                        descriptor.threshold,
                        descriptor.leak,
                        descriptor.hard,
                        descriptor.reset,
                        timesteps,
                        carries,
                        stages.overflow,
                    )
                    place = (part + image) * groups + group
                    if descriptor.readout is not None:
                        drain_logits(*row, READOUTS[descriptor.readout], logits[place])
                    else:
                        into, block = output[place], number * descriptor.slots
                        written += drain(
                            *row, descriptor.pool, block, into.counts, into.columns, into.masks
                        )
                if spiking:
                    steps += images * int((lanes >= 0).sum()) * positions * timesteps
                neuron_rows += images * lanes.size * positions
                drained = drain_start + length - 1
                draining += length
                waiting += drain_start - 1 - finished
                if timeline is not None:
                    timeline.place = at
                    timeline.block("collector", drain_start, length)
                    timeline.pes(
                        arch.pes, finished, drain_start - 1, waiting=drain_start - 1 - finished
                    )
                    timeline.pes(arch.pes, drain_start - 1, drained, draining=length)
                clock.drained = [clock.drained[1], drained]
                clock.resume = drained + 1
                if not resident or position == len(rounds) - 1:
                    clock.released[clock.half] = drained + 1
                entered = drained
        clock.written = entered + arch.drain_latency
        cycles = clock.written - begin
        waiting += arch.drain_latency
        if timeline is not None:
            timeline.place = {}
            timeline.block("layers", begin + 1, cycles, cycles=cycles)
            timeline.pes(arch.pes, entered, clock.written, waiting=arch.drain_latency)
        busy = stages.busy - busy_before
        starved = cycles - busy - loading - draining - waiting
        counts = stages.counts
        words = port.words - words_before
        masks = self._masks(descriptor, output)
        loaded_chunks = [c for p in self._passes[index] for c in p]
        loads = 1 if len(self._passes[index][0]) == 1 else len(rounds)
        bias_writes = BIAS_WORDS * arch.pes * descriptor.slots * len(descriptor.passes)
        bias_reads = BIAS_WORDS * arch.pes * sum(descriptor.slots_used)
        logit_words = arch.logit_words * descriptor.blocks.shape[0] * results
        matched, added = int(counts[Count.MATCHED]), int(counts[Count.ACCUMULATION])
        # A weight meets a row of all timesteps, or waits in the lanes of those that fire, each of
        # which has a bank of its own.
        if arch.issue == 1:
            gated, queued, sums = matched * arch.timesteps, 0, matched + neuron_rows
        else:
            gated, queued, sums = 0, added, added + neuron_rows * arch.timesteps
        biases = len(rounds) * images * bias_reads
        if arch.lif_parallel:  # registers, whose units all step
            sums, biases = matched, len(rounds) * bias_reads
            steps = arch.pes * arch.lif_units * len(drains) if spiking else 0
        reached = [
            [_reached(spikes, segment, descriptor.size) for spikes in maps]
            for maps, segment in zip(sources, descriptor.segments, strict=True)
        ]
        return LayerRun(
            name=descriptor.name,
            cycles=cycles,
            busy=busy,
            starved=starved,
            waiting=waiting,
            loading=loading,
            draining=draining,
            words_loaded=words,
            spikes_in=sum(count_spikes(m.masks[m.used]) for maps in sources for m in maps),
            spikes_out=count_spikes(masks),
            accumulations=added,
            broadcasts=int(counts[Count.BROADCAST]),
            overflows=int(counts[Count.OVERFLOW]),
            accumulator_overflow=stages.overflow[0].astype(bool),
            membrane_overflow=stages.overflow[1].astype(bool),
            actions={
                "and_gate": gated,
                "lane_push": queued,
                "lane_pop": queued,
                "accumulate": added,
                "accumulator_read": sums,
                "accumulator_write": sums,
                "lif_step": steps,
                "scratchpad_read": matched + biases,
                "scratchpad_write": loads
                * (sum(c.scratchpad_writes for c in loaded_chunks) + bias_writes),
                "header_read": int(counts[Count.HEADER_READ]),
                "table_read": int(counts[Count.FIFO_PUSH]),
                "table_write": loads * sum(c.table_writes for c in loaded_chunks),
                "match": int(counts[Count.HEADER_READ]),
                "select": matched,
                "unpack": loads * sum(c.units for c in loaded_chunks),
                "filter": int(counts[Count.FILTERED]),
                "fifo_push": int(counts[Count.FIFO_PUSH]),
                "fifo_pop": int(counts[Count.FIFO_PUSH]),
                "queue_push": int(counts[Count.QUEUED]),
                "queue_pop": int(counts[Count.QUEUED]),
                # The read of a row's count is charged like that of an entry.
                "spike_read": int(counts[Count.SPIKE_READ] + counts[Count.ROW_VISIT]),
                "spike_write": written,
                "memory_word": words + logit_words,
                **_idle(cycles, arch.pes),
            },
            masks=masks,
            logits=_combined(descriptor, logits, groups),
            drains=tuple(drains),
            reached=tuple(sum(neurons for neurons, _ in groups) for groups in reached),
            reached_spikes=tuple(sum(spikes for _, spikes in groups) for groups in reached),
        )

    def _lanes(self, descriptor: Descriptor, number: int) -> npt.NDArray[np.int32]:
        first = number * descriptor.slots
        return descriptor.blocks[first : first + descriptor.slots_used[number]]


def _combined(descriptor: Descriptor, logits: I64, groups: int) -> I64 | None:
    """What the groups have written, [images * groups, filters, 1, 1], as one number a class, of
    each image if there are several.
    """
    if not descriptor.last:
        return None
    each = logits.reshape(-1, groups, logits.shape[1])
    found: I64 = each[:, -1] if descriptor.readout is Readout.MEMBRANE else each.sum(axis=1)
    return found[0] if len(found) == 1 else found


def _idle(cycles: int, pes: int) -> dict[str, int]:
    """The actions of every cycle, whether anything is done in it or not."""
    each, once = cycles * pes, cycles
    return {
        "leakage_cycle": each,
        "shared_leakage_cycle": once,
        "clock_cycle": each,
        "shared_clock_cycle": once,
    }


def _logs(descriptor: Descriptor) -> tuple[int, int]:
    """log2 of the tile's neurons and of its width: an accumulator is slot, row, column."""
    height, width = descriptor.tile
    return (height * width).bit_length() - 1, width.bit_length() - 1


def _reached(
    spikes: SpikeMap, segment: SegmentDescriptor, size: tuple[int, int]
) -> tuple[int, int]:
    """Pairs of an active neuron of a segment's source and an output position that it reaches; and
    of a spike and such a position.
    """
    entries = np.arange(spikes.columns.shape[2]) < spikes.counts[..., None]
    rows, columns = (
        _reach(extent, outputs, offset, segment)
        for extent, outputs, offset in zip(
            (segment.height, segment.width), size, segment.offset, strict=True
        )
    )
    reach = columns[spikes.columns] * rows[:, None] * entries
    neurons = int((np.count_nonzero(spikes.masks, axis=3) * reach).sum())
    return neurons, int((np.bitwise_count(spikes.masks).sum(axis=3, dtype=np.int64) * reach).sum())


def _reach(extent: int, outputs: int, offset: int, segment: SegmentDescriptor) -> I64:
    """How many of the outputs along one axis each input reaches."""
    first = np.arange(outputs) * segment.stride + offset
    at = np.arange(extent)[:, None] // segment.average
    return ((first <= at) & (at < first + segment.kernel)).sum(axis=1)
