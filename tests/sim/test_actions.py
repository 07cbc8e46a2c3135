"""Every action count of the cycle model, counted again from the network and its mapping alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core import reference
from evenspike_core.arch import HEADER_UNITS, Arch
from evenspike_core.mapping import BIAS_WORDS, choose
from evenspike_core.pack import pack
from evenspike_core.program import Layer
from evenspike_sim.accelerator import Accelerator
from tests.helpers.networks import random_pixels, random_program

Masks = npt.NDArray[np.uint8]

ARCH = Arch(timesteps=8, pes=4, accumulators=256)


@pytest.mark.parametrize("seed", range(12))
def test_every_action_is_counted(seed: int) -> None:
    """Counted where a layer is one tile and one chunk a pass, so that each thing happens once."""
    program, pixels = random_program(seed), random_pixels(random_program(seed), seed)
    mapping = choose(program, ARCH)
    runs = Accelerator(pack(program, mapping, ARCH)).run(reference.host_currents(program, pixels))
    expected = reference.run(program, pixels)
    checked = 0
    for index, layer in enumerate(program.layers):
        plan, run = mapping[index], runs[index]
        entries = _entries(expected.masks[index], plan.blocks) if not layer.last else 0
        assert run.actions["spike_write"] == entries
        _check_cycles(run.actions, run.cycles)
        if layer.host or len(plan.chunks) != 1 or len(list(plan.tiles(layer.size))) != 1:
            continue
        checked += 1
        segment = layer.segments[0]
        masks = expected.masks[segment.source]
        lanes = mapping[segment.source].blocks.reshape(-1)
        active = np.zeros((lanes.size, *masks.shape[1:]), dtype=np.uint8)
        active[lanes >= 0] = masks[lanes[lanes >= 0]]
        kernels = np.zeros((layer.filters, lanes.size), dtype=np.bool_)  # in the source's order
        kernels[:, lanes >= 0] = (segment.weights[:, lanes[lanes >= 0]] != 0).any(axis=(2, 3))
        held = np.zeros((plan.passes, ARCH.pes, lanes.size), dtype=np.int64)  # kernels of a PE
        for number, slot, pe in np.ndindex(plan.passes, plan.slots, ARCH.pes):
            filter_ = plan.assignment[number, slot, pe]
            if filter_ >= 0:
                held[number, pe] += kernels[filter_]
        silent = active == 0
        pushes = int((held > 0).sum(axis=(0, 1)) @ (~_outside(active, layer) & ~silent).sum((1, 2)))
        actions = run.actions
        neurons = layer.filters * layer.size[0] * layer.size[1]
        slots = sum(plan.slots_used(n) for n in range(plan.passes))
        rows = slots * ARCH.pes * layer.size[0] * layer.size[1]
        assert actions["fifo_push"] == actions["fifo_pop"] == actions["table_read"] == pushes
        assert actions["accumulator_read"] == actions["accumulator_write"]
        matched = actions["accumulator_read"] - rows
        assert actions["and_gate"] == matched * ARCH.timesteps
        assert actions["scratchpad_read"] == matched + BIAS_WORDS * slots * ARCH.pes
        assert actions["lif_step"] == (0 if layer.last else neurons * program.timesteps)
        assert actions["table_write"] == int((held > 0).sum())
        biases = BIAS_WORDS * plan.passes * plan.slots * ARCH.pes
        headers = int(kernels.sum()) * HEADER_UNITS[segment.kernel]
        assert actions["scratchpad_write"] == layer.nnz + headers + biases
        assert actions["memory_word"] == run.words_loaded + (
            ARCH.logit_words * plan.blocks.shape[0] if layer.last else 0
        )
        alive = replace(segment, weights=(segment.weights != 0).astype(np.int16))
        spikes = reference.timestep_planes(masks, program.timesteps)
        assert actions["accumulate"] == run.accumulations
        assert run.accumulations == reference.convolve(spikes, alive).sum()
        neuron = (masks != 0).astype(np.uint8)[None]
        assert run.busy.sum() == matched == reference.convolve(neuron, alive).sum()
        assert actions["header_read"] >= pushes
        _check_matching(actions, matched, run.words_loaded, segment.kernel)
    assert checked


def _check_cycles(actions: dict[str, int], cycles: int) -> None:
    for kind in ("leakage_cycle", "clock_cycle"):
        assert actions[kind] == cycles * ARCH.pes
        assert actions[f"shared_{kind}"] == cycles


def _check_matching(actions: dict[str, int], matched: int, words: int, kernel: int) -> None:
    """A fetch holds up to two headers, and enters the queue if any weight of theirs matches."""
    assert actions["match"] == actions["header_read"]
    assert actions["select"] == matched
    assert actions["unpack"] == words * ARCH.port_words
    assert actions["queue_push"] == actions["queue_pop"] <= min(matched, actions["match"])
    at_once = kernel**2 * max(1, 2 // HEADER_UNITS[kernel])
    assert actions["queue_push"] * at_once >= matched


def _entries(masks: Masks, blocks: npt.NDArray[np.int32]) -> int:
    """Positions of blocks with at least one spike."""
    return sum(int((masks[row[row >= 0]] != 0).any(axis=0).sum()) for row in blocks)


def _outside(active: Masks, layer: Layer) -> npt.NDArray[np.bool_]:
    """No neuron is outside the window of a layer that is a single tile, unless strides skip it."""
    segment = layer.segments[0]
    outside = np.zeros(active.shape, dtype=bool)
    for axis, out in ((1, layer.size[0]), (2, layer.size[1])):
        reach = ((out - 1) * segment.stride - segment.padding + segment.kernel) * segment.average
        index = [slice(None)] * 3
        index[axis] = slice(max(0, reach), None)
        outside[tuple(index)] = True
    return outside
