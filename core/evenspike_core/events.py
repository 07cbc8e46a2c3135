"""Events: what the simulators emit, where two of them part, and the trace that a viewer shows.

The cycle model and the RTL must agree on every spike, counter and cycle. When they do not, this
says where first: the layer, the neuron and the timestep, or the PE and the cycle, and both values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError

Neuron = tuple[int, int, int]
"""(filter, y, x) in the layer's output, in the program's filter order."""

Value = int | float | Sequence[int] | npt.NDArray[np.integer]
"""A counter: one number, or one for each PE."""

Kind = Literal["accumulate", "fire", "load", "push", "pop", "write"]


@dataclass(frozen=True)
class Event:
    """One thing that happened in one cycle.

    layer: name of the layer; tile and pass_: indices within it.
    pe: index, or -1 for a block outside the PEs.
    cycle: since the layer's first request.
    neuron: whose value changed, or None where the event has none.
    value: the new partial sum, spike mask, word or activation, as an integer.
    """

    layer: str
    tile: int
    pass_: int
    pe: int
    cycle: int
    neuron: Neuron | None
    kind: Kind
    value: int

    def __str__(self) -> str:
        where = "" if self.neuron is None else f", {_place(self.neuron)}"
        block = f"PE {self.pe}" if self.pe >= 0 else "outside the PEs"
        return (
            f"layer {self.layer}, pass {self.pass_}, tile {self.tile}, {block}, "
            f"cycle {self.cycle}{where}: {self.kind} {self.value}"
        )


@dataclass(frozen=True)
class LayerResult:
    """What one simulator says about one layer of one image.

    masks: uint8 [filters, height, width], bit t = timestep t; None for the last layer.
    logits: int [classes] of the last layer; None for the others.
    counters: by name, one number or one for each PE.
    """

    layer: str
    cycles: int
    masks: npt.NDArray[np.uint8] | None = None
    logits: npt.NDArray[np.integer] | None = None
    counters: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Divergence:
    """The first item in which two results differ; `str` of it is the message for the user.

    item: `mask`, `logit`, `cycles`, `layer`, `event` or the name of a counter.
    neuron, timestep: of a mask; `neuron` is (class, 0, 0) for a logit.
    pe: of a counter that has one value for each PE, or of the neuron.
    cycle: of the inference, where a simulator knows it.
    values: what each side has; None where a side lacks the item.
    """

    layer: str
    item: str
    values: tuple[object, object]
    message: str
    neuron: Neuron | None = None
    timestep: int | None = None
    pe: int | None = None
    cycle: int | None = None

    def __str__(self) -> str:
        return self.message


def first_divergence(
    a: Sequence[LayerResult],
    b: Sequence[LayerResult],
    names: tuple[str, str] = ("model", "rtl"),
) -> Divergence | None:
    """The first difference of two runs of one image, or None if they are equal.

    Layers are compared in order; within a layer the spikes (filter, y, x, then timestep), the
    logits, the counters by name, and the cycles: a wrong spike explains a wrong count, so it comes
    first.
    """
    for one, two in zip_longest(a, b):
        if one is None or two is None or one.layer != two.layer:
            left, right = (None if side is None else side.layer for side in (one, two))
            at = str(left or right)
            text = f"{names[0]} has layer {left}, {names[1]} has layer {right}"
            return Divergence(at, "layer", (left, right), text)
        found = _masks(one, two, names) or _logits(one, two, names) or _counters(one, two, names)
        if found is None and one.cycles != two.cycles:
            found = _number(one.layer, "cycles", (one.cycles, two.cycles), names)
        if found is not None:
            return found
    return None


def first_event(
    a: Iterable[Event], b: Iterable[Event], names: tuple[str, str] = ("model", "rtl")
) -> Divergence | None:
    """The first position at which two streams of events differ, or None; both may be generators."""
    for index, (one, two) in enumerate(zip_longest(a, b)):
        if one == two:
            continue
        known = one or two
        assert known is not None  # noqa: S101  (zip_longest pads one side only)
        left, right = (f"{side}" if side else "no further event" for side in (one, two))
        text = f"event {index}: {names[0]} has {left}; {names[1]} has {right}"
        return Divergence(known.layer, "event", (one, two), text, known.neuron)
    return None


def _place(neuron: Neuron) -> str:
    return f"filter {neuron[0]}, y {neuron[1]}, x {neuron[2]}"


def _shapes(
    layer: str, item: str, arrays: Sequence[npt.NDArray[Any] | None], names: tuple[str, str]
) -> Divergence | None:
    """A divergence where one side has no array or one of another shape."""
    left, right = (None if array is None else array.shape for array in arrays)
    if left == right:
        return None
    text = f"layer {layer}: {item} of shape {left} in {names[0]}, {right} in {names[1]}"
    return Divergence(layer, item, (left, right), text)


def _masks(one: LayerResult, two: LayerResult, names: tuple[str, str]) -> Divergence | None:
    a, b = one.masks, two.masks
    wrong = _shapes(one.layer, "mask", (a, b), names)
    if wrong is not None or a is None or b is None:
        return wrong
    different = np.argwhere(a != b)
    if not len(different):
        return None
    f, y, x = (int(n) for n in different[0])
    left, right = int(a[f, y, x]), int(b[f, y, x])
    t = ((left ^ right) & -(left ^ right)).bit_length() - 1
    text = (
        f"layer {one.layer}, {_place((f, y, x))}, timestep {t}: "
        f"spike {left >> t & 1} in {names[0]}, {right >> t & 1} in {names[1]} "
        f"(masks {left:#04x} and {right:#04x}; {len(different)} of {a.size} neurons differ)"
    )
    return Divergence(one.layer, "mask", (left, right), text, (f, y, x), t)


def _logits(one: LayerResult, two: LayerResult, names: tuple[str, str]) -> Divergence | None:
    a, b = one.logits, two.logits
    wrong = _shapes(one.layer, "logit", (a, b), names)
    if wrong is not None or a is None or b is None or bool((a == b).all()):
        return wrong
    index = int(np.flatnonzero(a != b)[0])
    values = int(a[index]), int(b[index])
    text = (
        f"layer {one.layer}, class {index}: "
        f"logit {values[0]} in {names[0]}, {values[1]} in {names[1]}"
    )
    return Divergence(one.layer, "logit", values, text, (index, 0, 0))


def _counters(one: LayerResult, two: LayerResult, names: tuple[str, str]) -> Divergence | None:
    for name in sorted(set(one.counters) | set(two.counters)):
        if name not in one.counters or name not in two.counters:
            values = one.counters.get(name), two.counters.get(name)
            return _number(one.layer, name, values, names)
        a, b = np.asarray(one.counters[name]), np.asarray(two.counters[name])
        wrong = _shapes(one.layer, name, (a, b), names)
        if wrong is not None:
            return wrong
        different = np.flatnonzero(a != b)
        if len(different):
            at = int(different[0])
            pair = a.reshape(-1)[at].item(), b.reshape(-1)[at].item()
            return _number(one.layer, name, pair, names, at if a.ndim else None)
    return None


def _number(
    layer: str,
    item: str,
    values: tuple[object, object],
    names: tuple[str, str],
    pe: int | None = None,
) -> Divergence:
    where = f"layer {layer}" if pe is None else f"layer {layer}, PE {pe}"
    text = f"{where}: {item} {values[0]} in {names[0]}, {values[1]} in {names[1]}"
    return Divergence(layer, item, values, text, pe=pe)


@dataclass(frozen=True)
class Span:
    """A stretch of time on one track of the trace, in cycles.

    track: `memory port`, `APU`, `PE 0` ... or `collector`; any other name gets its own process.
    args: what the viewer shows when the span is selected; JSON values.
    """

    track: str
    name: str
    start: int
    duration: int
    args: Mapping[str, Any] = field(default_factory=dict)


BLOCKS = ("memory port", "APU", "PEs", "collector")
"""Processes of the trace, in the order of the data's way through the accelerator."""


def perfetto(spans: Iterable[Span]) -> dict[str, Any]:
    """The spans as a trace in the Chrome JSON format, which ui.perfetto.dev loads.

    One process for each block and one thread for each track in it; the PEs share a process. The
    format counts in microseconds: 1 us shown is 1 cycle, which the metadata says too.

    Raises EvenspikeError for a span before cycle 0 or of negative length, and for two spans of a
    track that overlap without one containing the other: a viewer would draw them wrongly.
    """
    tracks: dict[str, list[Span]] = {}
    for span in spans:
        if span.start < 0 or span.duration < 0:
            raise EvenspikeError(
                f"trace: span {span.name!r} on {span.track} starts at cycle {span.start} "
                f"and takes {span.duration}; neither may be negative"
            )
        tracks.setdefault(span.track, []).append(span)
    events: list[dict[str, Any]] = []
    processes: dict[str, int] = {name: index for index, name in enumerate(BLOCKS, start=1)}
    named: set[int] = set()
    for track in sorted(tracks, key=_order):
        process = _process(track)
        pid = processes.setdefault(process, len(processes) + 1)
        tid = _order(track)[1] + 1
        if pid not in named:
            named.add(pid)
            events += [
                _metadata("process_name", pid, 0, {"name": process}),
                _metadata("process_sort_index", pid, 0, {"sort_index": pid}),
            ]
        events += [
            _metadata("thread_name", pid, tid, {"name": track}),
            _metadata("thread_sort_index", pid, tid, {"sort_index": tid}),
        ]
        events += _slices(tracks[track], pid, tid)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"unit": "1 us shown = 1 cycle", "source": "evenspike"},
    }


def _process(track: str) -> str:
    return "PEs" if _pe(track) is not None else track


def _pe(track: str) -> int | None:
    kind, _, number = track.partition(" ")
    return int(number) if kind == "PE" and number.isdecimal() else None


def _order(track: str) -> tuple[int, int, str]:
    """Sort key of a track: its block, its number in the block, its name."""
    process = _process(track)
    block = BLOCKS.index(process) if process in BLOCKS else len(BLOCKS)
    return block, _pe(track) or 0, track


def _metadata(name: str, pid: int, tid: int, args: Mapping[str, str | int]) -> dict[str, Any]:
    return {"ph": "M", "name": name, "pid": pid, "tid": tid, "args": dict(args)}


def _slices(spans: list[Span], pid: int, tid: int) -> list[dict[str, Any]]:
    """Complete events of one track by start; a span that contains others comes before them."""
    events = []
    open_ends: list[tuple[int, str]] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.duration)):
        end = span.start + span.duration
        while open_ends and open_ends[-1][0] <= span.start:
            open_ends.pop()
        if open_ends and end > open_ends[-1][0]:
            raise EvenspikeError(
                f"trace: on {span.track}, {span.name!r} (cycles {span.start} to {end}) "
                f"overlaps {open_ends[-1][1]!r}, which ends at {open_ends[-1][0]}"
            )
        open_ends.append((end, span.name))
        events.append(
            {
                "ph": "X",
                "name": span.name,
                "cat": "cycles",
                "ts": span.start,
                "dur": span.duration,
                "pid": pid,
                "tid": tid,
                "args": dict(span.args),
            }
        )
    return events
