"""The cycle model: sequencer, barriers and counters over a whole network.

`Accelerator(packed)` decodes the weight stream once; `run` works off one input and returns, for
every layer, the spikes, the cycles and what every PE did in each of them. It is the second
statement of docs/timing.md (the RTL is the third): a difference of one cycle is a defect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import Reset
from evenspike_core.mapping import BIAS_WORDS
from evenspike_core.pack import Descriptor, Packed, SegmentDescriptor
from evenspike_core.trace import Span
from evenspike_sim.collector import BIAS_READS, drain, drain_logits, load_currents
from evenspike_sim.loader import I64, LoadedChunk, load_pass
from evenspike_sim.pe import Count, Stages, Window, broadcast
from evenspike_sim.port import Port
from evenspike_sim.spikes import Masks, SpikeMap, count_spikes
from evenspike_sim.timeline import Timeline

BARRIER_LATENCY = 2
"""Register of each PE's `done` flag and register of their AND."""
LAYER_SETUP = 4
"""Cycles from a layer's last write to the first action of the next: the descriptor switch."""


@dataclass(frozen=True)
class LayerRun:
    """One layer of one inference.

    cycles: from the last write of the layer before to this layer's last write; the layers add up
        to the latency. Per PE, busy + starved + waiting + loading + draining == cycles.
    busy: a matched weight is at the gates. loading: the PE has finished its chunk and the next is
        not in the scratchpad. draining: the PEs drain in lockstep. waiting: the PE has finished
        its pass and waits for the others, or for the last write of the layer. starved: the rest
        (no activation that matches).
    masks: uint8 [filters, H, W] after pooling; logits: int64 [filters] of the last layer.
    overflows: times that a partial sum has saturated. accumulator_overflow, membrane_overflow: bool
        [pes], the sticky flags of the hardware.
    actions: counts by the names of energy.toml.
    reached: for each segment the pairs of an active input neuron (one with a spike in any timestep)
        and an output position that it reaches, each under a kernel position of its own: what one
        filter without a pruned weight would be busy for, a cycle a pair. None in the host layer.
    drains: cycle of the inference in which each round's drain begins; none in the host layer.
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


@dataclass
class _Clock:
    """Cycles that one layer hands to the next."""

    written: int = 0
    """last write of the layer before"""
    resume: int = 1
    """first cycle in which a PE may pop an activation: behind the last drain"""
    drained: list[int] = field(default_factory=lambda: [0, 0])
    """last drain cycle of the pass before the last, and of the last"""
    released: list[int] = field(default_factory=lambda: [0, 0])
    """first cycle in which each half may be overwritten"""
    half: int = 0


class Accelerator:
    """An Image, loaded and ready to run inputs.

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

    def run(
        self, currents: npt.NDArray[np.int32], spans: list[Span] | None = None
    ) -> list[LayerRun]:
        """Run the network on the host's currents [filters, H, W]; one LayerRun a layer.

        spans: collects what happened when, for `trace.perfetto`.
        """
        first = self.packed.layers[0]
        if currents.shape != (first.filters, *first.size):
            raise EvenspikeError(
                f"layer {first.name}: currents are {currents.shape}, "
                f"not {(first.filters, *first.size)}"
            )
        port, stages, clock = Port(self.packed.arch), Stages(self.packed.arch), _Clock()
        maps: list[SpikeMap] = []
        runs: list[LayerRun] = []
        for index, descriptor in enumerate(self.packed.layers):
            output = self._output(descriptor)
            if descriptor.host:
                runs.append(self._host(descriptor, currents, output, port, stages, clock, spans))
            else:
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
        """One layer on given spikes [channels, H, W] per segment (traces, the mapper).

        state: of `fresh`, to run layers behind each other with their loads overlapping.
        spans: collects what happened when, as in `run`.

        Raises EvenspikeError for spikes of another number, shape, type or number of timesteps.
        """
        descriptor = self.packed.layers[index]
        self._check_inputs(descriptor, inputs)
        port, stages, clock = state or self.fresh()
        sources = [
            SpikeMap.encode(dense, self.packed.layers[s.source].blocks)
            for dense, s in zip(inputs, descriptor.segments, strict=True)
        ]
        return self._layer(index, sources, self._output(descriptor), port, stages, clock, spans)

    def _check_inputs(self, descriptor: Descriptor, inputs: Sequence[Masks]) -> None:
        """The compiled loops do not check an index: a smaller map would be read beyond its end."""
        wanted = len(descriptor.segments)
        if len(inputs) != wanted:
            raise EvenspikeError(
                f"layer {descriptor.name}: {len(inputs)} inputs for {wanted} segments"
            )
        for number, (dense, s) in enumerate(zip(inputs, descriptor.segments, strict=True)):
            shape = (self.packed.layers[s.source].filters, s.height, s.width)
            if dense.dtype != np.uint8 or dense.shape != shape:
                raise EvenspikeError(
                    f"layer {descriptor.name}: input {number} is {dense.dtype} {dense.shape}, "
                    f"not uint8 {shape}"
                )
            if int(dense.max()) >> self.packed.timesteps:
                raise EvenspikeError(
                    f"layer {descriptor.name}: input {number} has a mask of {dense.max()}, "
                    f"more than {self.packed.timesteps} timesteps"
                )

    def fresh(self) -> tuple[Port, Stages, _Clock]:
        """The registers after a reset."""
        return Port(self.packed.arch), Stages(self.packed.arch), _Clock()

    def _output(self, descriptor: Descriptor) -> SpikeMap:
        height, width = (n // descriptor.pool for n in descriptor.size)
        return SpikeMap.empty(descriptor.blocks.shape[0], height, width, self.packed.arch.pes)

    def _tiles(self, descriptor: Descriptor) -> list[tuple[int, int, int, int]]:
        (rows, columns), (height, width) = descriptor.tile, descriptor.size
        return [
            (y, x, min(rows, height - y), min(columns, width - x))
            for y in range(0, height, rows)
            for x in range(0, width, columns)
        ]

    def _host(
        self,
        descriptor: Descriptor,
        currents: npt.NDArray[np.int32],
        output: SpikeMap,
        port: Port,
        stages: Stages,
        clock: _Clock,
        spans: list[Span] | None,
    ) -> LayerRun:
        """The first layer: currents stream through the LIF units, a block of lanes at a time."""
        arch = self.packed.arch
        logs = _logs(descriptor)
        zero = np.zeros((arch.pes, descriptor.slots), dtype=np.int64)
        blocks = written = steps = 0
        for number in range(len(descriptor.slots_used)):
            lanes = self._lanes(descriptor, number)
            for tile in self._tiles(descriptor):
                load_currents(
                    currents, lanes, *tile, *logs, self.packed.timesteps, stages.accumulators
                )
                written += self._drain(descriptor, number, lanes, tile, logs, zero, stages, output)
                blocks += lanes.shape[0] * tile[2] * tile[3]
                steps += int((lanes >= 0).sum()) * tile[2] * tile[3]
        last = port.currents(blocks)
        cycles = last + 1 + arch.drain_latency
        clock.written, clock.resume = cycles, last + 2
        clock.drained = [last + 1, last + 1]
        clock.released = [last + 1, last + 1]
        words = blocks * arch.current_words
        if spans is not None:
            timeline = Timeline(spans, descriptor.name)
            timeline.block("layers", 1, cycles, cycles=cycles)
            timeline.block("memory port", 0, last + 1, words=words)
            timeline.block("collector", 1, cycles, entries=written)
            timeline.pes(arch.pes, 0, last + 1, loading=last + 1 - blocks, draining=blocks)
            timeline.pes(arch.pes, last + 1, cycles, waiting=arch.drain_latency)
        ones = np.ones(arch.pes, dtype=np.int64)
        masks = output.decode(descriptor.blocks, descriptor.filters)
        return LayerRun(
            name=descriptor.name,
            cycles=cycles,
            busy=0 * ones,
            starved=0 * ones,
            waiting=arch.drain_latency * ones,
            loading=(last + 1 - blocks) * ones,
            draining=blocks * ones,
            words_loaded=words,
            spikes_in=0,
            spikes_out=count_spikes(masks),
            accumulations=0,
            broadcasts=0,
            overflows=0,
            accumulator_overflow=stages.overflow[0].astype(bool),
            membrane_overflow=stages.overflow[1].astype(bool),
            actions={
                "memory_word": words,
                "lif_step": steps * self.packed.timesteps,
                "spike_write": written,
                **_idle(cycles, arch.pes),
            },
            masks=masks,
        )

    def _layer(
        self,
        index: int,
        sources: Sequence[SpikeMap],
        output: SpikeMap,
        port: Port,
        stages: Stages,
        clock: _Clock,
        spans: list[Span] | None,
    ) -> LayerRun:
        """Passes, tiles and chunks of one layer."""
        descriptor, arch = self.packed.layers[index], self.packed.arch
        logs = _logs(descriptor)
        begin = clock.written
        words_before, busy_before = port.words, stages.busy.copy()
        stages.counts[:] = 0
        stages.overflow[:] = 0
        loading, draining, waiting = (np.zeros(arch.pes, dtype=np.int64) for _ in range(3))
        logits = np.zeros((descriptor.filters, *descriptor.size), dtype=np.int64)
        entered = begin
        layer_start = begin + LAYER_SETUP
        written = neurons = neuron_rows = 0
        drains: list[int] = []
        tiles = self._tiles(descriptor)
        timeline = None if spans is None else Timeline(spans, descriptor.name)
        for number, chunks in enumerate(self._passes[index]):
            lanes = self._lanes(descriptor, number)
            resident = len(chunks) == 1
            for position, tile in enumerate(tiles):
                finished = np.full(arch.pes, entered, dtype=np.int64)
                at = f"{tile[0]},{tile[1]}"
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
                    # The next pass may be broadcast into the FIFOs while this one drains, not
                    # the one behind it: the pass bit of a FIFO entry tells two apart.
                    start = 1 + max(loaded, int(stages.apu[2]), clock.drained[0], layer_start)
                    source = descriptor.segments[chunk.segment]
                    geometry = (source.kernel, source.stride, source.padding, source.average)
                    window = Window.of(tile, *geometry, (source.height, source.width))
                    spikes, busy_so_far = sources[chunk.segment], stages.busy.copy()
                    broadcast(
                        stages,
                        chunk,
                        (spikes.counts, spikes.columns, spikes.masks),
                        geometry,
                        window,
                        logs,
                        start,
                        clock.resume,
                    )
                    if timeline is not None:
                        timeline.place = {"pass": number, "tile": at, "chunk": order}
                        timeline.block("APU", start, int(stages.apu[2]) - start + 1)
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
                each = arch.logit_words if descriptor.last else 1
                length = lanes.shape[0] * (BIAS_READS + positions * each)
                if descriptor.last:
                    drain_logits(
                        stages.accumulators,
                        chunks[-1].bias,
                        lanes,
                        *tile,
                        *logs,
                        self.packed.timesteps,
                        logits,
                    )
                else:
                    written += self._drain(
                        descriptor, number, lanes, tile, logs, chunks[-1].bias, stages, output
                    )
                neurons += int((lanes >= 0).sum()) * positions
                neuron_rows += lanes.size * positions
                drained = drain_start + length - 1
                draining += length
                waiting += drain_start - 1 - finished
                if timeline is not None:
                    timeline.place = {"pass": number, "tile": at}
                    timeline.block("collector", drain_start, length)
                    timeline.pes(
                        arch.pes, finished, drain_start - 1, waiting=drain_start - 1 - finished
                    )
                    timeline.pes(arch.pes, drain_start - 1, drained, draining=length)
                clock.drained = [clock.drained[1], drained]
                clock.resume = drained + 1
                if not resident or position == len(tiles) - 1:
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
        masks = output.decode(descriptor.blocks, descriptor.filters)
        loaded_chunks = [c for p in self._passes[index] for c in p]
        loads = 1 if len(self._passes[index][0]) == 1 else len(tiles)
        bias_writes = BIAS_WORDS * arch.pes * descriptor.slots * len(descriptor.passes)
        bias_reads = BIAS_WORDS * arch.pes * sum(descriptor.slots_used)
        logit_words = arch.logit_words * descriptor.blocks.shape[0] if descriptor.last else 0
        return LayerRun(
            name=descriptor.name,
            cycles=cycles,
            busy=busy,
            starved=starved,
            waiting=waiting,
            loading=loading,
            draining=draining,
            words_loaded=words,
            spikes_in=sum(count_spikes(s.masks, s.counts) for s in sources),
            spikes_out=count_spikes(masks),
            accumulations=int(counts[Count.ACCUMULATION]),
            broadcasts=int(counts[Count.BROADCAST]),
            overflows=int(counts[Count.OVERFLOW]),
            accumulator_overflow=stages.overflow[0].astype(bool),
            membrane_overflow=stages.overflow[1].astype(bool),
            actions={
                "and_gate": int(counts[Count.MATCHED]) * arch.timesteps,
                "accumulate": int(counts[Count.ACCUMULATION]),
                "accumulator_read": int(counts[Count.MATCHED]) + neuron_rows,
                "accumulator_write": int(counts[Count.MATCHED]) + neuron_rows,
                "lif_step": 0 if descriptor.last else neurons * self.packed.timesteps,
                "scratchpad_read": int(counts[Count.MATCHED]) + len(tiles) * bias_reads,
                "scratchpad_write": loads
                * (sum(c.scratchpad_writes for c in loaded_chunks) + bias_writes),
                "header_read": int(counts[Count.HEADER_READ]),
                "table_read": int(counts[Count.FIFO_PUSH]),
                "table_write": loads * sum(c.table_writes for c in loaded_chunks),
                "match": int(counts[Count.HEADER_READ]),
                "select": int(counts[Count.MATCHED]),
                "unpack": words * arch.port_words,
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
            logits=logits.reshape(descriptor.filters, -1).sum(axis=1) if descriptor.last else None,
            drains=tuple(drains),
            reached=tuple(
                _reached(spikes, segment, descriptor.size)
                for spikes, segment in zip(sources, descriptor.segments, strict=True)
            ),
        )

    def _lanes(self, descriptor: Descriptor, number: int) -> npt.NDArray[np.int32]:
        first = number * descriptor.slots
        return descriptor.blocks[first : first + descriptor.slots_used[number]]

    def _drain(
        self,
        descriptor: Descriptor,
        number: int,
        lanes: npt.NDArray[np.int32],
        tile: tuple[int, int, int, int],
        logs: tuple[int, int],
        bias: I64,
        stages: Stages,
        output: SpikeMap,
    ) -> int:
        return int(
            drain(
                stages.accumulators,
                bias,
                lanes,
                *tile,
                *logs,
                descriptor.pool,
                descriptor.threshold,
                descriptor.leak.code,
                descriptor.reset is Reset.SOFT,
                self.packed.timesteps,
                number * descriptor.slots,
                output.counts,
                output.columns,
                output.masks,
                stages.overflow,
            )
        )


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


def _reached(spikes: SpikeMap, segment: SegmentDescriptor, size: tuple[int, int]) -> int:
    """Pairs of an active neuron of a segment's source and an output position that it reaches."""
    entries = np.arange(spikes.columns.shape[2]) < spikes.counts[..., None]
    active = np.count_nonzero(spikes.masks, axis=3) * entries
    rows, columns = (
        _reach(extent, outputs, segment)
        for extent, outputs in zip((segment.height, segment.width), size, strict=True)
    )
    return int(((active * columns[spikes.columns]).sum(axis=(0, 2)) * rows).sum())


def _reach(extent: int, outputs: int, segment: SegmentDescriptor) -> I64:
    """How many of the outputs along one axis each input reaches."""
    first = np.arange(outputs) * segment.stride - segment.padding
    at = np.arange(extent)[:, None] // segment.average
    return ((first <= at) & (at < first + segment.kernel)).sum(axis=1)
