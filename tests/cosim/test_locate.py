"""Locate: a late round and a wrong spike are found in their pass, tile, group and PE.

What the RTL would show is made of the cycle model here, without an engine.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from evenspike.flows.locate import difference
from evenspike_core import reference
from evenspike_core.arch import Arch
from evenspike_core.counters import STATES
from evenspike_core.mapping import choose
from evenspike_core.pack import Descriptor, Packed, pack
from evenspike_hw.engine.results import LayerTrace
from evenspike_sim.accelerator import Accelerator, LayerRun
from tests.helpers.networks import random_pixels
from tests.helpers.tickets import small_program

Place = tuple[int, int, int, int, int, int]
"""Pass, tile, group, slot, y and x of a window."""


def windows(layer: Descriptor, groups: int) -> list[Place]:
    """Every window that a layer closes, in the order of docs/timing.md."""
    height, width = layer.size
    if layer.host:
        order = itertools.product(range(groups), range(len(layer.blocks)), *map(range, layer.size))
        return [(block, 0, group, 0, y, x) for group, block, y, x in order]
    found = []
    tiles = itertools.product(range(0, height, layer.tile[0]), range(0, width, layer.tile[1]))
    corners = list(tiles)
    for number, used in enumerate(layer.slots_used):
        for tile, (top, left) in enumerate(corners):
            ends = min(top + layer.tile[0], height), min(left + layer.tile[1], width)
            rows = range(top // layer.pool, ends[0] // layer.pool)
            columns = range(left // layer.pool, ends[1] // layer.pool)
            order = itertools.product(range(groups), range(used), rows, columns)
            found += [(number, tile, group, slot, y, x) for group, slot, y, x in order]
    return found


def shown(packed: Packed, layer: Descriptor, run: LayerRun) -> LayerTrace:
    """What the RTL would show of a layer, cycle by cycle as the model has it."""
    states = {state: np.array(getattr(run, state)) for state in STATES}
    closed: list[int] = []
    places = [] if layer.last else windows(layer, packed.groups)
    for number, (_, inside) in enumerate(itertools.groupby(places, key=lambda one: one[:3])):
        position, slot = 0, -1
        for place in inside:
            # Behind the reads of a bias, the last position of the window and the drain's latency.
            position += layer.pool**2 + 2 * (place[3] != slot)
            slot = place[3]
            begin = number if layer.host else run.drains[number]
            closed.append(begin + position - 1 + 2 * packed.arch.timesteps + 2)
    flags = run.accumulator_overflow, run.membrane_overflow
    return LayerTrace(
        run.name, run.cycles, states, run.masks, run.logits, *flags, np.array(closed, np.int64)
    )


@pytest.fixture(scope="module", params=[(4, 4), (4, 8), (13, 5)])
def example(request: pytest.FixtureRequest) -> tuple[Packed, list[LayerRun], list[LayerTrace]]:
    timesteps, at_once = request.param
    program = replace(small_program(), timesteps=timesteps)
    arch = Arch(pes=2, timesteps=at_once, accumulators=64, spike_entries=1 << 16)
    packed = pack(program, choose(program, arch), arch)
    runs = Accelerator(packed).run(reference.encode(program, random_pixels(program, 0)))
    traces = [shown(packed, layer, run) for layer, run in zip(packed.layers, runs, strict=True)]
    return packed, runs, traces


def test_equal_runs_have_no_difference(
    example: tuple[Packed, list[LayerRun], list[LayerTrace]],
) -> None:
    packed, runs, traces = example
    assert difference(packed, runs, traces) is None
    assert max(len(run.drains) for run in runs) > 4


def test_a_late_round_is_found(example: tuple[Packed, list[LayerRun], list[LayerTrace]]) -> None:
    packed, runs, traces = example
    for index, layer in enumerate(packed.layers[:-1]):
        if layer.host:
            continue
        order = windows(layer, packed.groups)
        for number, place in enumerate(dict.fromkeys(one[:3] for one in order)):
            late = np.array([one[:3] >= place for one in order])
            trace = replace(traces[index], closed=traces[index].closed + late)
            found = difference(packed, runs, [*traces[:index], trace, *traces[index + 1 :]])
            assert found is not None
            begin = runs[index].drains[number]
            assert str(found) == (
                f"layer {layer.name}, pass {place[0]}, tile {place[1]}, group {place[2]}: the "
                f"drain begins in cycle {begin} in model, {begin + 1} in RTL"
            )


def test_a_wrong_spike_is_found(example: tuple[Packed, list[LayerRun], list[LayerTrace]]) -> None:
    packed, runs, traces = example
    rng = np.random.default_rng(0)
    for index, layer in enumerate(packed.layers[:-1]):
        order = windows(layer, packed.groups)
        for _ in range(20):
            at = int(rng.integers(len(order)))
            number, tile, group, slot, y, x = order[at]
            lanes = layer.blocks[number * layer.slots + slot]
            pe = int(rng.choice(np.flatnonzero(lanes >= 0)))
            last = packed.last_timesteps if group == packed.groups - 1 else packed.arch.timesteps
            timestep = group * packed.arch.timesteps + int(rng.integers(last))
            masks = runs[index].masks.copy()
            masks[lanes[pe], y, x] ^= masks.dtype.type(1 << timestep)
            trace = replace(traces[index], masks=masks)
            found = difference(packed, runs, [*traces[:index], trace, *traces[index + 1 :]])
            assert found is not None
            assert (found.timestep, found.pe) == (timestep, pe)
            assert found.cycle == traces[index].closed[at]
            where = f"pass {number}, tile {tile}, group {group}, PE {pe}, slot {slot}"
            if layer.host:
                where = f"block {number}, group {group}, lane {pe}"
            assert f"; {where}, written by the RTL in cycle {found.cycle}" in str(found)
