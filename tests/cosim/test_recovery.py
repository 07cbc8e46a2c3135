"""Whatever ends an inference before its time, the next one is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("amaranth")

from evenspike_core import reference
from evenspike_core.arch import Arch
from evenspike_core.compare import Divergence
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import choose
from evenspike_core.pack import Packed, pack
from evenspike_hw.engine import compiled
from evenspike_hw.engine.host import MemoryMap
from evenspike_hw.engine.simulator import Interrupt, MemoryBehaviour, Simulator
from evenspike_hw.interface.fields import fields
from evenspike_hw.rtl.descriptor import LAYER_WORDS, Tables, encode
from evenspike_hw.rtl.faults import Fault
from evenspike_hw.rtl.watchdog import LIMIT
from evenspike_sim.accelerator import Accelerator
from tests.helpers.differences import difference
from tests.helpers.networks import random_pixels, random_program

ARCH = Arch(
    pes=2,
    timesteps=2,
    accumulators=16,
    scratchpad_words=256,
    header_words=40,
    chunk_blocks=2,
    fifo_depth=4,
    match_depth=2,
    slots=4,
    memory_latency=3,
    stream_depth=6,
    spike_entries=64,
    row_entries=1,
    table_words=128,
)
SEED = 266
PROGRAM = random_program(SEED, timesteps=3, max_side=3, max_filters=3)
PACKED: Packed = pack(PROGRAM, choose(PROGRAM, ARCH), ARCH)
MASKS = reference.encode(PROGRAM, random_pixels(PROGRAM, SEED))
MODEL = Accelerator(PACKED).run(MASKS)
FEWEST = 300
"""Cycles from filling the table to the logits, at least: or the network does not say much."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    try:
        found = Simulator(PACKED)
    except compiled.EngineError as error:
        pytest.skip(str(error))
    with found:
        yield found


def is_right(simulator: Simulator) -> Divergence | None:
    """Runs the inference; None, or where it is not that of the cycle model."""
    return difference(PACKED, MODEL, simulator.run(MASKS), stalls=False)


@pytest.mark.parametrize("stall", [0.0, 0.6], ids=["ready", "stalls"])
@pytest.mark.parametrize("by", [Interrupt.ABORT, Interrupt.RESET])
def test_broken_off_in_any_cycle(simulator: Simulator, by: Interrupt, stall: float) -> None:
    """By an abort or a reset, while the memory goes on to answer what it was asked before."""
    cycle = 1
    while simulator.interrupt(MASKS, cycle, by=by, memory=MemoryBehaviour(stall, seed=cycle)):
        found = is_right(simulator)
        assert found is None, f"broken off {cycle} cycles after the start: {found}"
        cycle += 1
    assert cycle > FEWEST


def changed(kind: str, field: str, value: int) -> Tables:
    """The tables with this value in a field of the first chunk, of the second pass, or of the
    layer behind the input.
    """
    tables = encode(PACKED)
    words = [int(word) for word in tables.words]
    second = PACKED.layers[1]
    base = {
        "layer": LAYER_WORDS,
        "pass": tables.pass_base + 1,
        "chunk": tables.pass_base + 2 + sum(len(one.passes) for one in PACKED.layers[1:]),
    }[kind]
    assert second.chunks
    place = next(one for one in fields(kind) if one.name == field)
    at, bit = base + place.bit // 64, place.bit % 64
    both = words[at] | words[at + 1] << 64  # a field may lie across two words
    both = both & ~((1 << place.width) - 1 << bit) | value << bit
    words[at : at + 2] = both & (1 << 64) - 1, both >> 64
    return replace(tables, words=np.array(words, dtype=np.uint64))


@pytest.mark.parametrize(
    ("kind", "field", "value", "fault"),
    [
        ("layer", "kernels", 0, Fault.KERNEL),
        ("layer", "threshold", 0, Fault.THRESHOLD),
        ("layer", "chunk_base", 200, Fault.CHUNKS),
        ("layer", "last", 1, Fault.READOUT),
        ("chunk", "kernel", 3, Fault.KERNEL),
        ("chunk", "log_slots", 5, Fault.SLOTS),
        ("chunk", "lead", 2, Fault.LEAD),
        ("chunk", "biases", 0, Fault.BIASES),
        ("chunk", "blocks", 0, Fault.BLOCKS),
        ("chunk", "blocks", 3, Fault.BLOCKS),
        ("pass", "repeats", 0, Fault.REPEATS),
        ("pass", "words", 1, Fault.WATCHDOG),
    ],
)
def test_what_cannot_be_run_is_told_and_leaves_nothing(
    simulator: Simulator, kind: str, field: str, value: int, fault: Fault
) -> None:
    good = simulator.map.tables
    simulator.map.tables = changed(kind, field, value)
    simulator.limit = 10
    try:
        with pytest.raises(EvenspikeError, match=f"RTL: stopped at layer .*, fault {fault.name}: "):
            simulator.run(MASKS)
    finally:
        simulator.map.tables, simulator.limit = good, LIMIT
    assert is_right(simulator) is None


def test_lists_that_lie_behind_the_words_that_were_filled(simulator: Simulator) -> None:
    good = simulator.map
    tables = good.tables
    for count in (1, 20, tables.pass_base, tables.pass_base + 1, tables.words.size - 1):
        simulator.map = MemoryMap(PACKED, replace(tables, words=tables.words[:count]))
        try:
            with pytest.raises(EvenspikeError, match=r"fault (LAYERS|PASSES|CHUNKS): "):
                simulator.run(MASKS)
        finally:
            simulator.map = good
        assert is_right(simulator) is None, count


def test_the_watchdog_ends_what_the_memory_does_not(simulator: Simulator) -> None:
    """In every phase; the limit is a register, and with 0 only the driver gives up."""
    simulator.limit = 7
    for since in (0, 10, 200, 500):
        with pytest.raises(EvenspikeError, match="fault WATCHDOG"):
            simulator.run(MASKS, MemoryBehaviour(1.0, since=since))
        assert is_right(simulator) is None
    simulator.limit = 0
    with pytest.raises(EvenspikeError, match="nothing has moved for 20000 cycles"):
        simulator.run(MASKS, MemoryBehaviour(1.0, since=10))
    simulator.limit = LIMIT
    assert is_right(simulator) is None
