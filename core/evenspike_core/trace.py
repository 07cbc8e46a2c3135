"""Trace: what happened when on each track, for a viewer.

It is written in the Chrome JSON format, which ui.perfetto.dev loads: one microsecond that the
viewer shows is one cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from evenspike_core.errors import EvenspikeError


@dataclass(frozen=True)
class Span:
    """A stretch of time on one track of the trace, in cycles.

    track: `layers`, `memory port`, `APU`, `PE 0` ... or `collector`, of several clusters `APU 0`
        and `collector 0` ...; any other name gets a process of its own.
    args: what the viewer shows when the span is selected; JSON values.
    """

    track: str
    name: str
    start: int
    duration: int
    args: Mapping[str, Any] = field(default_factory=dict)


BLOCKS = ("layers", "memory port", "APU", "PEs", "collector")
"""Processes of the trace: the layers, then the blocks in the order in which data goes through."""


NUMBERED = {"PE": "PEs", "APU": "APU", "collector": "collector"}
"""Process of those of which there are several, by what is in front of their number."""


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
    kind, number = _numbered(track)
    return track if number is None else NUMBERED[kind]


def _numbered(track: str) -> tuple[str, int | None]:
    """Kind and number of one of several alike; of any other no number."""
    kind, _, number = track.partition(" ")
    return kind, int(number) if kind in NUMBERED and number.isdecimal() else None


def _order(track: str) -> tuple[int, int, str]:
    """Sort key of a track: its block, its number in the block, its name."""
    process = _process(track)
    block = BLOCKS.index(process) if process in BLOCKS else len(BLOCKS)
    return block, _numbered(track)[1] or 0, track


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
