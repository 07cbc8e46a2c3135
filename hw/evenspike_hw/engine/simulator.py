"""Simulator: inferences of a Packed on the RTL, compiled where that is possible."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Packed
from evenspike_hw.engine import compiled
from evenspike_hw.engine.host import Masks, MemoryMap
from evenspike_hw.engine.results import Buffers, LayerTrace
from evenspike_hw.engine.watched import boundary
from evenspike_hw.rtl import descriptor
from evenspike_hw.rtl.faults import Fault
from evenspike_hw.rtl.registers import Status
from evenspike_hw.rtl.watchdog import LIMIT

WATCHDOG = 20_000
"""Cycles in which nothing moves, after which a run is given up."""


class Outcome(IntEnum):
    """What the driver returns."""

    FINISHED = 0
    REFUSED = 1
    STALLED = 2
    INTERRUPTED = 3
    UNWRITTEN = 4


class Interrupt(IntEnum):
    """How a host breaks an inference off."""

    NEVER = 0
    ABORT = 1
    RESET = 2


@dataclass(frozen=True)
class MemoryBehaviour:
    """stall: share of the cycles in which the memory takes and gives nothing. seed: of which.

    since: cycle of the inference from which on it does so; 0: already when the table is filled.
    """

    stall: float = 0.0
    seed: int = 0
    since: int = 0


@dataclass(frozen=True)
class Waves:
    """A VCD file, and the first and the last cycle of the inference that it gets."""

    path: Path
    first: int
    last: int


@dataclass(frozen=True)
class Watch:
    """A file for the ports of a part in every cycle, from the first command to the end of a layer.

    part: of `watched.PARTS`. number: which of them, where there are several. layer: the last one
    that is recorded.
    A cycle is a word (bit 0: an inference runs; 1: its layer ends; from 2 on the state of that PE,
    from 8 on the number of the layer) and the words of the part's `watched.Boundary`.
    """

    path: Path
    part: str
    number: int
    layer: int


class Simulator:
    """The compiled RTL with a Packed in its memory; one object serves one thread.

    trace: build with waveforms (see `run`). watched: build it so that it can be watched.
    limit: of the accelerator's watchdog, may be changed.

    Raises EvenspikeError where the engine cannot be built, or the Packed does not fit the tables.
    """

    def __init__(self, packed: Packed, *, trace: bool = False, watched: bool = False) -> None:
        self.packed = packed
        self.map = MemoryMap(packed, descriptor.encode(packed))
        self.limit = LIMIT
        self._driver = compiled.load(
            compiled.build(packed.arch, trace=trace, watch=watched).library
        )
        self._machine = ctypes.c_void_p(self._driver.evenspike_new())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._machine:
            self._driver.evenspike_delete(self._machine)
            self._machine = ctypes.c_void_p()

    def run(
        self,
        masks: Masks,
        memory: MemoryBehaviour | None = None,
        waves: Waves | None = None,
        watch: Watch | None = None,
    ) -> list[LayerTrace]:
        """Runs one inference on the spikes that the host makes of an input.

        masks: [channels, H, W], the first layer's output over all timesteps; where the Packed has a
            batch [images, channels, H, W].
        watch: what is recorded of it, by a simulator that was built for it.

        Raises EvenspikeError for masks that are not of this network, and where the accelerator
        stops at a layer or nothing moves any more.
        """
        results = Buffers(self.packed)
        behaviour = memory or MemoryBehaviour()
        result, job = self._run(masks, results, behaviour, waves, watch=watch)
        if watch is not None and result is Outcome.UNWRITTEN:
            raise EvenspikeError(f"{watch.path}: the record of the RTL's run cannot be written")
        check(self.packed, result, job.status, Fault(job.fault), job.total_cycles)
        return results.traces(job.status)

    def interrupt(
        self,
        masks: Masks,
        cycle: int,
        *,
        by: Interrupt,
        memory: MemoryBehaviour | None = None,
    ) -> bool:
        """Begins with filling the table, as `run`, and breaks off so many cycles later, one and
        more; the next `run` waits for what that leaves behind. False: it was over before.

        Raises EvenspikeError as `run`.
        """
        results = Buffers(self.packed)
        behaviour = memory or MemoryBehaviour()
        result, job = self._run(masks, results, behaviour, None, by, cycle)
        if result is Outcome.INTERRUPTED:
            return True
        check(self.packed, result, job.status, Fault(job.fault), job.total_cycles)
        return False

    def _run(
        self,
        masks: Masks,
        results: Buffers,
        memory: MemoryBehaviour,
        waves: Waves | None,
        interrupt: Interrupt = Interrupt.NEVER,
        cycle: int = 0,
        watch: Watch | None = None,
    ) -> tuple[Outcome, compiled.Job]:
        content = self.map.words(masks)
        tables = self.map.tables
        arrays = ("base", "room", "cycles", "states", "overflow", "counts", "columns", "masks")
        job = compiled.Job(
            memory=content.ctypes.data,
            words=content.size // self.packed.arch.port_lanes,
            input=self.map.input,
            weights=self.map.weights,
            logits=self.map.logits,
            table=0,
            table_words=tables.words.size,
            pass_base=tables.pass_base,
            latency=self.packed.arch.memory_latency,
            stall=round(memory.stall * 65536),
            stall_from=memory.since,
            seed=memory.seed,
            watchdog=WATCHDOG,
            limit=self.limit,
            interrupt=interrupt,
            interrupt_at=cycle,
            layers=len(self.packed.layers),
            cluster_maps=self.packed.cluster_maps,
            region=self.packed.region,
            logit_count=results.logit_words.size // self.packed.arch.port_lanes,
            trace=str(waves.path).encode() if waves else None,
            trace_first=waves.first if waves else 0,
            trace_last=waves.last if waves else 0,
            **self._watching(watch),
            **{
                name: getattr(results, name).ctypes.data
                for name in (*arrays, "closed", "logit_words")
            },
        )
        return Outcome(self._driver.evenspike_run(self._machine, ctypes.byref(job))), job

    def _watching(self, watch: Watch | None) -> dict[str, Any]:
        if watch is None:
            return {}
        of = boundary(self.packed.arch, watch.part)
        if not 0 <= watch.number < of.count:
            raise EvenspikeError(f"part {watch.number} to watch, there are 0 to {of.count - 1}")
        return {
            "watch": str(watch.path).encode(),
            "watch_at": of.first + watch.number * of.words,
            "watch_words": of.words,
            "watch_pe": watch.number if watch.part == "pe" else self.packed.arch.pes,
            "watch_layer": watch.layer,
        }


def check(packed: Packed, result: Outcome, status: int, fault: Fault, cycle: int) -> None:
    """Raises EvenspikeError for a run that has not finished, with the layer and the cycle."""
    if result is Outcome.FINISHED:
        return
    if result is Outcome.STALLED and not cycle:
        raise EvenspikeError(f"RTL: nothing has moved for {WATCHDOG} cycles; the table is not full")
    number = status >> Status.LAYER & 0xFF
    name = packed.layers[number].name if number < len(packed.layers) else "of no name"
    where = f"layer {name} (number {number}), cycle {cycle}"
    if result is Outcome.REFUSED:
        raise EvenspikeError(f"RTL: stopped at {where}, fault {fault.name}: {fault.meaning}")
    raise EvenspikeError(f"RTL: nothing has moved for {WATCHDOG} cycles, at {where}")
