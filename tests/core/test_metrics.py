"""The paper's convention against hand-made examples and its own tables; the hardware's figures."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenspike_core.arch import preset
from evenspike_core.errors import EvenspikeError
from evenspike_core.metrics import (
    ConvolutionCycles,
    PaperMetrics,
    filter_groups,
    group_utilization,
    hardware_efficiency,
    hardware_utilization,
    least_cycles,
    paper_energy,
    paper_metrics,
    spike_sparsity,
)
from evenspike_core.program import PIXELS, Coding, Layer, Program, Readout, Segment
from evenspike_core.topology import Topology, described
from evenspike_core.workload import draw, draw_spikes
from tests.helpers.networks import random_program


def weights(counts: list[int], channels: int, kernel: int) -> Segment:
    """A segment of layer 0 whose filters have so many weights."""
    array = np.zeros((len(counts), channels * kernel**2), dtype=np.int16)
    for f, count in enumerate(counts):
        array[f, :count] = 1 + f
    padding = -(kernel // 2)
    return Segment(0, array.reshape(-1, channels, kernel, kernel), offset=(padding, padding))


def by_hand(*layers: tuple[Segment, ...]) -> Program:
    """A host layer of three filters, `layers` that read it on a 4x2 map, and a last one; T = 4."""
    host = Segment(PIXELS, np.ones((3, 1, 1, 1), dtype=np.int16))
    zero = np.zeros(3, dtype=np.int32)
    made = [Layer("host", (host,), zero, (4, 2), 1, coding=Coding.DIRECT)]
    for index, segments in enumerate(layers):
        bias = np.zeros(segments[0].weights.shape[0], dtype=np.int32)
        made.append(Layer(f"conv{index}", segments, bias, (4, 2), 1, pool=2))
    small = Segment(0, np.ones((2, 3, 3, 3), dtype=np.int16), 2, (-1, -1), 2)
    made.append(Layer("narrow", (small,), zero[:2], (1, 1), 1))
    last = Segment(len(made) - 1, np.ones((2, 2, 1, 1), dtype=np.int16))
    made.append(Layer("last", (last,), zero[:2], (1, 1), 0, readout=Readout.PSUM))
    return Program("by hand", 4, (1, 4, 2), tuple(made))


def test_one_layer_by_hand() -> None:
    """Five filters on two PEs, 8 positions before pooling, T = 4: 32 cycles for each weight.

    Groups (3, 1), (4, 4), (2, -): slowest 3 + 4 + 2; idle 2 + 0 + 2. Eq. 2 with n = 2:
    1 - (3 - 2)/3*2 = 1/3; 1; 1 - (2 - 1)/2*2 = 0.
    """
    metrics = paper_metrics(by_hand((weights([3, 1, 4, 4, 2], 3, 3),)), pes=2)
    (only,) = metrics.convolutions
    assert only == ConvolutionCycles(
        layer="conv0",
        segment=0,
        parameters=5 * 27,
        nnz=14,
        positions=8,
        work=14 * 32,
        idle=4 * 32,
        latency=9 * 32,
        utilization=pytest.approx((1 / 3 + 1 + 0) / 3),  # type: ignore[arg-type]
    )
    assert (metrics.work, metrics.idle, metrics.latency) == (14 * 32, 4 * 32, 9 * 32)
    assert metrics.pooled == pytest.approx(1 - (9 - 7) / 9 * 2)


def test_parameters_are_the_weights_before_pruning() -> None:
    """Not what a 2x2 kernel's 3x3 pattern has room for."""
    segment = replace(weights([3, 1], 3, 3), dense=2 * 3 * 4)
    (only,) = paper_metrics(by_hand((segment,)), pes=2).convolutions
    assert only.parameters == 24


def test_network_figures_by_hand() -> None:
    """Two layers: utilization 1/3 with 27 * 2 parameters, 1 with 3 * 2."""
    metrics = paper_metrics(by_hand((weights([3, 1], 3, 3),), (weights([2, 2], 3, 1),)), pes=2)
    assert [c.utilization for c in metrics.convolutions] == [pytest.approx(1 / 3), 1]
    assert metrics.layer_mean == pytest.approx(2 / 3)
    assert metrics.parameter_weighted == pytest.approx((54 / 3 + 6) / 60)
    assert metrics.work == 8 * 32
    assert metrics.latency == 5 * 32
    assert metrics.pooled == pytest.approx(1 - (5 - 4) / 5 * 2)


def test_residual_layers() -> None:
    """A 1x1 shortcut is a convolution of its own; an identity is none."""
    body = weights([3, 1, 2], 3, 3)
    eye = Segment(0, 7 * np.eye(3, dtype=np.int16)[:, :, None, None])
    shortcut, empty = weights([1, 2, 3], 3, 1), weights([0, 0, 0], 3, 1)
    metrics = paper_metrics(by_hand((body, eye), (body, shortcut), (eye,), (body, empty)), pes=4)
    assert [(c.layer, c.segment, c.nnz) for c in metrics.convolutions] == [
        ("conv0", 0, 6),
        ("conv1", 0, 6),
        ("conv1", 1, 6),
        ("conv2", 0, 3),  # the only segment of its layer: a sparse convolution
        ("conv3", 0, 6),
        ("conv3", 1, 0),  # a convolution that lost all its weights
    ]


def test_empty_groups_and_layers() -> None:
    """Skipped in every mean, as in the authors' code; an empty layer does not divide by zero."""
    metrics = paper_metrics(
        by_hand((weights([0, 0, 2, 2], 3, 1),), (weights([0, 0], 3, 1),)), pes=2
    )
    assert [c.utilization for c in metrics.convolutions] == [1, None]
    assert metrics.convolutions[1].latency == 0
    assert metrics.layer_mean == metrics.parameter_weighted == metrics.pooled == 1
    nothing = paper_metrics(by_hand((weights([0], 3, 1),)))
    assert nothing.layer_mean is nothing.parameter_weighted is nothing.pooled is None
    assert paper_metrics(by_hand()).convolutions == ()


def test_groups() -> None:
    segment = weights([3, 1, 2, 0, 5], 3, 3)
    assert filter_groups(segment.weights, 2).tolist() == [[3, 1], [2, 0], [5, 0]]
    assert filter_groups(segment.weights, 1).tolist() == [[3], [1], [2], [0], [5]]
    assert filter_groups(segment.weights, 16).tolist() == [[3, 1, 2, 0, 5] + [0] * 11]


@pytest.mark.parametrize(
    ("loads", "utilization"),
    [
        ([5], 1),
        ([5, 5, 5, 5], 1),
        ([5, 5, 5, 4], 1),  # the mean, 4.75, rounds up
        ([4, 0], 0),
        ([1] + [0] * 15, 1),
        ([8, 4, 4, 0], 1 - 4 / 8 * 4 / 3),
        ([32] + [0] * 15, 0),
    ],
)
def test_group_utilization(loads: list[int], utilization: float) -> None:
    assert group_utilization(loads) == pytest.approx(utilization)


def test_group_without_weights() -> None:
    with pytest.raises(EvenspikeError) as caught:
        group_utilization([0, 0])
    assert str(caught.value) == "a group of 2 PEs without a weight has no utilization"


@given(st.lists(st.integers(0, 4608), min_size=1, max_size=64).filter(any))
def test_group_utilization_is_a_share(loads: list[int]) -> None:
    value = group_utilization(loads)
    assert -1e-9 <= value <= 1
    assert (value == 1) == (max(loads) == math.ceil(sum(loads) / len(loads)) or len(loads) == 1)
    assert value == group_utilization(sorted(loads))


@pytest.mark.parametrize("pes", [1, 2, 3, 16, 64])
@pytest.mark.parametrize("seed", range(10))
def test_invariants(seed: int, pes: int) -> None:
    made = random_program(seed)
    metrics = paper_metrics(made, pes)
    assert (metrics.work + metrics.idle) / pes == metrics.latency
    for cycles in metrics.convolutions:
        layer = next(layer for layer in made.layers if layer.name == cycles.layer)
        alive = np.count_nonzero(layer.segments[cycles.segment].weights)
        assert (cycles.work + cycles.idle) / pes == cycles.latency
        assert cycles.work == alive * layer.size[0] * layer.size[1] * made.timesteps
        assert min(cycles.work, cycles.idle, cycles.latency) >= 0
        assert (cycles.utilization is None) == (alive == 0)
        if pes == 1 and alive:
            assert cycles.idle == 0
            assert cycles.utilization == 1
    if pes == 1 and metrics.work:
        assert metrics.layer_mean == metrics.parameter_weighted == metrics.pooled == 1


def as_they_are(segment: Segment) -> bool:
    """Whether a shortcut adds spikes as they are: one weight on the diagonal, and no other."""
    table = segment.weights.tolist()
    same = table[0][0][0][0]
    return bool(same) and all(
        one == [[same if f == c else 0]]
        for f, channels in enumerate(table)
        for c, one in enumerate(channels)
    )


def counted_one_by_one(program: Program, pes: int) -> tuple[int, int, int, float | None]:
    """Work, idle cycles, latency and mean utilization by a walk over single weights, PEs and
    groups, as section V-B-2 and Eq. 2 of the paper say them.
    """
    work = idle = latency = 0
    utilizations: list[float] = []
    for layer in program.layers[1:-1]:
        for number, segment in enumerate(layer.segments):
            filters, channels = segment.weights.shape[:2]
            shortcut = number > 0 and segment.kernel == 1 and filters == channels
            if list(layer.size) == [1, 1] or (shortcut and as_they_are(segment)):
                continue
            alive = [sum(1 for w in one.ravel().tolist() if w) for one in segment.weights]
            alive += [0] * (-filters % pes)
            steps = layer.size[0] * layer.size[1] * program.timesteps
            each: list[float] = []
            for first in range(0, filters, pes):
                busy = alive[first : first + pes]
                slowest, total = max(busy), sum(busy)
                latency += slowest * steps
                work += total * steps
                idle += sum(slowest - one for one in busy) * steps
                if total:
                    mean = total // pes + (1 if total % pes else 0)
                    lost = (slowest - mean) / slowest
                    each.append(1 - lost * pes / (pes - 1) if pes > 1 else 1.0)
            utilizations += [sum(each) / len(each)] if each else []
    whole = sum(utilizations) / len(utilizations) if utilizations else None
    return work, idle, latency, whole


@pytest.mark.parametrize("pes", [1, 7, 16])
@pytest.mark.parametrize("seed", range(60))
def test_a_walk_over_single_weights_counts_the_same(seed: int, pes: int) -> None:
    """Random Programs, residual ones among them, by a statement that shares nothing with ours."""
    made = random_program(seed, max_filters=24)
    metrics = paper_metrics(made, pes)
    work, idle, latency, mean = counted_one_by_one(made, pes)
    assert (metrics.work, metrics.idle, metrics.latency) == (work, idle, latency)
    assert metrics.layer_mean == (None if mean is None else pytest.approx(mean, abs=1e-12))


def test_the_random_programs_are_residual() -> None:
    """Else the test above says nothing of shortcuts."""
    kinds = {"convolution": 0, "identity": 0}
    for seed in range(60):
        for layer in random_program(seed, max_filters=24).layers[1:-1]:
            for number in range(1, len(layer.segments)):
                kinds["identity" if layer.is_identity(number) else "convolution"] += 1
    assert kinds["convolution"] > 50, kinds
    assert kinds["identity"] > 3, kinds


BLOCKS = Topology(
    (20, 8, 8),
    described(
        [
            {"name": "one", "filters": 20},
            {"name": "two", "filters": 20, "shortcut": {"source": "input", "identity": True}},
            {"name": "three", "filters": 36, "stride": 2},
            {"name": "four", "filters": 36, "shortcut": {"source": "two", "stride": 2}},
            {"name": "five", "filters": 36, "shortcut": {"source": "four", "identity": True}},
        ]
    ),
)


@pytest.mark.parametrize("balanced", [0, 16])
@pytest.mark.parametrize("seed", range(8))
def test_a_walk_over_residual_blocks_counts_the_same(seed: int, balanced: int) -> None:
    density = np.random.default_rng(seed).uniform(0, 60, 5).tolist()
    spikes = draw_spikes(BLOCKS, 4, 0, 0)
    made = draw(spikes, density, seed=seed, balanced=balanced).program
    metrics = paper_metrics(made, 16)
    work, idle, latency, mean = counted_one_by_one(made, 16)
    assert (metrics.work, metrics.idle, metrics.latency) == (work, idle, latency)
    assert metrics.layer_mean == pytest.approx(mean, abs=1e-12)
    named = {c.layer for c in metrics.convolutions if not c.layer.startswith("(end")}
    assert named == {"one", "two", "three", "four", "five"}
    assert sum(c.segment for c in metrics.convolutions) == 1, "one shortcut has weights"


def test_work_does_not_depend_on_the_pes() -> None:
    made = random_program(2)
    assert len({paper_metrics(made, pes).work for pes in (1, 2, 16, 64)}) == 1


def test_no_pes() -> None:
    with pytest.raises(EvenspikeError) as caught:
        paper_metrics(by_hand(), 0)
    assert str(caught.value) == "0 PEs, at least 1 is needed"


# Table IV: work, idle (1e8 PE-cycles) and latency (1e8 cycles); Table III: spike sparsity. The rows
# of CIFAR100 repeat SVHN's digits and are left out.
LTH_ROWS = [(1.34, 0.41, 0.848), (1.10, 0.42, 0.839), (1.15, 0.69, 0.849)]
LTH_ROWS += [(1.66, 1.73, 0.641), (1.26, 1.89, 0.601), (1.27, 1.34, 0.636)]
TICKET_ROWS = [(0.94, 0.0, 0.859), (0.81, 0.0, 0.814), (0.86, 0.0, 0.801)]
TICKET_ROWS += [(1.10, 0.0, 0.683), (0.73, 0.0, 0.629), (0.84, 0.0, 0.682)]
LATENCIES = [0.11, 0.10, 0.12, 0.21, 0.20, 0.16]
REDUCTIONS = [41.8, 35.4, 37.2, 55.5, 63.8, 56.1]


@pytest.mark.parametrize("row", range(6))
def test_published_energy_reductions(row: int) -> None:
    """Eq. 3 with the fitted ratio, against the text of section V-B."""
    energies = [
        paper_energy(round(work * 1e8), round(idle * 1e8), sparsity)
        for work, idle, sparsity in (LTH_ROWS[row], TICKET_ROWS[row])
    ]
    assert 100 * (1 - energies[1] / energies[0]) == pytest.approx(REDUCTIONS[row], abs=0.45)


@pytest.mark.parametrize("row", range(6))
def test_published_latency(row: int) -> None:
    """Table IV obeys the invariant to its two digits."""
    work, idle, _ = LTH_ROWS[row]
    assert (work + idle) / 16 == pytest.approx(LATENCIES[row], abs=0.0055)


def test_pooled_of_the_published_totals() -> None:
    """Eq. 2 on VGG-16's CIFAR10 totals: not the 0.59 of the table, which is a mean over layers."""
    cycles = ConvolutionCycles("all", 0, 1, 1, 1, 134, 42, 11, 0.59)
    pooled = PaperMetrics(16, (cycles,)).pooled
    assert pooled == pytest.approx(0.75, abs=0.01)


def test_energy_by_hand() -> None:
    assert paper_energy(10, 3, 0.5, dynamic_to_leakage=4) == 10 * (4 * 0.5 + 1) + 3
    assert paper_energy(10, 3, 1) == 13
    for sparsity in (-0.1, 1.1, math.nan):
        with pytest.raises(EvenspikeError) as caught:
            paper_energy(1, 1, sparsity)
        assert str(caught.value) == f"spike sparsity {sparsity} is outside 0 to 1"


def test_spike_sparsity() -> None:
    masks = [np.array([[0b1111, 0]], dtype=np.uint8), np.array([1, 0b1000], dtype=np.uint8)]
    assert spike_sparsity(masks, 4) == 1 - 6 / 16
    assert spike_sparsity(iter(masks[1:]), 8) == 1 - 2 / 16
    with pytest.raises(EvenspikeError) as caught:
        spike_sparsity([], 4)
    assert str(caught.value) == "no neurons, so no spike sparsity"


def test_hardware_utilization() -> None:
    assert hardware_utilization([10, 5, 0, 5], 10) == 0.5
    assert hardware_utilization([7], 7) == 1


@pytest.mark.parametrize(
    ("busy", "latency", "message"),
    [
        ([], 5, "0 PEs and a latency of 5; 1 of each is needed"),
        ([0], 0, "1 PEs and a latency of 0; 1 of each is needed"),
        ([1, 6], 5, "PE 1: busy 6 cycles of a latency of 5"),
        ([-1], 5, "PE 0: busy -1 cycles of a latency of 5"),
    ],
)
def test_hardware_utilization_refuses(busy: list[int], latency: int, message: str) -> None:
    with pytest.raises(EvenspikeError) as caught:
        hardware_utilization(busy, latency)
    assert str(caught.value) == message


def test_hardware_efficiency() -> None:
    assert hardware_efficiency(320, 10, pes=16, adders=4) == 0.5
    for accumulations, latency in ((641, 10), (-1, 10), (0, 0)):
        with pytest.raises(EvenspikeError) as caught:
            hardware_efficiency(accumulations, latency, pes=16, adders=4)
        assert str(caught.value) == (
            f"{accumulations} accumulations with 4 adders in 16 PEs in {latency} cycles; "
            f"0 to {64 * latency} fit"
        )


@pytest.mark.parametrize(
    ("arch", "matched", "accumulations", "cycles"),
    [
        # One weight a cycle: its matches, in however many timesteps they add.
        ("packed,issue=1", 320, 320, 20),
        ("packed,issue=1", 320, 1280, 20),
        # Two: half of that while there are adders, and what the four adders need if there are not.
        ("packed", 320, 320, 10),
        ("packed", 320, 640, 10),
        ("packed", 320, 1280, 20),
        # Three timesteps have four banks; one has one, so that two a cycle bring nothing.
        ("packed,timesteps=3", 320, 960, 15),
        ("packed,timesteps=1", 320, 320, 20),
        ("packed,pes=4", 320, 320, 40),
        ("packed", 0, 0, 0),
    ],
)
def test_least_cycles(arch: str, matched: int, accumulations: int, cycles: float) -> None:
    assert least_cycles(matched, accumulations, preset(arch)) == cycles
