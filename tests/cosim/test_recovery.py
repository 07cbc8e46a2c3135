"""Whatever ends an inference before its time, the next one is right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("amaranth")

from evenspike_core import reference
from evenspike_core.arch import Arch
from evenspike_core.mapping import choose
from evenspike_core.pack import Packed, pack
from evenspike_hw.engine import compiled
from evenspike_hw.engine.simulator import Interrupt, MemoryBehaviour, Simulator
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
    table_words=128,
)
SEED = 266
PROGRAM = random_program(SEED, timesteps=3, max_side=3, max_filters=3)
PACKED: Packed = pack(PROGRAM, choose(PROGRAM, ARCH), ARCH)
MASKS = reference.encode(PROGRAM, random_pixels(PROGRAM, SEED))
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


def is_right(simulator: Simulator) -> str | None:
    """Runs the inference; None, or where it is not that of the cycle model."""
    model = Accelerator(PACKED).run(MASKS)
    return difference(PACKED, model, simulator.run(MASKS), stalls=False)


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
