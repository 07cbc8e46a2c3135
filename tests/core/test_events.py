"""Events: a planted difference is found and named, and the trace is one that a viewer loads."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from evenspike_core.errors import EvenspikeError
from evenspike_core.events import Event, LayerResult, Span, first_divergence, first_event, perfetto

PES = 4


def results(seed: int = 0) -> list[LayerResult]:
    """Two spiking layers and a last one, as one simulator would report them."""
    rng = np.random.default_rng(seed)
    spiking = [
        LayerResult(
            name,
            1000,
            masks=rng.integers(0, 16, (3, 4, 5), dtype=np.uint8),
            counters={"words": 7, "busy": rng.integers(0, 99, PES)},
        )
        for name in ("conv1", "conv2")
    ]
    return [*spiking, LayerResult("fc", 90, logits=np.arange(10, dtype=np.int64))]


def test_equal_results_have_no_divergence() -> None:
    assert first_divergence(results(), results()) is None


def test_a_planted_spike_is_found() -> None:
    good, bad = results(), results()
    masks = bad[1].masks
    assert masks is not None
    masks[2, 1, 3] ^= 0b0100
    masks[2, 3, 0] ^= 0b0001  # later in the map: not the first
    found = first_divergence(good, bad)
    assert found is not None
    assert (found.layer, found.item) == ("conv2", "mask")
    assert (found.neuron, found.timestep) == ((2, 1, 3), 2)
    was = int(masks[2, 1, 3] ^ 0b0100)
    spike = was >> 2 & 1
    assert str(found) == (
        f"layer conv2, filter 2, y 1, x 3, timestep 2: spike {spike} in model, {1 - spike} in rtl "
        f"(masks {was:#04x} and {was ^ 4:#04x}; 2 of 60 neurons differ)"
    )


def test_the_earliest_timestep_is_named() -> None:
    good, bad = results(), results()
    masks = bad[0].masks
    assert masks is not None
    masks[0, 0, 0] ^= 0b1010
    found = first_divergence(good, bad)
    assert found is not None
    assert found.timestep == 1


def test_a_planted_counter_names_the_pe() -> None:
    good, bad = results(), results()
    busy = np.array(good[0].counters["busy"])
    busy[3] += 1
    bad[0] = replace(bad[0], counters={"words": 7, "busy": busy})
    found = first_divergence(good, bad, ("model", "board"))
    assert found is not None
    assert (found.item, found.pe) == ("busy", 3)
    assert str(found) == f"layer conv1, PE 3: busy {busy[3] - 1} in model, {busy[3]} in board"


def test_a_cycle_a_logit_and_a_scalar_counter() -> None:
    good = results()
    late = [*good[:2], replace(good[2], cycles=91)]
    assert str(first_divergence(good, late)) == "layer fc: cycles 90 in model, 91 in rtl"
    logits = np.arange(10, dtype=np.int64)
    logits[7] = -1
    other = [*good[:2], replace(good[2], logits=logits)]
    assert str(first_divergence(good, other)) == "layer fc, class 7: logit 7 in model, -1 in rtl"
    words = [replace(good[0], counters={**good[0].counters, "words": 8}), *good[1:]]
    assert str(first_divergence(good, words)) == "layer conv1: words 7 in model, 8 in rtl"


def test_spikes_come_before_counts_and_earlier_layers_first() -> None:
    good, bad = results(), results()
    masks = bad[1].masks
    assert masks is not None
    masks[0, 0, 0] ^= 1
    bad[1] = replace(bad[1], cycles=1)
    found = first_divergence(good, bad)
    assert found is not None
    assert found.item == "mask"
    bad[0] = replace(bad[0], cycles=2)
    assert str(first_divergence(good, bad)) == "layer conv1: cycles 1000 in model, 2 in rtl"


def test_what_only_one_side_has() -> None:
    good = results()
    assert str(first_divergence(good, good[:2])) == "model has layer fc, rtl has layer None"
    no_masks = [replace(good[0], masks=None), *good[1:]]
    text = "layer conv1: mask of shape (3, 4, 5) in model, None in rtl"
    assert str(first_divergence(good, no_masks)) == text
    no_words = [replace(good[0], counters={"busy": good[0].counters["busy"]}), *good[1:]]
    assert str(first_divergence(good, no_words)) == "layer conv1: words 7 in model, None in rtl"
    short = [replace(good[0], counters={"words": 7, "busy": [1, 2]}), *good[1:]]
    text = "layer conv1: busy of shape (4,) in model, (2,) in rtl"
    assert str(first_divergence(good, short)) == text


def test_streams_of_events() -> None:
    event = Event("conv1", 0, 1, 2, 345, (5, 6, 7), "accumulate", -8)
    assert first_event([event] * 3, iter([event] * 3)) is None
    other = replace(event, value=9, cycle=346)
    found = first_event([event, event], [event, other])
    assert found is not None
    assert found.neuron == (5, 6, 7)
    assert str(found) == (
        "event 1: model has layer conv1, pass 1, tile 0, PE 2, cycle 345, "
        "filter 5, y 6, x 7: accumulate -8; rtl has layer conv1, pass 1, tile 0, PE 2, "
        "cycle 346, filter 5, y 6, x 7: accumulate 9"
    )
    outside = replace(event, pe=-1, neuron=None, kind="load")
    found = first_event([], [outside])
    assert str(found) == (
        "event 0: model has no further event; "
        "rtl has layer conv1, pass 1, tile 0, outside the PEs, cycle 345: load -8"
    )


def spans() -> list[Span]:
    pes = [Span(f"PE {pe}", "busy", 10 * pe, 5, {"layer": "conv1"}) for pe in range(16)]
    return [
        Span("collector", "write", 200, 3, {}),
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
    assert list(processes.values()) == ["memory port", "APU", "PEs", "collector", "host"]
    assert sorted(processes) == [1, 2, 3, 4, 5]
    assert [name for (pid, _), name in threads.items() if processes[pid] == "PEs"] == [
        f"PE {pe}" for pe in range(16)
    ]
    slices = [event for event in events if event["ph"] == "X"]
    assert len(slices) == len(spans())
    port = [(e["name"], e["ts"], e["dur"]) for e in slices if e["pid"] == 1]
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
