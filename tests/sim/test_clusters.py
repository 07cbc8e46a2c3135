"""Clusters on the cycle model: images apart, weights together, and no cycle that is not said.

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
from evenspike_sim.spikes import Masks
from tests.helpers import stepped
from tests.helpers.archs import random_arch, random_mapping
from tests.helpers.networks import random_pixels, random_program

SEEDS = range(8)
SHARES = (1, 1, 2, 4)
"""Images of a cluster."""


@dataclass(frozen=True)
class Case:
    """A batch of a random network on clusters, and what the reference says of each image."""

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
    clusters = 2 << seed % 3
    program, arch = random_program(seed, max_side=6, max_filters=12), random_arch(seed, clusters)
    batch = clusters * SHARES[seed % len(SHARES)]
    mapping = random_mapping(program, arch, seed, batch)
    packed, truth = pack(program, mapping, arch), images_of(program, seed, batch)
    return Case(packed, mapping, truth, Accelerator(packed).run(inputs_of(truth)))


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [case(seed) for seed in SEEDS]


def test_the_cases_have_what_clusters_can_have(cases: list[Case]) -> None:
    layers = [(one.packed, layer) for one in cases for layer in one.packed.layers[1:]]
    assert {one.packed.arch.clusters for one in cases} == {2, 4, 8}
    assert any(len(layer.chunks) > 1 and layer.images > 1 for _, layer in layers)
    assert any(1 <= layer.images < packed.share for packed, layer in layers)
    assert any(packed.share > 1 and packed.groups > 1 for packed, _ in layers)
    assert any(one.packed.arch.lif_shared for one in cases)


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
        assert states.shape[1] == cases[seed].packed.arch.all_pes
        assert (states >= 0).all()
        assert set(states.sum(axis=0).tolist()) == {run.cycles}


@pytest.mark.parametrize("seed", SEEDS)
def test_work_is_an_images_and_a_load_is_everybodys(cases: list[Case], seed: int) -> None:
    """Beside each cluster's share of the batch alone on a machine of one cluster."""
    one = cases[seed]
    arch, share = replace(one.packed.arch, clusters=1), one.packed.share
    own = (replace(one.mapping[0], images=share), *one.mapping[1:])
    alone = Accelerator(pack(one.packed.program, own, arch))
    inputs = inputs_of(one.truth)
    parts = [inputs[at : at + share] for at in range(0, len(inputs), share)]
    singles = [alone.run(part if share > 1 else part[0]) for part in parts]
    for index, run in enumerate(one.runs):
        each = [runs[index] for runs in singles]
        busy = np.concatenate([single.busy for single in each])
        if arch.issue == 1:
            assert run.busy.tolist() == busy.tolist()
        for name in ("spikes_in", "spikes_out", "accumulations", "broadcasts", "overflows"):
            assert getattr(run, name) == sum(getattr(single, name) for single in each), name
        apart = {"memory_word"} | {name for name in run.actions if name.endswith("_cycle")}
        for name in run.actions.keys() - apart:
            assert run.actions[name] == sum(single.actions[name] for single in each), name
        results = [single.actions["memory_word"] - single.words_loaded for single in each]
        assert run.actions["memory_word"] == run.words_loaded + sum(results)
        for name in ("leakage", "clock"):
            assert run.actions[f"{name}_cycle"] == run.cycles * one.packed.arch.all_pes
            assert run.actions[f"shared_{name}_cycle"] == run.cycles
        if one.packed.layers[index].host:
            assert run.words_loaded == sum(single.words_loaded for single in each)
        else:
            assert {run.words_loaded} == {single.words_loaded for single in each}


def test_images_that_are_alike_take_as_long_as_one() -> None:
    """Clusters that never differ never wait for each other: but for input and results the cycles
    are those of one cluster with one of the images.
    """
    arch = Arch(pes=4, timesteps=3, accumulators=64, spike_entries=1 << 14)
    program = random_program(3, timesteps=3, max_side=7, max_filters=20)
    truth = images_of(program, 3, 1)
    for clusters in (2, 8):
        several = replace(arch, clusters=clusters)
        packed = pack(program, choose(program, several), several)
        runs = Accelerator(packed).run(np.concatenate([inputs_of(truth)] * clusters))
        single = Accelerator(pack(program, choose(program, arch), arch)).run(truth[0].masks[0])
        hidden = runs[0].cycles - single[0].cycles  # of the first load, by a longer input
        assert hidden == (clusters - 1) * (single[0].cycles - arch.memory_latency - 3)
        for mine, one in zip(runs[2:-1], single[2:-1], strict=True):
            assert mine.cycles == one.cycles
            for state in STATES:
                assert getattr(mine, state).tolist() == clusters * getattr(one, state).tolist()


SMALL = {
    "two weights": Arch(
        pes=4, timesteps=3, accumulators=64, lane_depth=8, spike_entries=1 << 14, clusters=2
    ),
    "one weight": Arch(
        pes=2, timesteps=2, accumulators=32, issue=1, fifo_depth=2, match_depth=1,
        scratchpad_words=256, header_words=41, spike_entries=1 << 14, clusters=4,
    ),
    "shared": Arch(
        pes=2, timesteps=3, accumulators=32, scratchpad_words=256, header_words=41,
        spike_entries=1 << 14, lif_shared=1, port_bits=128, clusters=2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("images", [1, pytest.param(2, marks=pytest.mark.long)])
def test_the_stepped_model_agrees(name: str, images: int) -> None:
    arch, left = SMALL[name], 2
    batch, several = images * arch.clusters, 0
    for seed in range(100):
        program = random_program(seed, timesteps=1 + seed % 5, max_side=4, max_filters=9)
        try:
            choose(program, arch, batch=batch)
        except EvenspikeError:
            continue
        packed = pack(program, random_mapping(program, arch, seed, batch), arch)
        if len(stepped.schedule(packed).words) > 1500:
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
        several += any(len(layer.chunks) > 1 for layer in packed.layers)
        left -= 1
        if left <= 0 and several:
            return
    pytest.fail("no layer had several chunks")


@pytest.mark.parametrize("batch", [1, 2, 6, 128])
def test_a_batch_has_an_image_for_each_cluster(batch: int) -> None:
    arch = Arch(clusters=4)
    says = (
        rf"^batch is {batch}, possible are powers of two from 4 to 64: Arch clusters is 4, each of "
        "which takes as many images$"
    )
    with pytest.raises(EvenspikeError, match=says):
        choose(random_program(1), arch, batch=batch)


def test_a_spike_memory_that_is_too_small_names_a_clusters_images() -> None:
    arch = Arch(clusters=2, spike_entries=40, pes=1, row_entries=1)
    program = random_program(5, timesteps=4, max_side=8)
    with pytest.raises(EvenspikeError, match=r"Arch spike_entries is 40, of which each of the 4 i"):
        choose(program, arch, batch=8)
    with pytest.raises(EvenspikeError, match=r"images of a cluster has 10$"):
        choose(program, arch, batch=8)
