"""Tally: the sums of many images, added one by one or in parts."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from evenspike_core import reference
from evenspike_core.counters import STATES
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import choose
from evenspike_core.pack import pack
from evenspike_sim.accelerator import Accelerator
from evenspike_sim.tally import COUNTS, Tally
from tests.helpers.archs import random_arch
from tests.helpers.networks import random_pixels, random_program


def test_a_tally_is_the_sum_of_its_images() -> None:
    program = random_program(3)
    arch = random_arch(3)
    accelerator = Accelerator(pack(program, choose(program, arch), arch))
    images = [
        accelerator.run(reference.encode(program, random_pixels(program, seed)))
        for seed in range(5)
    ]
    whole, parts = Tally(), (Tally(), Tally())
    for number, runs in enumerate(images):
        whole.add(runs)
        parts[number % 2].add(runs)
    before = copy.deepcopy([[layer.counts for layer in part.layers] for part in parts])
    together = Tally()
    for part in (*parts, Tally()):
        together.merge(part)
    after = [[layer.counts for layer in part.layers] for part in parts]
    assert after == before, "a merge leaves the other alone"
    assert together.images == whole.images == 5
    assert together.cycles == pytest.approx(sum(run.cycles for i in images for run in i) / 5)
    for index, (one, other) in enumerate(zip(whole.layers, together.layers, strict=True)):
        runs = [image[index] for image in images]
        for name in COUNTS:
            assert one.counts[name] == other.counts[name] == sum(getattr(r, name) for r in runs)
        for name in one.actions:
            assert one.actions[name] == other.actions[name] == sum(r.actions[name] for r in runs)
        for state in STATES:
            summed = np.sum([getattr(run, state) for run in runs], axis=0)
            assert np.array_equal(one.states[state], summed)
            assert np.array_equal(other.states[state], summed)
        assert one.reached == other.reached
        assert one.reached_spikes == other.reached_spikes
        assert one.overflow == other.overflow
    with pytest.raises(EvenspikeError, match=f"tally: 1 layers, not the {len(whole.layers)}"):
        whole.add(images[0][:1])
