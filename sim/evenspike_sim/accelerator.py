"""The cycle model: sequencer, barriers and counters over a whole network.

`Accelerator(packed)` decodes the weight stream once; `run` works off one input and returns, for
every layer, the spikes, the cycles and what every PE did in each of them. It is the second
statement of docs/timing.md (the RTL is the third): a difference of one cycle is a defect.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.arch import Arch
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

    cycles: from the last write of the layer before to this layer's last write, that of the last
        cluster; the layers add up to the latency. Per PE, busy + starved + waiting + loading +
        draining == cycles. PE n of cluster c is number c * pes + n in all that is said of PEs.
    busy: a matched weight issues, in any lane. loading: the PE has finished its chunk and the next
        is not in the scratchpad, or the input's spikes are on their way. draining: the PEs drain in
        lockstep. waiting: the PE has finished its round and waits for the others, or for the last
        write of the layer in all clusters. starved: the rest (no activation that matches).
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
    drains: cycle of the inference in which each round's drain begins, all rounds of a cluster
        before those of the next; none in the input layer.
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


class _Cluster:
    """An array with its APU, and the cycles that one layer hands to the next."""

    def __init__(self, arch: Arch) -> None:
        self.stages = Stages(arch)
        self.resume = 1
        """first cycle in which a PE may pop an activation: behind the last drain"""
        self.drained = [0, 0]
        """last drain cycle of the round before the last, and of the last"""


@dataclass
class _Clock:
    """Cycles that one layer hands to the next, where the clusters share what they are about."""

    written: int = 0
    """last write of the layer before, in all clusters"""
    released: list[int] = field(default_factory=lambda: [0, 0])
    """first cycle in which each half may be overwritten: it is free in every cluster"""
    half: int = 0


@dataclass
class _Counts:
    """What the PEs and the drain of one cluster have done in a layer so far.

    entered: last drain cycle of the round before, or where the layer began. finished: cycle in
    which each PE issued the marker of the chunk before. busy: of each PE, before the layer; the
    other states are cycles in it. drains: as in `LayerRun`. written: entries of spikes. steps: of
    neurons.
    """

    entered: int
    finished: I64
    busy: I64
    loading: I64
    draining: I64
    waiting: I64
    drains: list[int] = field(default_factory=list)
    written: int = 0
    steps: int = 0

    @staticmethod
    def of(stages: Stages, begin: int) -> _Counts:
        """Of a layer that begins behind cycle `begin`."""
        stages.counts[:] = 0
        stages.overflow[:] = 0
        zeros = np.zeros((4, stages.arch.pes), dtype=np.int64)
        return _Counts(begin, zeros[0], stages.busy.copy(), *zeros[1:])


@dataclass(frozen=True)
class _Round:
    """A pass's tile of a part of a cluster's images in a group. number, lanes: of the pass."""

    number: int
    lanes: npt.NDArray[np.int32]
    tile: tuple[int, int, int, int]
    part: int
    group: int


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
        port, clusters, clock = self.fresh()
        maps = [self._encode(masks, first)]
        runs = [self._input(first, masks, maps[0], port, clusters, clock, spans)]
        for index, descriptor in enumerate(self.packed.layers[1:], start=1):
            output = self._output(descriptor)
            sources = [maps[s.source] for s in descriptor.segments]
            runs.append(self._layer(index, sources, output, port, clusters, clock, spans))
            maps.append(output)
        return runs

    def run_layer(
        self,
        index: int,
        inputs: Sequence[Masks],
        state: tuple[Port, list[_Cluster], _Clock] | None = None,
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
        port, clusters, clock = state or self.fresh()
        sources = [
            self._encode(dense, self.packed.layers[s.source])
            for dense, s in zip(inputs, descriptor.segments, strict=True)
        ]
        return self._layer(index, sources, self._output(descriptor), port, clusters, clock, spans)

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

    def fresh(self) -> tuple[Port, list[_Cluster], _Clock]:
        """The registers after a reset."""
        arch = self.packed.arch
        return Port(arch), [_Cluster(arch) for _ in range(arch.clusters)], _Clock()

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
        clusters: Sequence[_Cluster],
        clock: _Clock,
        spans: list[Span] | None,
    ) -> LayerRun:
        """The first layer: its spikes come through the port, a position of a block at a time, the
        images of a cluster before those of the next.
        """
        arch = self.packed.arch
        height, width = descriptor.size
        positions = self.packed.maps * descriptor.blocks.shape[0] * height * width
        drained = port.spikes(positions) + 1
        cycles = drained + 1
        clock.written = cycles
        for cluster in clusters:
            cluster.resume, cluster.drained = cycles, [drained, drained]
        own = positions // arch.clusters
        words = positions * arch.input_words
        written = sum(int(spikes.counts.sum()) for spikes in output)
        loading = drained - own
        if spans is not None:
            timeline = Timeline(spans, descriptor.name, arch)
            timeline.block("layers", 1, cycles, cycles=cycles)
            timeline.block("memory port", 0, drained, words=words)
            timeline.block("collector", 1, cycles, entries=written)
            timeline.pes(arch.all_pes, 0, drained, loading=loading, draining=own)
            timeline.pes(arch.all_pes, drained, cycles, waiting=1)
        ones = np.ones(arch.all_pes, dtype=np.int64)
        none = np.zeros(arch.all_pes, dtype=np.bool_)
        return LayerRun(
            name=descriptor.name,
            cycles=cycles,
            busy=0 * ones,
            starved=0 * ones,
            waiting=ones,
            loading=loading * ones,
            draining=own * ones,
            words_loaded=words,
            spikes_in=0,
            spikes_out=count_spikes(masks),
            accumulations=0,
            broadcasts=0,
            overflows=0,
            accumulator_overflow=none,
            membrane_overflow=none,
            actions={"memory_word": words, "spike_write": written, **_idle(cycles, arch)},
            masks=masks.copy(),
        )

    def _layer(
        self,
        index: int,
        sources: Sequence[list[SpikeMap]],
        output: list[SpikeMap],
        port: Port,
        clusters: Sequence[_Cluster],
        clock: _Clock,
        spans: list[Span] | None,
    ) -> LayerRun:
        """Passes, tiles, parts of the batch, groups, chunks and images of one layer; the clusters
        share its loads.
        """
        descriptor, arch, groups = self.packed.layers[index], self.packed.arch, self.packed.groups
        begin, words_before = clock.written, port.words
        counted = [_Counts.of(one.stages, begin) for one in clusters]
        each = list(zip(clusters, counted, strict=True))
        results = self.packed.maps if descriptor.last else 0
        logits = np.zeros((results, descriptor.filters, *descriptor.size), dtype=np.int64)
        parts = range(0, self.packed.share, descriptor.images)
        rounds = list(itertools.product(self._tiles(descriptor), parts, range(groups)))
        timeline = None if spans is None else Timeline(spans, descriptor.name, arch)
        loaded = 0
        for number, chunks in enumerate(self._passes[index]):
            resident = len(chunks) == 1
            for position, turn in enumerate(rounds):
                one = _Round(number, self._lanes(descriptor, number), *turn)
                for counts in counted:
                    counts.finished[:] = counts.entered
                for order, chunk in enumerate(chunks):
                    if not (resident and position):  # else the pass's load still serves
                        clock.half ^= 1
                        words_loaded = port.words
                        first, loaded = port.load(chunk, clock.released[clock.half])
                        if timeline is not None:
                            timeline.place = {"pass": number, "chunk": order}
                            length, words = port.handed - first + 1, port.words - words_loaded
                            timeline.block("memory port", first, length, words=words)
                    starts = loaded, begin + LAYER_SETUP
                    for at, (cluster, counts) in enumerate(each):
                        if timeline is not None:
                            timeline.place = {**self._place(descriptor, one, at), "chunk": order}
                            timeline.cluster = at
                        first_map = at * self.packed.cluster_maps
                        maps = sources[chunk.segment][first_map:]
                        self._work(descriptor, cluster, counts, one, chunk, maps, starts, timeline)
                    if order < len(chunks) - 1:
                        last = max(int(counts.finished.max()) for counts in counted)
                        clock.released[clock.half] = last + BARRIER_LATENCY + 1
                for at, (cluster, counts) in enumerate(each):
                    if timeline is not None:
                        timeline.place = self._place(descriptor, one, at)
                        timeline.cluster = at
                    first_map = at * self.packed.cluster_maps
                    into = logits[first_map:] if descriptor.last else output[first_map:]
                    self._drain(descriptor, cluster, counts, one, chunks[-1], into, timeline)
                if not resident or position == len(rounds) - 1:
                    last = max(counts.entered for counts in counted)
                    clock.released[clock.half] = last + 1
        # No cluster goes on before the last one has written the layer.
        clock.written = max(counts.entered for counts in counted) + arch.drain_latency
        cycles = clock.written - begin
        for counts in counted:
            counts.waiting += clock.written - counts.entered
        if timeline is not None:
            timeline.place = {}
            timeline.block("layers", begin + 1, cycles, cycles=cycles)
            for at, counts in enumerate(counted):
                timeline.cluster = at
                behind = clock.written - counts.entered
                timeline.pes(arch.pes, counts.entered, clock.written, waiting=behind)
        busy, loading, draining, waiting = (
            np.concatenate(states)
            for states in (
                [cluster.stages.busy - counts.busy for cluster, counts in each],
                [counts.loading for counts in counted],
                [counts.draining for counts in counted],
                [counts.waiting for counts in counted],
            )
        )
        words = port.words - words_before
        masks = self._masks(descriptor, output)
        totals = np.sum([one.stages.counts for one in clusters], axis=0)
        reached = [
            [_reached(spikes, segment, descriptor.size) for spikes in maps]
            for maps, segment in zip(sources, descriptor.segments, strict=True)
        ]
        actions = self._actions(index, len(rounds), totals, cycles)
        actions["memory_word"] += words
        actions["spike_write"] = sum(counts.written for counts in counted)
        actions["lif_step"] = sum(counts.steps for counts in counted)
        return LayerRun(
            name=descriptor.name,
            cycles=cycles,
            busy=busy,
            starved=cycles - busy - loading - draining - waiting,
            waiting=waiting,
            loading=loading,
            draining=draining,
            words_loaded=words,
            spikes_in=sum(count_spikes(m.masks[m.used]) for maps in sources for m in maps),
            spikes_out=count_spikes(masks),
            accumulations=int(totals[Count.ACCUMULATION]),
            broadcasts=int(totals[Count.BROADCAST]),
            overflows=int(totals[Count.OVERFLOW]),
            accumulator_overflow=np.concatenate([one.stages.overflow[0] for one in clusters]) > 0,
            membrane_overflow=np.concatenate([one.stages.overflow[1] for one in clusters]) > 0,
            actions=actions,
            masks=masks,
            logits=_combined(descriptor, logits, groups),
            drains=tuple(begins for counts in counted for begins in counts.drains),
            reached=tuple(sum(neurons for neurons, _ in groups) for groups in reached),
            reached_spikes=tuple(sum(spikes for _, spikes in groups) for groups in reached),
        )

    def _place(self, descriptor: Descriptor, one: _Round, cluster: int) -> dict[str, Any]:
        """Where in the schedule a round of a cluster is, for its spans."""
        at = {"pass": one.number, "tile": f"{one.tile[0]},{one.tile[1]}", "group": one.group}
        if self.packed.batch > 1:
            first = cluster * self.packed.share + one.part
            at |= {"images": f"{first} to {first + descriptor.images - 1}"}
        return at

    def _work(
        self,
        descriptor: Descriptor,
        cluster: _Cluster,
        counts: _Counts,
        one: _Round,
        chunk: LoadedChunk,
        maps: Sequence[SpikeMap],
        starts: tuple[int, int],
        timeline: Timeline | None,
    ) -> None:
        """The broadcasts of a chunk in a round of one cluster, whose maps of its source are given.
        starts: cycle in which the chunk's `loaded` is seen, and first action of the layer.
        """
        stages, images = cluster.stages, descriptor.images
        loaded, layer_start = starts
        logs = _logs(descriptor)
        fetched = np.maximum(counts.finished, loaded)
        counts.loading += fetched - counts.finished
        source = descriptor.segments[chunk.segment]
        geometry = (source.kernel, source.stride, source.offset, source.average)
        window = Window.of(one.tile, *geometry, (source.height, source.width))
        busy_so_far = stages.busy.copy()
        for image in range(images):
            # The next round may be broadcast into the FIFOs while this one drains, not the one
            # behind it: the round bit of a FIFO entry tells two apart.
            start = 1 + max(loaded, int(stages.apu[2]), cluster.drained[0], layer_start)
            spikes = maps[(one.part + image) * self.packed.groups + one.group]
            broadcast(
                stages,
                chunk,
                (spikes.counts, spikes.columns, spikes.masks),
                geometry,
                window,
                logs,
                (image * (descriptor.slots << logs[0]), image == images - 1),
                start,
                cluster.resume,
            )
            if timeline is not None:
                timeline.block("APU", start, int(stages.apu[2]) - start + 1)
        if timeline is not None:
            pes = self.packed.arch.pes
            timeline.pes(pes, counts.finished, fetched, loading=fetched - counts.finished)
            worked = stages.busy - busy_so_far
            starved = stages.gate - fetched - worked
            timeline.pes(pes, fetched, stages.gate, busy=worked, starved=starved)
        counts.finished = stages.gate.copy()

    def _drain(
        self,
        descriptor: Descriptor,
        cluster: _Cluster,
        counts: _Counts,
        one: _Round,
        chunk: LoadedChunk,
        into: Any,
        timeline: Timeline | None,
    ) -> None:
        """The drain of a round of one cluster, behind the barrier of its PEs.

        chunk: the pass's last, with the biases. into: the cluster's maps of the layer's spikes, or
        its part of the last layer's results.
        """
        arch, groups, images = self.packed.arch, self.packed.groups, descriptor.images
        stages, logs = cluster.stages, _logs(descriptor)
        spiking = descriptor.readout is not Readout.PSUM
        drain_start = int(counts.finished.max()) + BARRIER_LATENCY + 1
        counts.drains.append(drain_start)
        positions = one.tile[2] * one.tile[3]
        carries = spiking and one.group < groups - 1
        each = arch.position_cycles(last=descriptor.last, carries=carries)
        length = images * one.lanes.shape[0] * (BIAS_READS + positions * each)
        if arch.lif_parallel:  # one bias for all images, and a step for all neurons
            length = BIAS_READS + arch.step_cycles + images * positions * each
        if carries:
            length += arch.carry_cycles
        timesteps = arch.timesteps if one.group < groups - 1 else self.packed.last_timesteps
        for image in range(images):
            row = (
                stages.accumulators,
                chunk.bias,
                one.lanes,
                *one.tile,
                *logs,
                image * (descriptor.slots << logs[0]),
                descriptor.threshold,
                descriptor.leak,
                descriptor.hard,
                descriptor.reset,
                timesteps,
                carries,
                stages.overflow,
            )
            place = (one.part + image) * groups + one.group
            if descriptor.readout is not None:
                drain_logits(*row, READOUTS[descriptor.readout], into[place])
            else:
                spikes, block = into[place], one.number * descriptor.slots
                counts.written += drain(
                    *row, descriptor.pool, block, spikes.counts, spikes.columns, spikes.masks
                )
        if spiking:
            neurons = images * int((one.lanes >= 0).sum()) * positions
            if arch.lif_parallel:  # all step, whether they have a position or not
                neurons = arch.pes * arch.lif_units
            counts.steps += neurons * timesteps
        drained = drain_start + length - 1
        counts.draining += length
        counts.waiting += drain_start - 1 - counts.finished
        if timeline is not None:
            timeline.block("collector", drain_start, length)
            wait = drain_start - 1 - counts.finished
            timeline.pes(arch.pes, counts.finished, drain_start - 1, waiting=wait)
            timeline.pes(arch.pes, drain_start - 1, drained, draining=length)
        cluster.drained = [cluster.drained[1], drained]
        cluster.resume = drained + 1
        counts.entered = drained

    def _actions(self, index: int, rounds: int, counts: I64, cycles: int) -> dict[str, int]:
        """What a layer has done, but for words that were loaded, spikes that were written and
        steps of neurons. counts: of all clusters. rounds: of a pass, in each of them.

        What is loaded, each cluster takes: its PEs unpack it, and write it.
        """
        descriptor, arch = self.packed.layers[index], self.packed.arch
        chunks = [c for p in self._passes[index] for c in p]
        loads = arch.clusters * (1 if len(self._passes[index][0]) == 1 else rounds)
        bias_writes = BIAS_WORDS * arch.pes * descriptor.slots * len(descriptor.passes)
        drained = rounds * (1 if arch.lif_parallel else descriptor.images) * arch.clusters
        bias_reads = BIAS_WORDS * arch.pes * sum(descriptor.slots_used) * drained
        # In the rounds of a pass each image has each position of the map in each group once.
        area = descriptor.size[0] * descriptor.size[1]
        neuron_rows = self.packed.maps * arch.pes * sum(descriptor.slots_used) * area
        results = self.packed.maps * descriptor.blocks.shape[0] if descriptor.last else 0
        matched, added = int(counts[Count.MATCHED]), int(counts[Count.ACCUMULATION])
        # A weight meets a row of all timesteps, or waits in the lanes of those that fire, each of
        # which has a bank of its own.
        if arch.issue == 1:
            gated, queued, sums = matched * arch.timesteps, 0, matched + neuron_rows
            if arch.lif_parallel:  # the drain reads registers
                sums = matched
        else:
            gated, queued, sums = 0, added, added + neuron_rows * arch.timesteps
        return {
            "and_gate": gated,
            "lane_push": queued,
            "lane_pop": queued,
            "accumulate": added,
            "accumulator_read": sums,
            "accumulator_write": sums,
            "lif_step": 0,
            "scratchpad_read": matched + bias_reads,
            "scratchpad_write": loads * (sum(c.scratchpad_writes for c in chunks) + bias_writes),
            "header_read": int(counts[Count.HEADER_READ]),
            "table_read": int(counts[Count.FIFO_PUSH]),
            "table_write": loads * sum(c.table_writes for c in chunks),
            "match": int(counts[Count.HEADER_READ]),
            "select": matched,
            "unpack": loads * sum(c.units for c in chunks),
            "filter": int(counts[Count.FILTERED]),
            "fifo_push": int(counts[Count.FIFO_PUSH]),
            "fifo_pop": int(counts[Count.FIFO_PUSH]),
            "queue_push": int(counts[Count.QUEUED]),
            "queue_pop": int(counts[Count.QUEUED]),
            # The read of a row's count is charged like that of an entry.
            "spike_read": int(counts[Count.SPIKE_READ] + counts[Count.ROW_VISIT]),
            "spike_write": 0,
            "memory_word": arch.logit_words * results,
            **_idle(cycles, arch),
        }

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


def _idle(cycles: int, arch: Arch) -> dict[str, int]:
    """The actions of every cycle, whether anything is done in it or not."""
    each, shared = cycles * arch.all_pes, cycles
    return {
        "leakage_cycle": each,
        "shared_leakage_cycle": shared,
        "clock_cycle": each,
        "shared_clock_cycle": shared,
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
