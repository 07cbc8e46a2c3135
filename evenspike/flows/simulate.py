"""Simulate: a packed Program on images, cycle by cycle, each image proved against the reference.

What is kept of an image is an `Outcome`, of a layer the sums over all images: the memory that a run
takes does not depend on how many images it has.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from evenspike.flows.batches import batches, encode, members, of_image
from evenspike.flows.figures import Figures
from evenspike.flows.images import Images, Pixels, as_images
from evenspike.flows.outcome import (
    Outcome,
    first_difference,
    model_statement,
    outcome,
    reference_statements,
    untimed,
)
from evenspike.flows.prepare import pack
from evenspike.flows.thumbnail import thumbnail
from evenspike.report.accuracy import accuracy
from evenspike.report.contents import contents, natural_order
from evenspike.report.pages import Report
from evenspike_core import backends
from evenspike_core import reference as integers
from evenspike_core.compare import Divergence, first_divergence
from evenspike_core.counters import LayerStatement
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Packed
from evenspike_core.program import Program
from evenspike_core.progress import Progress, silent
from evenspike_core.trace import Span, perfetto
from evenspike_sim.accelerator import Accelerator, LayerRun
from evenspike_sim.tally import Tally

MODEL, REFERENCE = "model", "reference"

TASK_IMAGES = 64
"""Images of one task in another process: enough to outweigh that it decodes the weight stream."""


@dataclass(frozen=True)
class RtlCheck:
    """What the RTL said about the first images of a run.

    engine: "compiled", or "interpreted" by Amaranth's simulator. images: that it ran.
    differences: images in which it parts from the cycle model; first: where the first of these
    does, and at: its position. spikes, counters: values compared. cycles, seconds: of the RTL, all
    images together. build_seconds: that building the engine took, now or when it was cached.
    failure: why the RTL did not come to an end; empty where it did.
    """

    engine: str
    images: int
    differences: int
    spikes: int = 0
    counters: int = 0
    cycles: int = 0
    seconds: float = 0.0
    build_seconds: float = 0.0
    at: int | None = None
    first: Divergence | None = None
    failure: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Run(Figures):
    """Images on the cycle model. Figures are per image, on average over all of them.

    Of a batch the cycles of an image are its share: what the images of a batch take together is
    `latency`. Copies that fill up the last batch count in them as images.

    packed: the Program and the machine. images: what was run. outcomes: one for each image.
    tally: sums over the images, by layer. spans: the timeline of the first image. seconds: that
    its parts took. checked: whether each image was compared with the integer reference. rtl: what
    the RTL said, where it was asked. natural: what filters in their own order cost, where that was
    measured (`against_natural_order`).
    """

    packed: Packed
    images: Images
    outcomes: tuple[Outcome, ...]
    tally: Tally
    spans: tuple[Span, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    checked: bool = True
    rtl: RtlCheck | None = None
    natural: dict[str, Any] | None = None

    def __repr__(self) -> str:
        proof = "bit-exact" if self.bit_exact else str(self.divergence or "not compared")
        return (
            f"<Run of {self.packed.name} on {self.packed.arch.preset}: {len(self.outcomes)} "
            f"images, {self.cycles:,.0f} cycles an image, utilization "
            f"{self.utilization:.3f}, {proof}>"
        )

    @property
    def program(self) -> Program:
        return self.packed.program

    @property
    def latency(self) -> float:
        """Cycles of an inference, that is of a batch, on average."""
        return self.cycles * self.packed.batch

    @property
    def logits(self) -> npt.NDArray[np.int64]:
        """int64 [images, classes]."""
        return np.array([one.logits for one in self.outcomes], dtype=np.int64)

    @property
    def predictions(self) -> npt.NDArray[np.int64]:
        """int64 [images]."""
        return np.array([one.prediction for one in self.outcomes], dtype=np.int64)

    @property
    def accuracy(self) -> float | None:
        """Share of right predictions; None where no label is known."""
        known = [one for one in self.outcomes if one.label is not None]
        return sum(one.prediction == one.label for one in known) / len(known) if known else None

    @property
    def divergence(self) -> str | None:
        """The first difference from the reference or from the RTL, with the image's index."""
        for one in self.outcomes:
            if one.divergence is not None:
                return f"image {one.index}: {one.divergence}"
        if self.rtl is not None and self.rtl.failure:
            return self.rtl.failure
        if self.rtl is not None and self.rtl.first is not None:
            return f"image {self.outcomes[self.rtl.at or 0].index}: {self.rtl.first}"
        return None

    @property
    def bit_exact(self) -> bool:
        """Every spike and logit is the reference's, and what the RTL ran is the model's, too."""
        return self.checked and self.divergence is None

    def compare(self, other: Run | Reference) -> Divergence | None:
        """Where the two part first, in any image, layer and neuron; None if they are equal.

        Spikes and logits are compared, and cycles and counters where both have them. Raises
        EvenspikeError for a run of other images.
        """
        names = (self.name, other.name if other.name != self.name else f"the other {other.name}")
        found = first_difference(
            names, (self.outcomes, other.outcomes), (self.statements, other.statements)
        )
        return None if found is None else found[1]

    @property
    def name(self) -> str:
        return MODEL

    def statements(self, at: int) -> list[LayerStatement]:
        """What the cycle model says about every layer of the image at a position; runs it, with
        its batch.
        """
        number, member = divmod(at, self.packed.batch)
        runs = _accelerator(self.packed).run(encode(number, self.images, self.packed))
        return of_image([model_statement(run) for run in runs], member, self.packed)

    def report(self, command: str | None = None) -> Report:
        """The run as a report that can be saved and shows itself in a notebook.

        command: the command line that made it, for the page; None for a call from Python.
        """
        found = dict(self._contents)
        found["images"] = len(self.outcomes)
        found["engine"] = MODEL if self.rtl is None else "model+rtl"
        found["command"] = command
        found["bit_exact"] = self.bit_exact
        if self.divergence is not None:
            found["divergence"] = self.divergence
        found["compared"] = self._compared()
        found["classes"] = list(self.images.classes)
        found["predictions"] = [
            {
                "index": one.index,
                "label": one.label,
                "prediction": one.prediction,
                "logits": list(one.logits),
            }
            for one in self.outcomes
        ]
        found |= accuracy(found["predictions"])
        found["seconds"] = dict(self.seconds)
        if self.natural is not None:
            found["natural_order"] = self.natural
        shown = [
            (thumbnail(pixels), one.label, one.prediction)
            for pixels, one in zip(self.images.pixels, self.outcomes, strict=True)
        ]
        return Report(found, shown, perfetto(self.spans) if self.spans else None)

    def _compared(self) -> dict[str, Any]:
        body = [layer for layer in self.program.layers if not layer.last]
        bits = sum(int(np.prod(layer.output)) for layer in body) * self.program.timesteps
        compared: dict[str, Any] = {
            "spikes": bits * len(self.outcomes) * self.checked,
            "layers": len(body),
            "timesteps": self.program.timesteps,
        }
        if self.rtl is not None:
            names = ("images", "differences", "spikes", "counters", "cycles")
            compared["rtl"] = {name: getattr(self.rtl, name) for name in names}
        return compared

    @cached_property
    def _contents(self) -> dict[str, Any]:
        return contents(
            self.program,
            self.packed,
            self.tally,
            model=self.program.name,
            mapping=self.packed.mapping,
        )


@dataclass(frozen=True, eq=False, repr=False)
class Reference:
    """Images on the integer reference: spikes and logits, no cycles."""

    program: Program
    images: Images
    outcomes: tuple[Outcome, ...]

    def __repr__(self) -> str:
        return f"<Reference of {self.program.name}: {len(self.outcomes)} images>"

    @property
    def name(self) -> str:
        return REFERENCE

    @property
    def logits(self) -> npt.NDArray[np.int64]:
        """int64 [images, classes]."""
        return np.array([one.logits for one in self.outcomes], dtype=np.int64)

    def statements(self, at: int) -> list[LayerStatement]:
        """Every layer of the image at a position; computes it."""
        found = integers.run(self.program, self.images.pixels[at])
        return reference_statements(self.program, found)


def reference(program: Program, images: Images | Pixels, progress: Progress = silent) -> Reference:
    """The integer reference on images: what every simulator's spikes have to be.

    images: of `images`, or uint8 pixels, several inputs or one as the Program takes it.

    Raises EvenspikeError for images that the Program does not take.
    """
    given = as_images(images, program)
    found = []
    for at in range(len(given)):
        progress(f"{program.name} on the reference", at, len(given))
        statements = reference_statements(program, integers.run(program, given.pixels[at]))
        found.append(outcome(given, at, statements))
    return Reference(program, given, tuple(found))


def simulate(
    packed: Packed,
    images: Images | Pixels,
    *,
    check: bool = True,
    jobs: int = 0,
    backend: str = "threading",
    progress: Progress = silent,
) -> Run:
    """Run images on the cycle model.

    Parameters
    ----------
    packed : of `pack`. If it has a batch and the images do not fill the last one, copies of the
        last image do.
    images : of `images`, or uint8 pixels, several inputs or one as the Program takes it.
    check : compare every image with the integer reference, which takes about as long again.
    jobs : images at a time; 0 for one on each core.
    backend : "threading" (this process), "loky" (processes of this machine), "dask" or "ray" (a
        cluster that the environment names). The result does not depend on jobs and backend.

    Raises EvenspikeError for images that the Program does not take, and for a backend that is not
    there. An interrupt (Ctrl-C) ends it after the images under way.
    """
    check_packed(packed, "simulate")
    given = as_images(images, packed.program)
    jobs = jobs_of(jobs)
    backends.check(backend)
    began = time.perf_counter()
    tally = Tally()
    outcomes: list[Outcome] = []
    spans: list[Span] = []
    title = f"{packed.name} on {packed.arch.preset}"
    progress(title, 0, len(given))
    for part in _parts(packed, given, check, jobs, backend):
        tally.merge(part.tally)
        outcomes += part.outcomes
        spans += part.spans
        progress(title, len(outcomes), len(given))
    seconds = {"images": time.perf_counter() - began}
    return Run(packed, given, tuple(outcomes), tally, tuple(spans), seconds, check)


def check_packed(given: object, flow: str) -> None:
    """Raises EvenspikeError for what is no Packed, naming the call that it is meant for."""
    if not isinstance(given, Packed):
        what = given.name if isinstance(given, Program) else f"{given!r:.60}"
        raise EvenspikeError(f"{what}: is not packed; {flow}(pack(program), images)")


def against_natural_order(run: Run) -> Run:
    """The run beside its first image, or batch, with filters in their own order: what the mapper
    gains.

    It stays as it is where the machine has no room for that order.
    """
    batch = run.packed.batch
    first = run.images[:batch]
    try:
        natural = pack(run.program, run.packed.arch, mapping="natural", batch=batch)
    except EvenspikeError:
        return run
    mapped = run.outcomes[0].cycles
    assert mapped is not None  # noqa: S101 - the cycle model counts them
    there = simulate(natural, first, check=False, jobs=1)
    return replace(run, natural=natural_order(there.tally, mapped / batch))


def jobs_of(jobs: int) -> int:
    """How many at a time; raises EvenspikeError for a negative number."""
    if jobs < 0:
        raise EvenspikeError(f"{jobs} at a time: 0 (one on each core) or more")
    return jobs or os.cpu_count() or 1


class Part(NamedTuple):
    """Some images of a run, in their order. spans: of the first image of all."""

    tally: Tally
    outcomes: list[Outcome]
    spans: list[Span]


def _parts(packed: Packed, given: Images, check: bool, jobs: int, backend: str) -> Iterator[Part]:
    """The parts of a run in the images' order, few of them under way at a time."""
    if backend == "threading":
        accelerator = Accelerator(packed)
        size = packed.batch
        yield from in_threads(
            lambda at: _part(accelerator, given[at * size : (at + 1) * size], check, at == 0),
            batches(len(given), packed),
            jobs,
        )
        return
    size = packed.batch * batches(min(TASK_IMAGES, -(-len(given) // jobs)), packed)
    tasks = [(packed, given[at : at + size], check, at == 0) for at in range(0, len(given), size)]
    yield from backends.ordered(backend, jobs, _elsewhere, tasks)


def in_threads(function: Any, count: int, threads: int) -> Iterator[Any]:
    """function(0), function(1), ... in this order, `threads` at a time and few ahead.

    What has not begun when the caller stops, or is interrupted, is dropped.
    """
    waiting: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(threads)
    # A product of matrices that starts a thread for each core would stand in the others' way.
    with threadpool_limits(1, user_api="blas"):
        try:
            for at in range(count):
                waiting.append(pool.submit(function, at))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@lru_cache(maxsize=2)
def _accelerator(packed: Packed) -> Accelerator:
    """The weight stream is decoded once for a Packed, not once for each of its parts."""
    return Accelerator(packed)


def _elsewhere(packed: Packed, images: Images, check: bool, first: bool) -> Part:
    """A part in another process, which gets its own copy of the memory words."""
    return _part(Accelerator(packed), images, check, first)


def _part(accelerator: Accelerator, images: Images, check: bool, first: bool) -> Part:
    part = Part(Tally(), [], [])
    batch = accelerator.packed.batch
    for number in range(batches(len(images), accelerator.packed)):
        spans = part.spans if first and number == 0 else None
        runs, found = run_batch(accelerator, images, number, check, spans)
        part.tally.add(runs, batch)
        part.outcomes.extend(found)
    return part


def run_batch(
    accelerator: Accelerator,
    images: Images,
    number: int,
    check: bool = True,
    spans: list[Span] | None = None,
) -> tuple[list[LayerRun], list[Outcome]]:
    """One batch, or one image, on the cycle model, and on the reference if it is to be checked;
    what each of its images gave.
    """
    packed = accelerator.packed
    runs = accelerator.run(encode(number, images, packed), spans)
    whole = [model_statement(run) for run in runs]
    outcomes = []
    for member, at in enumerate(members(number, images, packed)):
        statements = of_image(whole, member, packed)
        found: Divergence | None = None
        if check:
            wanted = reference_statements(
                packed.program, integers.run(packed.program, images.pixels[at])
            )
            found = first_divergence(wanted, untimed(statements), (REFERENCE, MODEL))
        outcomes.append(outcome(images, at, statements, found))
    return runs, outcomes
