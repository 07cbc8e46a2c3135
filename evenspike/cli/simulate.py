"""`evenspike sim --model`: a shipped network on real images, compared with the reference."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evenspike.cli import terminal
from evenspike.flows import models
from evenspike.flows.prepare import prepare
from evenspike.report import contents
from evenspike.report import pages as reports
from evenspike_core import data as dataset
from evenspike_core import reference
from evenspike_core.arch import preset
from evenspike_core.compare import Divergence, first_divergence
from evenspike_core.counters import LayerStatement
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Packed
from evenspike_core.program import Program
from evenspike_core.trace import Span, perfetto
from evenspike_sim.accelerator import Accelerator, LayerRun

IMAGES = 20
RTL_IMAGES = 2
"""Images that the RTL runs as well, where its simulator is built: seconds each."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Inference:
    """One image: what the model did, and where it first differs from the reference (or None)."""

    runs: Sequence[LayerRun]
    divergence: Divergence | None

    @property
    def logits(self) -> list[int]:
        logits = self.runs[-1].logits
        return [] if logits is None else [int(value) for value in logits]

    @property
    def prediction(self) -> int:
        """The class with the largest logit; the lowest index on a tie."""
        return int(np.argmax(self.logits))


def infer(
    program: Program,
    accelerator: Accelerator,
    pixels: Pixels,
    spans: list[Span] | None = None,
) -> Inference:
    """One image on the cycle model and on the reference."""
    runs = accelerator.run(reference.host_currents(program, pixels), spans)
    expected = reference.run(program, pixels)
    wanted = [
        LayerStatement(layer.name, run.cycles, masks=None if layer.last else masks, logits=logits)
        for layer, run, masks, logits in zip(
            program.layers,
            runs,
            (*expected.masks, None),
            (*[None] * (len(runs) - 1), expected.logits),
            strict=True,
        )
    ]
    found = first_divergence(wanted, [contents.result(run) for run in runs], ("reference", "model"))
    return Inference(runs, found)


def images_of(arguments: argparse.Namespace, program: Program) -> tuple[Pixels, Any, list[int]]:
    """Pixels, labels and their indices in the test set."""
    name = str(program.provenance.get("dataset", "fmnist"))
    wanted = IMAGES if arguments.images is None else arguments.images
    if arguments.data is None and name == "fmnist":
        pixels, labels = dataset.shipped()
        # They lie in the order of the test set: take one a class in turn, so that a few show all.
        turn = [np.count_nonzero(labels[:at] == label) for at, label in enumerate(labels)]
        order = np.lexsort((labels, turn))
        indices = dataset.shipped_indices()[order]
        pixels, labels = pixels[order], labels[order]
    else:
        pixels, labels = dataset.load(name, arguments.data, "test")
        indices = np.arange(labels.size)
    if not 1 <= wanted <= len(labels):
        raise EvenspikeError(f"--images {wanted}: 1 to {len(labels)} are possible")
    if pixels.shape[1:] != program.shape:
        raise EvenspikeError(
            f"{program.name}: takes pixels {program.shape}, the images are {pixels.shape[1:]}"
        )
    return pixels[:wanted], labels[:wanted], [int(i) for i in indices[:wanted]]


def threads_of(arguments: argparse.Namespace) -> int:
    """Images at a time."""
    threads = 0 if arguments.threads is None else int(arguments.threads)
    if threads < 0:
        raise EvenspikeError(f"--threads {threads}: 0 (all cores) or more")
    return threads or os.cpu_count() or 1


@contextmanager
def bar(console: Console) -> Iterator[Progress]:
    with Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        yield progress


def simulate(arguments: argparse.Namespace) -> int:
    """The `sim` verb for a model; returns the exit status."""
    console = terminal.console()
    began = time.perf_counter()
    arch = preset(arguments.arch)
    program = models.load("vgg16" if arguments.model is None else arguments.model)
    pixels, labels, indices = images_of(arguments, program)
    threads = threads_of(arguments)
    if arguments.rtl is not None and arguments.rtl < 0:
        raise EvenspikeError(f"--rtl {arguments.rtl}: 0 images or more")
    if arguments.seed is not None:
        raise EvenspikeError("--seed belongs to a trace: a model draws nothing")
    models.check_name(program)
    folder = arguments.out / program.name
    reports.check_folder(folder)
    with console.status("compiling the cycle model and mapping the layers (once: half a minute)"):
        packed = prepare(program, arch, arguments.mapping == "natural")
        accelerator = Accelerator(packed)
    mapped = time.perf_counter()
    spans: list[Span] = []
    with (
        bar(console) as progress,
        ThreadPoolExecutor(threads) as pool,
    ):
        futures = [
            pool.submit(infer, program, accelerator, one, spans if number == 0 else None)
            for number, one in enumerate(pixels)
        ]
        inferences = [
            future.result()
            for future in progress.track(
                futures, description=escape(f"{program.name} on {arch.preset}")
            )
        ]
    ended = time.perf_counter()
    content = _report(arguments, program, packed, inferences, labels, indices)
    hint = _rtl(arguments, program, packed, pixels, indices, content)
    content["seconds"] = {"prepare": mapped - began, "images": ended - mapped}
    shown = [
        (one, int(label), inference.prediction)
        for one, label, inference in zip(pixels, labels, inferences, strict=True)
    ]
    reports.write(content, folder, shown, perfetto(spans))
    console.print(reports.summary(content))
    console.print(hint, soft_wrap=True)
    written = f"report: {folder / 'report.html'} (.md, .json), trace: {folder / 'trace.json'}"
    console.print(written, soft_wrap=True)
    return 0 if content["bit_exact"] else 1


def _report(
    arguments: argparse.Namespace,
    program: Program,
    packed: Packed,
    inferences: Sequence[Inference],
    labels: npt.NDArray[np.int64],
    indices: Sequence[int],
) -> dict[str, Any]:
    content = contents.contents(
        program,
        packed,
        0,
        [inference.runs for inference in inferences],
        model=program.name,
        mapping=arguments.mapping,
    )
    divergence = next(
        (
            f"image {index}: {inference.divergence}"
            for index, inference in zip(indices, inferences, strict=True)
            if inference.divergence is not None
        ),
        None,
    )
    neurons = sum(int(np.prod(layer.output)) for layer in program.layers if not layer.last)
    content["bit_exact"] = divergence is None
    if divergence is not None:
        content["divergence"] = divergence
    content["compared"] = {
        "spikes": neurons * program.timesteps * len(inferences),
        "layers": sum(not layer.last for layer in program.layers),
        "timesteps": program.timesteps,
    }
    right = sum(i.prediction == label for i, label in zip(inferences, labels, strict=True))
    content["accuracy"] = right / len(inferences)
    name = str(program.provenance.get("dataset", "fmnist"))
    known = dataset.DATA_SETS.get(name)
    content["classes"] = [] if known is None else list(known.class_names)
    content["predictions"] = [
        {
            "index": index,
            "label": int(label),
            "prediction": inference.prediction,
            "logits": inference.logits,
        }
        for index, label, inference in zip(indices, labels, inferences, strict=True)
    ]
    return content


def _rtl(
    arguments: argparse.Namespace,
    program: Program,
    packed: Packed,
    pixels: Pixels,
    indices: Sequence[int],
    content: dict[str, Any],
) -> str:
    """Compare the first images with the RTL, if its simulator is built; says what was done."""
    try:
        from evenspike_hw.engine import compiled

        built = compiled.location(packed.arch).is_file()
    except (ImportError, EvenspikeError):
        built = False
    count = min(RTL_IMAGES if arguments.rtl is None else arguments.rtl, len(pixels))
    if count == 0:
        return "RTL: not asked for"
    if not built:
        other = "" if arguments.arch == "packed" else f" ARCH={arguments.arch}"
        return (
            "RTL: not run, since its simulator is not built; "
            f"`make cosim MODEL={arguments.model or program.name}{other}` builds it, once, and "
            "from then on it runs here, too"
        )
    from evenspike.cli import cosim

    content["engine"] = "model+rtl"
    title = f"{program.name} on the RTL"
    try:
        found = cosim.run_images(program, packed, pixels[:count], threads_of(arguments), title)
    except EvenspikeError as error:  # it stopped or hangs: the model's report is still worth having
        content["bit_exact"] = False
        content.setdefault("divergence", str(error))
        return str(error)
    compared = cosim.summary(program, packed.arch, 0.0, found)
    content["compared"]["rtl"] = {
        "images": count,
        "differences": compared["differences"],
        **compared["compared"],
        "cycles": compared["rtl_cycles"],
    }
    for index, one in zip(indices, found, strict=False):
        if one.divergence is not None:
            content["bit_exact"] = False
            content.setdefault("divergence", f"image {index}: {one.divergence}")
    return f"RTL: {cosim.text(compared)}"


def rewrite(folder: Path) -> int:
    """The `report` verb: the pages of a finished run, from its report.json; its trace stays."""
    content = _json(folder / reports.JSON_FILE)
    trace = folder / reports.TRACE_FILE
    timeline = _json(trace) if trace.is_file() else None
    try:
        reports.write(content, folder, None, timeline)
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        # Values that no run gives, but whose sums agree: there is nothing to draw them with.
        raise EvenspikeError(f"{folder}: not a readable report: {error!r}") from error
    terminal.console().print(reports.summary(content))
    return 0


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EvenspikeError(f"{path}: not a readable report: {error}") from error
