"""Every action count of the cycle model, counted again from the network and its mapping alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core import reference
from evenspike_core.arch import HEADER_UNITS, Arch
from evenspike_core.mapping import BIAS_WORDS, LayerMapping, choose
from evenspike_core.pack import pack
from evenspike_core.program import Layer, Readout
from evenspike_sim.accelerator import Accelerator, LayerRun
from evenspike_sim.spikes import Masks
from tests.helpers.networks import random_pixels, random_program

ARCH = Arch(timesteps=8, pes=4, accumulators=256, spike_entries=1 << 15)


@pytest.mark.parametrize("timesteps", [5, 8, 20])
@pytest.mark.parametrize("seed", [*range(8), 9, 10, 11, 13])  # each has such a layer
@pytest.mark.parametrize("issue", [1, 2])
def test_every_action_is_counted(seed: int, timesteps: int, issue: int) -> None:
    """Counted where a layer is one tile and one chunk a pass, so that each thing happens once, or
    once in each group.
    """
    program = random_program(seed, timesteps=timesteps)
    arch = replace(ARCH, issue=issue)
    pixels, mapping = random_pixels(program, seed), choose(program, arch)
    expected = reference.run(program, pixels)
    runs = Accelerator(pack(program, mapping, arch)).run(expected.masks[0])
    groups = ARCH.groups(timesteps)
    checked = 0
    for index, layer in enumerate(program.layers):
        plan, run = mapping[index], runs[index]
        entries = 0
        if not layer.last:
            entries = sum(_entries(m, plan.blocks) for m in _groups(expected.masks[index], groups))
        assert run.actions["spike_write"] == entries
        _check_cycles(run.actions, run.cycles)
        if layer.host:
            _, height, width = layer.output
            positions = groups * plan.blocks.shape[0] * height * width
            assert run.actions["memory_word"] == positions * ARCH.input_words
            continue
        simple = len(plan.chunks) == len(layer.segments) == 1
        if not simple or len(list(plan.tiles(layer.size))) != 1:
            continue
        checked += 1
        source = layer.segments[0].source
        blocks, masks = mapping[source].blocks, expected.masks[source]
        _check_layer(layer, plan, blocks, masks, run, timesteps, issue)
    assert checked


def _check_layer(
    layer: Layer,
    plan: LayerMapping,
    blocks: npt.NDArray[np.int32],
    masks: Masks,
    run: LayerRun,
    timesteps: int,
    issue: int,
) -> None:
    """Every count of a layer of one segment, tile and chunk. blocks, masks: of its source."""
    segment = layer.segments[0]
    groups, lanes = ARCH.groups(timesteps), blocks.reshape(-1)
    active = np.zeros((groups, lanes.size, *masks.shape[1:]), dtype=np.bool_)
    neurons_in = np.array([m != 0 for m in _groups(masks, groups)])
    active[:, lanes >= 0] = neurons_in[:, lanes[lanes >= 0]]
    alive = np.zeros((layer.filters, lanes.size, *segment.weights.shape[2:]), dtype=np.bool_)
    alive[:, lanes >= 0] = segment.weights[:, lanes[lanes >= 0]] != 0  # in the source's order
    actions, neurons = run.actions, layer.filters * layer.size[0] * layer.size[1]
    slots = sum(plan.slots_used(n) for n in range(plan.passes))
    drained = groups * slots * ARCH.pes * layer.size[0] * layer.size[1]
    spiking = layer.readout is not Readout.PSUM
    assert actions["lif_step"] == (neurons * timesteps if spiking else 0)
    biases = BIAS_WORDS * plan.passes * plan.slots * ARCH.pes
    headers = int(alive.any(axis=(2, 3)).sum()) * HEADER_UNITS[segment.kernel]
    assert actions["scratchpad_write"] == layer.nnz + headers + biases
    assert actions["memory_word"] == run.words_loaded + (
        groups * ARCH.logit_words * plan.blocks.shape[0] if layer.last else 0
    )
    ones = replace(segment, weights=(segment.weights != 0).astype(np.int16))
    spikes = reference.timestep_planes(masks, timesteps)
    assert actions["accumulate"] == run.accumulations
    assert run.accumulations == reference.convolve(spikes, ones, layer.size).sum()
    matched = actions["select"]
    assert matched == reference.convolve(neurons_in.astype(np.uint8), ones, layer.size).sum()
    assert actions["scratchpad_read"] == matched + groups * BIAS_WORDS * slots * ARCH.pes
    _check_filter(layer, plan, active, alive, actions)
    _check_accumulators(run, drained, issue)
    word_units = 5 if layer.stream_bits(segment) == 4 else 4
    units = run.words_loaded * ARCH.port_lanes * word_units
    _check_matching(actions, units, segment.kernel, 2 * issue)


def _check_filter(
    layer: Layer,
    plan: LayerMapping,
    active: npt.NDArray[np.bool_],
    alive: npt.NDArray[np.bool_],
    actions: dict[str, int],
) -> None:
    """active: [groups, channels, H, W] of the source. alive: [filters, channels, K, K]."""
    # Of each PE and channel: the kernel positions where any of its filters has a weight.
    patterns = np.zeros((plan.passes, ARCH.pes, *alive.shape[1:]), dtype=np.int64)
    for number, slot, pe in np.ndindex(plan.passes, plan.slots, ARCH.pes):
        filter_ = plan.assignment[number, slot, pe]
        if filter_ >= 0:
            patterns[number, pe] |= alive[filter_]
    held = patterns.any(axis=(3, 4))
    rows, columns = _connected(layer, *active.shape[2:])
    reaching = active & (rows.any(axis=1, keepdims=True) & columns.any(axis=1))
    broadcast = int(held.sum(axis=(0, 1)) @ reaching.sum((0, 2, 3)))
    matching = np.einsum("npcrs,yr,xs->npcyx", patterns, rows * 1, columns * 1) > 0
    passed = int((matching * active.sum(axis=0)).sum())
    pushes = broadcast if layer.segments[0].kernel > 3 else passed
    assert actions["table_write"] == int(held.sum())
    assert actions["filter"] == broadcast
    assert actions["fifo_push"] == actions["fifo_pop"] == actions["table_read"] == pushes
    assert actions["header_read"] >= pushes


def _check_accumulators(run: LayerRun, drained: int, issue: int) -> None:
    """drained: rows, each of which is read once and written once."""
    actions, matched = run.actions, run.actions["select"]
    assert actions["accumulator_read"] == actions["accumulator_write"]
    if issue == 1:
        assert run.busy.sum() == matched
        assert actions["accumulator_read"] == matched + drained
        assert actions["and_gate"] == matched * ARCH.timesteps
        assert actions["lane_push"] == actions["lane_pop"] == 0
    else:
        assert run.busy.sum() <= run.accumulations <= run.busy.sum() * ARCH.banks
        assert actions["accumulator_read"] == run.accumulations + drained * ARCH.timesteps
        assert actions["and_gate"] == 0
        assert actions["lane_push"] == actions["lane_pop"] == run.accumulations


def _check_cycles(actions: dict[str, int], cycles: int) -> None:
    for kind in ("leakage_cycle", "clock_cycle"):
        assert actions[kind] == cycles * ARCH.pes
        assert actions[f"shared_{kind}"] == cycles


def _check_matching(actions: dict[str, int], loaded: int, kernel: int, units: int) -> None:
    """loaded: units of the stream. A fetch of `units` holds some headers, and enters the queue if
    one of them matches.
    """
    matched = actions["select"]
    assert actions["match"] == actions["header_read"]
    assert actions["unpack"] == loaded
    assert actions["queue_push"] == actions["queue_pop"] <= min(matched, actions["match"])
    at_once = kernel**2 * max(1, units // HEADER_UNITS[kernel])
    assert actions["queue_push"] * at_once >= matched


def _entries(masks: Masks, blocks: npt.NDArray[np.int32]) -> int:
    """Positions of blocks with at least one spike."""
    return sum(int((masks[row[row >= 0]] != 0).any(axis=0).sum()) for row in blocks)


def _groups(masks: Masks, groups: int) -> list[Masks]:
    """What fires in each group of timesteps, [filters, H, W]; 0 where nothing does."""
    kind, low = masks.dtype.type, (1 << ARCH.timesteps) - 1
    return [masks >> kind(g * ARCH.timesteps) & kind(low) for g in range(groups)]


def _connected(
    layer: Layer, height: int, width: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Of a layer that is a single tile, [H, K] and [W, K]: whether a row (column) of the kernel
    connects the row (column) to one of the output.
    """
    segment, found = layer.segments[0], []
    shifts = np.arange(segment.kernel)
    for extent, out, offset in zip((height, width), layer.size, segment.offset, strict=True):
        away = (np.arange(extent) // segment.average)[:, None] - offset - shifts
        inside = (away >= 0) & (away // segment.stride < out)
        found.append(inside & (away % segment.stride == 0))
    return found[0], found[1]
