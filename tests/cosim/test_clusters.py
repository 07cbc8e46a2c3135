"""Clusters on the RTL, by the flows and the verbs."""

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
from evenspike_core.arch import preset
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Packed, pack
from evenspike_core.program import Program
from evenspike_hw.board.build import check_port
from evenspike_hw.engine.interpreted import InterpretedSimulator
from evenspike_hw.engine.simulator import Simulator
from evenspike_sim.accelerator import Accelerator
from evenspike_sim.spikes import Masks
from tests.helpers.archs import random_mapping
from tests.helpers.networks import random_pixels, random_program, together
from tests.helpers.random_networks import ARCHS

BATCH = 4
ARCH = ARCHS["clusters"]


@pytest.fixture(scope="module")
def program() -> Program:
    return random_program(9, timesteps=8, max_side=5, max_filters=9, kernel_max=ARCH.kernel_max)


@pytest.fixture(scope="module")
def packed(program: Program) -> Packed:
    """Of several groups, two images in each cluster; somewhere both share a round of several
    chunks.
    """
    for seed in range(1000):
        found = pack(program, random_mapping(program, ARCH, seed, BATCH), ARCH)
        if any(layer.images == 2 and len(layer.chunks) > 1 for layer in found.layers[1:-1]):
            return found
    pytest.fail("no such mapping")


def spikes_of(program: Program, batch: int) -> Masks:
    images = [reference.encode(program, random_pixels(program, at)) for at in range(batch)]
    return together(images)


def test_a_wrong_spike_of_another_cluster_is_located(program: Program, packed: Packed) -> None:
    """Its image, its PE among those of all clusters, and the cycle of its cluster's window."""
    spikes = spikes_of(program, BATCH)
    runs = Accelerator(packed).run(spikes)
    with Simulator(packed) as simulator:
        traces = simulator.run(spikes)
    assert difference(packed, runs, traces) is None
    number = next(
        n for n, layer in enumerate(packed.layers) if layer.images == 2 and len(layer.chunks) > 1
    )
    share = traces[number].closed.size // 2
    for image in range(BATCH):
        cluster = image // 2
        masks = traces[number].masks.copy()
        masks[image, -1, 0, 0] ^= 1
        wrong = [*traces]
        wrong[number] = replace(traces[number], masks=masks)
        found = difference(packed, runs, wrong)
        assert found is not None
        assert (found.image, found.timestep) == (image, 0)
        assert found.pe is not None
        assert found.pe // ARCH.pes == cluster
        own = traces[number].closed[cluster * share : (cluster + 1) * share]
        assert found.cycle in own.tolist()
    late = traces[number].closed.copy()
    late[share:] += 3
    found = difference(
        packed,
        runs,
        [*traces[:number], replace(traces[number], closed=late), *traces[number + 1 :]],
    )
    assert found is not None
    assert "images 2 to 3" in str(found)


def test_amaranths_own_simulator_agrees() -> None:
    arch = replace(ARCHS["single"], clusters=2)
    program = random_program(3, timesteps=2, max_side=3, max_filters=3, kernel_max=arch.kernel_max)
    packed = pack(program, random_mapping(program, arch, 1), arch)
    spikes = spikes_of(program, 2)
    traces = InterpretedSimulator(packed).run(spikes)
    assert difference(packed, Accelerator(packed).run(spikes), traces) is None


def test_images_of_clusters_come_out_as_they_would_alone() -> None:
    """Three images on two clusters, the last one with a copy; latency and throughput apart."""
    program, three = es.load("vgg16-small"), es.images(3)
    run = es.simulate(es.pack(program, "packed,clusters=2"), three)
    alone = es.simulate(es.pack(program), three)
    assert run.bit_exact
    assert np.array_equal(run.logits, alone.logits)
    assert [one.spikes for one in run.outcomes] == [one.spikes for one in alone.outcomes]
    assert run.latency == 2 * run.cycles
    assert 0.5 * alone.cycles < run.cycles < 0.6 * alone.cycles
    assert {len(cycles) for cycles in run.pes.values()} == {32}
    report = run.report().to_dict()
    assert report["batch"] == {"images": 2, "cycles": pytest.approx(run.latency)}
    assert report["totals"]["latency_ms"] == pytest.approx(run.latency / 400e3)
    assert len(report["layers"][1]["per_pe"]["busy"]) == 32
    # Four images' weights are loaded for two of them.
    body = slice(1, None)
    words = [sum(one.words_loaded for one in each.layers[body]) for each in (run, alone)]
    assert words[0] == pytest.approx(words[1] / 2)


def test_compare_has_a_machine_for_each_number_of_clusters(tmp_path: Path) -> None:
    call = ["compare", "--model", "vgg16-small", "--set", "clusters=1,2", "--images", "2"]
    assert main([*call, "--jobs", "1", "--out", str(tmp_path)]) == 0
    points = json.loads((tmp_path / "compare.json").read_text())["points"]
    assert [point["fields"] for point in points] == [{"clusters": 1}, {"clusters": 2}]
    assert 1.6 < points[1]["speed_up"] < 2
    assert points[1]["latency_ms"] > points[0]["latency_ms"]
    assert 1.8 < points[1]["area_transistors"] / points[0]["area_transistors"] < 2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (("--model", "vgg16-small", "--batch", "2"), "batch is 2, possible are powers of two fro"),
        (("--rate", "5", "--timesteps", "4"), "Arch clusters is 4, each of which takes an image"),
    ],
)
def test_what_clusters_cannot_run(
    call: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sim", "--arch", "packed,clusters=4", *call, "--out", str(tmp_path)]) != 0
    assert says in capsys.readouterr().err


def test_a_board_has_one_cluster() -> None:
    with pytest.raises(EvenspikeError, match=r"^Arch clusters is 2; a board has 1, with the UART"):
        check_port(preset("packed,clusters=2"))
