"""Trace: it is one that a viewer loads."""

from __future__ import annotations

import json

import pytest

from evenspike_core.errors import EvenspikeError
from evenspike_core.trace import Span, perfetto


def spans() -> list[Span]:
    pes = [Span(f"PE {pe}", "busy", 10 * pe, 5, {"layer": "conv1"}) for pe in range(16)]
    return [
        Span("collector", "write", 200, 3, {}),
        Span("layers", "conv1", 1, 200, {}),
        *pes,
        Span("APU", "broadcast", 4, 100, {}),
        Span("memory port", "chunk 0", 0, 20, {"words": 20}),
        Span("memory port", "pass 0", 0, 60, {}),
        Span("host", "upload", 0, 1, {}),
    ]


def test_the_trace_is_valid() -> None:
    trace = json.loads(json.dumps(perfetto(spans())))
    events = trace["traceEvents"]
    assert trace["otherData"]["unit"] == "1 us shown = 1 cycle"
    assert {event["ph"] for event in events} == {"X", "M"}
    threads = {}
    processes = {}
    for event in events:
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        if event["ph"] == "X":
            assert event["dur"] >= 0
            assert event["ts"] >= 0
            assert (event["pid"], event["tid"]) in threads
        elif event["name"] == "process_name":
            processes[event["pid"]] = event["args"]["name"]
        elif event["name"] == "thread_name":
            threads[event["pid"], event["tid"]] = event["args"]["name"]
    assert list(processes.values()) == ["layers", "memory port", "APU", "PEs", "collector", "host"]
    assert sorted(processes) == [1, 2, 3, 4, 5, 6]
    assert [name for (pid, _), name in threads.items() if processes[pid] == "PEs"] == [
        f"PE {pe}" for pe in range(16)
    ]
    slices = [event for event in events if event["ph"] == "X"]
    assert len(slices) == len(spans())
    port = [(e["name"], e["ts"], e["dur"]) for e in slices if e["pid"] == 2]
    assert port == [("pass 0", 0, 60), ("chunk 0", 0, 20)]  # the outer one first
    assert [e["args"] for e in slices if e["name"] == "chunk 0"] == [{"words": 20}]


def test_an_empty_trace_is_valid() -> None:
    assert perfetto([])["traceEvents"] == []


def test_impossible_spans() -> None:
    with pytest.raises(EvenspikeError, match="on APU starts at cycle -1 and takes 4"):
        perfetto([Span("APU", "x", -1, 4, {})])
    with pytest.raises(EvenspikeError, match="takes -4"):
        perfetto([Span("APU", "x", 1, -4, {})])
    with pytest.raises(EvenspikeError, match=r"on PE 2, 'b' \(cycles 3 to 9\) overlaps 'a'"):
        perfetto([Span("PE 2", "a", 0, 5, {}), Span("PE 2", "b", 3, 6, {})])
    perfetto([Span("PE 2", "a", 0, 5, {}), Span("PE 2", "b", 5, 6, {})])
