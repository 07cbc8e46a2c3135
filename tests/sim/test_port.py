"""Memory port: words one a cycle behind their latency, bounded by credits and by busy PEs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evenspike_core.arch import Arch
from evenspike_sim.loader import LoadedChunk
from evenspike_sim.port import Port

NONE = np.zeros((1, 1), dtype=np.int64)


def chunk(owners: list[int], cycles: list[int]) -> LoadedChunk:
    """Words by owner (-1: counts) and the cycles that each takes to unpack; no contents."""
    order = np.array(owners, dtype=np.int64)[:, None], np.array(cycles, dtype=np.int64)[:, None]
    return LoadedChunk(
        0, 0, 1, NONE, NONE, NONE, NONE, NONE, NONE, NONE, *order, order[1] + 1, 1, 4
    )


def clocked(
    arch: Arch, owners: list[int], cycles: list[int], earliest: int
) -> tuple[list[int], int]:
    """Hand-over cycles and the cycle of `loaded`, one cycle after the other, from a reset."""
    requested: list[int] = []
    handed: list[int] = []
    busy = [0] * arch.pes  # last cycle in which a PE unpacks the word that it holds
    cycle = 0
    while len(handed) < len(owners):
        cycle += 1
        # Registers: what happened in this cycle counts from the next one on.
        credit = len(requested) - len(handed) < arch.stream_depth
        at = len(handed)
        if at < len(requested) and cycle > requested[at] + arch.memory_latency:
            pe = owners[at]
            if (at or cycle >= earliest) and (pe < 0 or cycle > busy[pe]):
                handed.append(cycle)
                if pe >= 0:
                    busy[pe] = cycle + cycles[at]
        if credit and len(requested) < len(owners):
            requested.append(cycle)
    return handed, max(*busy, handed[-1]) + 3


@pytest.mark.parametrize("seed", range(60))
def test_a_load_takes_what_registers_and_credits_allow(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pes = int(rng.choice((1, 2, 16)))
    latency, depth = int(rng.choice((1, 5, 16))), int(rng.choice((1, 2, 8, 32)))
    arch = replace(Arch(), pes=pes, memory_latency=latency, stream_depth=depth)
    size = int(rng.integers(1, 80))
    owners = [-1] * int(rng.integers(1, 3)) + rng.integers(0, pes, size).tolist()
    cycles = [0 if pe < 0 else int(rng.integers(4, 9)) for pe in owners]
    earliest = int(rng.choice((0, 0, 40, 200)))
    handed, loaded = clocked(arch, owners, cycles, earliest)
    port = Port(arch)
    assert port.load(chunk(owners, cycles), earliest) == (handed[0], loaded)
    assert port.words == len(owners)


@pytest.mark.parametrize("latency", [1, 16, 40])
def test_the_first_word_comes_after_the_latency(latency: int) -> None:
    # Requested in cycle 1, in the FIFO from the end of 1 + latency on.
    port = Port(replace(Arch(), memory_latency=latency))
    assert port.load(chunk([-1], [0]), 0) == (latency + 2, latency + 5)


@pytest.mark.parametrize(("latency", "depth"), [(16, 32), (16, 18), (16, 8), (16, 1), (3, 4)])
def test_credits_bound_the_bandwidth(latency: int, depth: int) -> None:
    """`depth` words in flight, each for latency + 2 cycles, at most one a cycle."""
    port = Port(replace(Arch(), memory_latency=latency, stream_depth=depth))
    words = 50 * depth
    first, loaded = port.load(chunk([-1] * words, [0] * words), 0)
    span = loaded - 3 - first
    if depth >= latency + 2:
        assert span == words - 1
    else:
        assert span == (words // depth - 1) * (latency + 2) + depth - 1


@pytest.mark.parametrize(("pes", "timesteps", "words"), [(16, 4, 1), (16, 5, 2), (64, 8, 8)])
def test_the_inputs_spikes_come_one_word_a_cycle(pes: int, timesteps: int, words: int) -> None:
    port = Port(Arch(pes=pes, timesteps=timesteps))
    assert port.spikes(5) == 17 + 5 * words
    assert port.words == 5 * words


def test_requests_run_ahead_of_a_half_that_is_not_free() -> None:
    port = Port(Arch())
    assert port.load(chunk([-1, -1], [0, 0]), 100)[0] == 100
    # The FIFO holds the next words already: they follow at once, and later words too.
    first, loaded = port.load(chunk([-1] * 4, [0] * 4), 0)
    assert (first, loaded) == (102, 105 + 3)


def test_a_load_continues_where_the_one_before_stopped() -> None:
    rng = np.random.default_rng(0)
    owners = [-1, -1, *rng.integers(0, 16, 60).tolist()]
    cycles = [0 if pe < 0 else 4 for pe in owners]
    handed, loaded = clocked(Arch(), owners, cycles, 0)
    port = Port(Arch())
    first, _ = port.load(chunk(owners[:20], cycles[:20]), 0)
    second, end = port.load(chunk(owners[20:], cycles[20:]), 0)
    assert (first, second) == (handed[0], handed[20])
    assert end == loaded
