"""A batch on the RTL, by the flows and the verbs, with images that do not fill the last one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import evenspike as es
from evenspike.cli import main
from evenspike.flows.locate import difference
from evenspike_core import reference
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Packed, pack
from evenspike_core.program import Program
from evenspike_hw.engine.interpreted import InterpretedSimulator
from evenspike_hw.engine.simulator import Simulator
from evenspike_sim.accelerator import Accelerator
from evenspike_sim.spikes import Masks
from tests.helpers.archs import random_mapping
from tests.helpers.networks import random_pixels, random_program, together
from tests.helpers.random_networks import ARCHS

BATCH = 4


@pytest.fixture(scope="module")
def program() -> Program:
    return random_program(9, timesteps=10, max_side=6, max_filters=17)


@pytest.fixture(scope="module")
def packed(program: Program) -> Packed:
    """Of several groups; a layer of several chunks has a part of the batch, or all, in a round."""
    arch = ARCHS["small"]
    for seed in range(1000):
        found = pack(program, random_mapping(program, arch, seed, BATCH), arch)
        if any(layer.images == 2 and len(layer.chunks) > 1 for layer in found.layers[1:-1]):
            return found
    pytest.fail("no such mapping")


def spikes_of(program: Program, batch: int) -> Masks:
    images = [reference.encode(program, random_pixels(program, at)) for at in range(batch)]
    return together(images)


def test_a_wrong_spike_of_a_later_image_is_located(program: Program, packed: Packed) -> None:
    """Its image and its round, and the cycle in which that image's window closed."""
    spikes = spikes_of(program, BATCH)
    runs = Accelerator(packed).run(spikes)
    with Simulator(packed) as simulator:
        traces = simulator.run(spikes)
    assert difference(packed, runs, traces) is None
    number = next(
        n for n, layer in enumerate(packed.layers) if layer.images == 2 and len(layer.chunks) > 1
    )
    cycles = []
    for image in range(BATCH):
        masks = traces[number].masks.copy()
        masks[image, -1, 0, 0] ^= 1
        wrong = [*traces]
        wrong[number] = replace(traces[number], masks=masks)
        found = difference(packed, runs, wrong)
        assert found is not None
        assert (found.image, found.timestep) == (image, 0)
        assert f"image {image} of the batch, filter {len(masks[0]) - 1}, y 0, x 0" in str(found)
        assert found.cycle in traces[number].closed.tolist()
        cycles.append(found.cycle or 0)
    assert cycles == sorted(set(cycles))  # one image behind the other
    late = replace(traces[number], closed=traces[number].closed + 3)
    found = difference(packed, runs, [*traces[:number], late, *traces[number + 1 :]])
    assert found is not None
    assert "images 0 to 1" in str(found)


def test_wrong_logits_name_the_image(program: Program, packed: Packed) -> None:
    spikes = spikes_of(program, BATCH)
    runs = Accelerator(packed).run(spikes)
    logits = runs[-1].logits
    assert logits is not None
    wrong = logits.copy()
    wrong[2, 1] += 1
    with Simulator(packed) as simulator:
        traces = simulator.run(spikes)
    found = difference(packed, [*runs[:-1], replace(runs[-1], logits=wrong)], traces)
    assert found is not None
    assert found.image == 2
    assert "image 2 of the batch, class 1: logit" in str(found)


def test_amaranths_own_simulator_agrees() -> None:
    arch = ARCHS["single"]
    program = random_program(3, timesteps=2, max_side=3, max_filters=3, kernel_max=arch.kernel_max)
    packed = pack(program, random_mapping(program, arch, 1, 2), arch)
    assert packed.layers[-1].images == 2
    spikes = spikes_of(program, 2)
    traces = InterpretedSimulator(packed).run(spikes)
    assert difference(packed, Accelerator(packed).run(spikes), traces) is None


def test_masks_of_another_number_of_images_are_refused(program: Program, packed: Packed) -> None:
    with Simulator(packed) as simulator, pytest.raises(EvenspikeError, match=r"its spikes are \("):
        simulator.run(spikes_of(program, 1))


def test_images_that_do_not_fill_the_last_batch() -> None:
    """They come out as they would alone, and nobody sees the copies that fill it."""
    program = es.load("vgg16-small")
    five = es.images(5)
    run = es.cosim(es.pack(program, batch=2), five)
    assert run.bit_exact
    assert run.rtl is not None
    assert (run.rtl.images, run.rtl.differences) == (5, 0)
    assert len(run.outcomes) == 5
    alone = es.simulate(es.pack(program), five)
    assert np.array_equal(run.logits, alone.logits)
    assert [one.spikes for one in run.outcomes] == [one.spikes for one in alone.outcomes]
    assert run.cycles < alone.cycles
    assert run.latency == 2 * run.cycles
    assert run.rtl.cycles == sum(one.cycles or 0 for one in run.outcomes[::2])
    assert run.tally.images == 6
    report = run.report().to_dict()
    assert report["images"] == 5
    assert report["batch"] == {"images": 2, "cycles": pytest.approx(run.latency)}


def test_the_verb_takes_a_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["cosim", "--model", "vgg16-small", "--images", "2", "--batch", "2"]
    assert main([*call, "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "vgg16-small.json").read_text())
    assert (content["images"], content["differences"], content["batch"]) == (2, 0, 2)
    assert content["latency_cycles"] == content["rtl_cycles"] == 2 * content["cycles_per_image"]
    assert "0 of 2 images differ" in capsys.readouterr().out
