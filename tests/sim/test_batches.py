"""A batch on the cycle model: each image is the reference's, and a load of weights serves several.

That every cycle is the contract's say the stepped model, here, and the RTL (`tests/cosim`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from evenspike_core import reference
from evenspike_core.arch import Arch
from evenspike_core.counters import STATES
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import Mapping, choose
from evenspike_core.pack import Packed, pack
from evenspike_core.program import Program
from evenspike_sim.accelerator import Accelerator, LayerRun
from evenspike_sim.cost import draw, layer_cost
from evenspike_sim.spikes import Masks
from tests.helpers import stepped
from tests.helpers.archs import random_arch, random_mapping
from tests.helpers.networks import random_pixels, random_program

SEEDS = range(24)


@dataclass(frozen=True)
class Case:
    """A batch of a random network on a random accelerator, and what the reference says of each."""

    packed: Packed
    mapping: Mapping
    truth: list[reference.Activity]
    runs: list[LayerRun]


def images_of(program: Program, seed: int, batch: int) -> list[reference.Activity]:
    pixels = (random_pixels(program, 100 * seed + at) for at in range(batch))
    return [reference.run(program, one) for one in pixels]


def inputs_of(truth: list[reference.Activity]) -> Masks:
    return np.stack([one.masks[0] for one in truth])


def case(seed: int) -> Case:
    program, arch, batch = random_program(seed), random_arch(seed), 2 << seed % 3
    mapping = random_mapping(program, arch, seed, batch)
    packed, truth = pack(program, mapping, arch), images_of(program, seed, batch)
    return Case(packed, mapping, truth, Accelerator(packed).run(inputs_of(truth)))


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [case(seed) for seed in SEEDS]


def test_the_cases_have_what_a_batch_can_have(cases: list[Case]) -> None:
    layers = [(one.packed, layer) for one in cases for layer in one.packed.layers[1:]]
    chunks = [(layer.images, len(layer.chunks) > 1) for _, layer in layers]
    assert {(2, True), (4, True), (8, True), (2, False), (1, True)} <= set(chunks)
    assert any(1 < layer.images < packed.batch for packed, layer in layers)
    assert any(layer.images > 1 and packed.groups > 1 for packed, layer in layers)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_image_is_the_references(cases: list[Case], seed: int) -> None:
    one = cases[seed]
    for index, run in enumerate(one.runs[:-1]):
        for image, truth in enumerate(one.truth):
            assert np.array_equal(run.masks[image], truth.masks[index]), (run.name, image)
    logits = one.runs[-1].logits
    assert logits is not None
    assert logits.tolist() == [truth.logits.tolist() for truth in one.truth]


@pytest.mark.parametrize("seed", SEEDS)
def test_states_add_up_to_the_cycles(cases: list[Case], seed: int) -> None:
    for run in cases[seed].runs:
        states = np.array([getattr(run, state) for state in STATES])
        assert (states >= 0).all()
        assert set(states.sum(axis=0).tolist()) == {run.cycles}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_counted_is_the_sum_over_the_images(cases: list[Case], seed: int) -> None:
    """Work belongs to an image, a load to all that share it."""
    one = cases[seed]
    apart = tuple(replace(layer, images=1) for layer in one.mapping)
    alone = pack(one.packed.program, apart, one.packed.arch)
    singles = [Accelerator(alone).run(truth.masks[0]) for truth in one.truth]
    for index, (run, layer) in enumerate(zip(one.runs, one.packed.layers, strict=True)):
        each = [runs[index] for runs in singles]
        for name in ("spikes_in", "spikes_out", "accumulations", "broadcasts", "overflows"):
            assert getattr(run, name) == sum(getattr(single, name) for single in each), name
        for name in ("select", "lif_step", "spike_read", "spike_write", "accumulator_read"):
            if name in run.actions:
                assert run.actions[name] == sum(single.actions[name] for single in each), name
        shares = one.packed.batch if len(layer.chunks) == 1 else layer.images
        words = sum(single.words_loaded for single in each)
        if layer.host:
            assert run.words_loaded == words
        else:
            assert run.words_loaded * shares == words


SMALL = {
    "two weights": Arch(pes=4, timesteps=3, accumulators=64, lane_depth=8, spike_entries=1 << 14),
    "one weight": Arch(
        pes=2, timesteps=2, accumulators=32, issue=1, fifo_depth=2, match_depth=1,
        scratchpad_words=256, header_words=41, spike_entries=1 << 14,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_the_stepped_model_agrees(name: str) -> None:
    arch, left, shared = SMALL[name], 4, 0
    for seed in range(100):
        program = random_program(seed, timesteps=1 + seed % 5, max_side=4, max_filters=9)
        batch = 2 << seed % 2
        try:
            choose(program, arch, batch=batch)
        except EvenspikeError:
            continue
        packed = pack(program, random_mapping(program, arch, seed, batch), arch)
        if len(stepped.schedule(packed).words) > 3000:
            continue
        spikes = inputs_of(images_of(program, seed, batch))
        for run, trace in zip(
            Accelerator(packed).run(spikes), stepped.run(packed, spikes), strict=True
        ):
            assert run.cycles == trace.cycles, (seed, run.name)
            assert np.array_equal(run.masks, trace.masks)
            assert str(run.logits) == str(trace.logits)
            for state in STATES:
                assert getattr(run, state).tolist() == getattr(trace, state), (seed, run.name)
        shared += any(layer.images > 1 and len(layer.chunks) > 1 for layer in packed.layers)
        left -= 1
        if not left and shared:
            return
    pytest.fail("no layer of several chunks was shared")


def test_the_mapper_takes_a_batch_only_for_less() -> None:
    """Of the images that share a round it takes as many as make the layer cheapest."""
    program = random_program(11, timesteps=4, max_side=12, max_filters=40)
    arch = Arch(pes=2, scratchpad_words=256, header_words=41, spike_entries=1 << 16)
    cost = layer_cost(arch, draw(program, ()))
    mapping = choose(program, arch, cost, batch=4)
    assert any(one.images > 1 and not one.resident for one in mapping[1:])
    for index in range(1, len(program.layers)):
        before, one = mapping[:index], mapping[index]
        apart = replace(one, images=1)
        assert cost(program, index, before, one, None) <= cost(program, index, before, apart, None)


def test_an_input_of_another_number_of_images_is_refused() -> None:
    program, arch = random_program(1), random_arch(1)
    packed = pack(program, random_mapping(program, arch, 1, 2), arch)
    masks = images_of(program, 1, 1)[0].masks[0]
    for wrong in (masks, np.stack([masks] * 4)):
        with pytest.raises(EvenspikeError, match=r"the input is .*, not .* \(2, "):
            Accelerator(packed).run(wrong)
