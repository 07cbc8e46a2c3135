"""Contents: a tally becomes a report that adds up, and whose bounds are bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from evenspike.report.accuracy import accuracy
from evenspike.report.contents import contents, natural_order
from evenspike.report.pages import Report
from evenspike_core import reference
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import pack
from evenspike_core.program import Layer, Program
from evenspike_sim.accelerator import Accelerator
from evenspike_sim.tally import Tally
from tests.helpers.archs import random_arch, random_mapping
from tests.helpers.networks import random_pixels, random_program


def ran(program: Program, seed: int) -> tuple[dict[str, Any], Tally]:
    """Three images on a random machine."""
    arch = random_arch(seed)
    packed = pack(program, random_mapping(program, arch, seed), arch)
    accelerator = Accelerator(packed)
    tally = Tally.of(
        accelerator.run(reference.encode(program, random_pixels(program, image)))
        for image in (8 * seed, 8 * seed + 2, 8 * seed + 7)
    )
    return contents(program, packed, tally, model="random", mapping="cost"), tally


def dense(layer: Layer) -> Layer:
    """Without a zero weight; identities stay what they are."""
    segments = tuple(
        s if layer.is_identity(index) else replace(s, weights=np.ones_like(s.weights))
        for index, s in enumerate(layer.segments)
    )
    return replace(layer, segments=segments, bias=np.zeros_like(layer.bias))


SEEDS = range(24)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_report_adds_up_and_keeps_its_bounds(seed: int) -> None:
    content, tally = ran(random_program(seed), seed)
    content |= {"bit_exact": True, "seconds": {}, "predictions": [], **accuracy([])}
    content["compared"] = {"spikes": 0, "layers": 1, "timesteps": 1}
    content["natural_order"] = natural_order(tally, tally.cycles)
    found = Report(content).to_dict()
    assert found["natural_order"]["speedup"] == 1
    assert found["totals"]["cycles"] == pytest.approx(tally.cycles)
    assert found["command"] is None
    for layer in found["layers"]:
        busy = layer["busy"] / found["arch"]["pes"]
        assert layer["bound_cycles"] <= busy + 1e-6
        assert busy <= layer["cycles"]
        assert layer["bound_cycles"] <= layer["dense_cycles"]
    assert found["totals"]["efficiency"] <= found["totals"]["utilization"] + 1e-9


@pytest.mark.parametrize("seed", SEEDS)
def test_a_dense_network_is_bound_to_the_dense_cycles(seed: int) -> None:
    program = random_program(seed)
    first, *others = program.layers
    program = replace(program, layers=(first, *map(dense, others)))
    content, _ = ran(program, seed)
    host, *layers = content["layers"]
    assert host["dense_cycles"] == host["cycles"]
    for layer in layers:
        assert layer["dense_cycles"] == pytest.approx(layer["bound_cycles"])


def test_the_seeds_have_identities_and_work() -> None:
    programs = [random_program(seed) for seed in SEEDS]
    assert any(
        layer.is_identity(index)
        for program in programs
        for layer in program.layers
        for index in range(1, len(layer.segments))
    )
    assert any(layer["busy"] for layer in ran(programs[4], 4)[0]["layers"])


def test_nothing_to_report() -> None:
    program = random_program(1)
    arch = random_arch(1)
    packed = pack(program, random_mapping(program, arch, 1), arch)
    with pytest.raises(EvenspikeError, match="no image has run"):
        contents(program, packed, Tally(), model="random", mapping="cost")
