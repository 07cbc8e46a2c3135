"""Cosim: images on the RTL and on the cycle model, and where the two part first."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from evenspike.flows.batches import batches, encode, members
from evenspike.flows.images import Images, Pixels, as_images
from evenspike.flows.locate import difference
from evenspike.flows.outcome import Outcome, model_statement
from evenspike.flows.simulate import RtlCheck, Run, check_packed, in_threads, jobs_of, run_batch
from evenspike_core.compare import Divergence
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Packed
from evenspike_core.progress import Progress, silent
from evenspike_core.trace import Span
from evenspike_hw.engine import compiled
from evenspike_hw.engine.interpreted import InterpretedSimulator
from evenspike_hw.engine.interpreted import cycles_per_second as interpreted_speed
from evenspike_hw.engine.simulator import MemoryBehaviour, Simulator, Waves
from evenspike_sim.accelerator import Accelerator, LayerRun
from evenspike_sim.spikes import Masks
from evenspike_sim.tally import Tally

INTERPRETED_CYCLES = 20_000
"""Of an image, beyond which Amaranth's own simulator is no help: several minutes."""

PYSIM_CYCLES = 300
"""Of the same design, for the comparison of speeds."""

MARGIN = 2000
"""Cycles before and after a difference that its waveform shows."""

Engine = type[Simulator] | type[InterpretedSimulator]


@dataclass(frozen=True)
class Compared:
    """One image, or batch, on both: what was compared, and where they part (None: nowhere).

    spikes, counters: values compared. cycles, seconds: of the RTL.
    """

    divergence: Divergence | None
    spikes: int
    counters: int
    cycles: int
    seconds: float


def built(packed: Packed) -> bool:
    """Whether a compiled engine of this machine is there, so that the RTL costs seconds."""
    try:
        place = compiled.location(packed.arch).parent
    except EvenspikeError:  # the tools that its name depends on are missing
        return False
    try:
        return compiled.find(packed.arch) is not None or place.is_dir()
    except EvenspikeError:
        return True  # whoever wants to run it is told why it cannot be used


def choose_engine(
    packed: Packed, pixels: Pixels, progress: Progress = silent
) -> tuple[Engine, float]:
    """The compiled engine, built if it is not there, and the seconds that building took.

    Where it cannot be built it is Amaranth's own simulator, if the network is small enough for it.
    Raises EvenspikeError that says what is missing where it is not.
    """
    try:
        compiled.find_tools()
    except EvenspikeError as error:
        runs = Accelerator(packed).run(encode(0, Images(pixels[None]), packed))
        cycles = sum(run.cycles for run in runs)
        if cycles > INTERPRETED_CYCLES:
            what = "an image" if packed.batch == 1 else "a batch"
            raise EvenspikeError(
                f"{error}; Amaranth's own simulator does without, but would take too long for the "
                f"{cycles:,} cycles of {what} (the limit is {INTERPRETED_CYCLES:,})"
            ) from error
        progress(f"{error}. Until then Amaranth's own simulator serves, slowly", 0, None)
        return InterpretedSimulator, 0.0
    if not built(packed):
        progress("building the RTL simulator (once for an Arch)", 0, None)
    return Simulator, compiled.build(packed.arch).seconds


def cosim(
    packed: Packed,
    images: Images | Pixels,
    *,
    jobs: int = 0,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Run:
    """Run images on the RTL, on the cycle model and on the reference.

    Parameters
    ----------
    packed : of `pack`; a batch that the images do not fill is filled up as in `simulate`.
    images : of `images`, or uint8 pixels.
    jobs : images or batches at a time, each on an RTL of its own; 0 for one on each core.
    engine : the RTL's; None for the compiled one, which is built if it is not there.

    Returns
    -------
    The same `Run` as `simulate` gives; its `rtl` says what was compared and where they part first.

    Raises EvenspikeError where no engine can be had, and where the RTL stops or hangs.
    """
    check_packed(packed, "cosim")
    given = as_images(images, packed.program)
    seconds = 0.0
    if engine is None:
        engine, seconds = choose_engine(packed, given.pixels[0], progress)
    began = time.perf_counter()
    tally = Tally()
    outcomes: list[Outcome] = []
    spans: list[Span] = []
    compared: list[Compared] = []
    accelerator = Accelerator(packed)
    title = f"{packed.name} on the RTL"
    count = batches(len(given), packed)
    with _simulators(engine, packed, min(jobs_of(jobs), count)) as simulators:

        def one(number: int) -> tuple[list[LayerRun], list[Outcome], Compared]:
            runs, found = run_batch(
                accelerator, given, number, check=True, spans=spans if number == 0 else None
            )
            simulator = simulators.get()
            try:
                return runs, found, run_rtl(packed, simulator, encode(number, given, packed), runs)
            finally:
                simulators.put(simulator)

        progress(title, 0, len(given))
        for runs, found, same in in_threads(one, count, jobs_of(jobs)):
            tally.add(runs, packed.batch)
            outcomes += found
            compared.append(same)
            progress(title, len(outcomes), len(given))
    took = {"images": time.perf_counter() - began}
    run = Run(packed, given, tuple(outcomes), tally, tuple(spans), took)
    kind = "compiled" if engine is Simulator else "interpreted"
    return replace(run, rtl=summary(packed, given, compared, kind, seconds))


@contextmanager
def _simulators(
    engine: Engine, packed: Packed, count: int
) -> Iterator[SimpleQueue[Simulator | InterpretedSimulator]]:
    """RTLs that are free, each for one image at a time; all are closed at the end."""
    free: SimpleQueue[Simulator | InterpretedSimulator] = SimpleQueue()
    try:
        for _ in range(count):
            free.put(engine(packed))
        yield free
    finally:
        while not free.empty():
            free.get().close()


def run_rtl(
    packed: Packed,
    simulator: Simulator | InterpretedSimulator,
    spikes: Masks,
    runs: Sequence[LayerRun],
    memory: MemoryBehaviour | None = None,
) -> Compared:
    """One image, or batch, on the RTL, compared with what the cycle model did."""
    began = time.perf_counter()
    traces = simulator.run(spikes, memory)
    seconds = time.perf_counter() - began
    expected = [model_statement(run) for run in runs]
    return Compared(
        difference(packed, runs, traces),
        sum(r.masks.size * packed.timesteps for r in expected if r.masks is not None),
        sum(1 + sum(np.size(v) for v in r.counters.values()) for r in expected),
        sum(trace.cycles for trace in traces),
        seconds,
    )


def summary(
    packed: Packed,
    images: Images,
    compared: Sequence[Compared],
    engine: str,
    build_seconds: float = 0.0,
) -> RtlCheck:
    """What all images together say. Of a batch that parts all images count as different, and the
    first one whose own spikes or logits differ, or its first, is named.
    """
    parted = [number for number, one in enumerate(compared) if one.divergence is not None]
    of = [members(number, images, packed) for number in parted]
    first = compared[parted[0]].divergence if parted else None
    return RtlCheck(
        engine,
        len(images),
        sum(map(len, of)),
        sum(one.spikes for one in compared),
        sum(one.counters for one in compared),
        sum(one.cycles for one in compared),
        sum(one.seconds for one in compared),
        build_seconds,
        None if first is None else min(of[0][0] + first.image, of[0][-1]),
        first,
    )


def with_rtl(run: Run, count: int, *, jobs: int = 0, progress: Progress = silent) -> Run:
    """The run with what the RTL says about its first `count` images.

    An RTL that stops or hangs is a difference of the run. Raises EvenspikeError where the compiled
    engine is not built, or fails.
    """
    few = run.images[: batches(count, run.packed) * run.packed.batch]
    kept = compiled.find(run.packed.arch)
    if kept is None:
        raise EvenspikeError("its simulator is damaged; make cosim builds it again")
    try:
        rtl = cosim(run.packed, few, jobs=jobs, engine=Simulator, progress=progress).rtl
    except compiled.EngineError:
        raise  # it says nothing about the design
    except EvenspikeError as error:
        rtl = RtlCheck("compiled", len(few), len(few), failure=str(error))
    return replace(run, rtl=None if rtl is None else replace(rtl, build_seconds=kept.seconds))


def sentence(run: Run) -> str:
    """What was compared with the RTL, with what outcome and how fast."""
    rtl = run.rtl
    if rtl is None:
        return "not run"
    if rtl.failure:
        return rtl.failure
    return (
        f"{run.packed.name}: {rtl.differences} of {rtl.images} images differ; compared "
        f"{rtl.spikes:,} spikes and {rtl.counters:,} counters over {rtl.cycles:,} RTL cycles, "
        f"{rtl.cycles / rtl.seconds:,.0f} a second, {rtl.seconds / rtl.images:.1f} s an image"
    )


def waveform(run: Run, path: Path) -> Path:
    """The RTL's signals around the first difference of a run, as a VCD file.

    Raises EvenspikeError for a run without a difference from the RTL.
    """
    rtl = run.rtl
    if rtl is None or rtl.at is None or rtl.first is None:
        raise EvenspikeError(f"{run.packed.name}: no difference from the RTL to draw")
    cycle = rtl.first.cycle or 0
    masks = encode(rtl.at // run.packed.batch, run.images, run.packed)
    with Simulator(run.packed, trace=True) as simulator:
        simulator.run(masks, waves=Waves(path, max(0, cycle - MARGIN), cycle + MARGIN))
    return path


def pysim_speed(packed: Packed, pixels: Pixels) -> float:
    """Cycles a second of the same design on Amaranth's own simulator."""
    return interpreted_speed(packed, encode(0, Images(pixels[None]), packed), PYSIM_CYCLES)
