"""Workloads: draws that follow from the seed, on the spikes of a trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core import reference
from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import mask_type
from evenspike_core.mapping import choose
from evenspike_core.recording import Trace, read_trace
from evenspike_core.topology import Topology, described, stacked
from evenspike_core.workload import (
    FITTED_DENSITY,
    RESNET19,
    VGG16,
    Workload,
    draw,
    draw_spikes,
)


def trace(*shapes: tuple[int, int, int]) -> Trace:
    names = "abcdefgh"
    return read_trace({f"{names[n]}_in": np.ones(s, dtype=np.uint8) for n, s in enumerate(shapes)})


FOUR = ((4, 8, 8), (6, 4, 4), (5, 2, 2), (5, 1, 1))

RESIDUAL = Topology(
    (20, 8, 8),
    described(
        [
            {"name": "stem", "filters": 20, "kernel": 5, "pool": 2},
            {"name": "one", "filters": 20},
            {"name": "two", "filters": 20, "shortcut": {"source": "stem", "identity": True}},
            {"name": "three", "filters": 30, "stride": 2},
            {
                "name": "four",
                "filters": 30,
                "kernel": 7,
                "shortcut": {"source": "two", "stride": 2},
            },
            {"name": "fc", "filters": 40, "kernel": 1, "average": 2},
        ]
    ),
)


def weights(load: Workload, layer: int = 0, segment: int = 0) -> npt.NDArray[np.int16]:
    return load.layers[layer].segments[segment].weights


# --- layers ---------------------------------------------------------------------------------


def test_one_density_less_leaves_the_last_array_for_its_shape() -> None:
    load = draw(trace(*FOUR), [10.0, 20.0, 30.0])
    assert [layer.name for layer in load.layers] == ["a", "b", "c"]
    assert (load.layers[2].filters, load.layers[2].pool) == (5, 2)
    assert len(load.inputs) == 3


def test_a_workload_prints_in_one_line() -> None:
    load = draw(trace((2, 4, 4)), 100)
    assert repr(load) == "<Workload trace: 1 layers, 1 timesteps, 36 of 36 weights, 32 spikes>"


@pytest.mark.parametrize("timesteps", [1, 8, 9, 16, 17, 32])
def test_a_workload_of_any_timesteps_runs(timesteps: int) -> None:
    load = draw(draw_spikes(RESIDUAL, timesteps, 100, 0), 50)
    assert f"6 layers, {timesteps} timesteps" in repr(load)
    spikes = sum(int(np.prod(shape)) for shape in list(RESIDUAL.shapes.values())[:-1]) * timesteps
    assert repr(load).endswith(f" {spikes:,} spikes>")
    for index, masks in enumerate(load.inputs, start=1):
        sources = [s.source for s in load.program.layers[index].segments]
        found = reference.run_layer(load.program, index, dict(zip(sources, masks, strict=True)))
        assert found.masks is not None
        assert found.masks.dtype == mask_type(timesteps)
    choose(load.program, Arch())


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 7), (1, 1, 1), (20, 1, 9), (4, 3, 3)])
def test_what_stands_behind_the_last_layer_never_runs_but_checks(
    shape: tuple[int, int, int],
) -> None:
    """Any last map can be closed to a Program, and the Arch accepts it."""
    load = draw(trace(shape), 50)
    assert load.program.layers[1].output == (10 if shape[1:] == (1, 1) else shape[0], *shape[1:])
    assert load.program.layers[-1].last
    assert [one.shape for one in load.outputs] == [one.output for one in load.program.layers]
    choose(load.program, Arch())


def test_layers_run_on_the_spikes_of_their_sources() -> None:
    load = draw(draw_spikes(RESIDUAL, 2, 30, 0), 50)
    names = [layer.name for layer in load.program.layers]
    assert names[:7] == ["input", "stem", "one", "two", "three", "four", "fc"]
    assert [[s.source for s in layer.segments] for layer in load.layers] == [
        [0],
        [1],
        [2, 1],
        [3],
        [4, 3],
        [5],
    ]
    assert [len(masks) for masks in load.inputs] == [1, 1, 2, 1, 2, 1]
    for index, masks in enumerate(load.inputs, start=1):
        sources = [s.source for s in load.program.layers[index].segments]
        given = dict(zip(sources, masks, strict=True))
        assert reference.run_layer(load.program, index, given).masks is not None
    assert load.layers[2].is_identity(1)
    assert not load.layers[4].is_identity(1)
    assert [layer.size for layer in load.layers] == [(8, 8), (4, 4), (4, 4), (2, 2), (2, 2), (1, 1)]
    choose(load.program, Arch())


@pytest.mark.parametrize("count", [0, 2, 5, 12])
def test_densities_that_are_too_many_or_too_few(count: int) -> None:
    with pytest.raises(EvenspikeError) as caught:
        draw(trace(*FOUR), [1.0] * count)
    assert str(caught.value) == f"{count} densities for 4 layers of the trace"
    if count == 5:  # layers that are described all run
        with pytest.raises(EvenspikeError) as caught:
            draw(draw_spikes(RESIDUAL, 4, 10, 0), [1.0] * count)
        assert str(caught.value) == "5 densities for 6 layers of the trace"


@pytest.mark.parametrize("network", [RESIDUAL, replace(VGG16, described=True), None])
def test_no_density_for_another_network(network: Topology | None) -> None:
    given = draw_spikes(network, 4, 10, 0) if network else trace(*FOUR)
    with pytest.raises(EvenspikeError) as caught:
        draw(given)
    assert str(caught.value) == (
        f"no density for {len(given.topology.layers)} layers: the default is that of conv2 to "
        "conv13 of VGG-16"
    )


@pytest.mark.parametrize("value", [-0.1, 100.1, float("nan"), float("inf"), float("-inf")])
def test_percents_outside_their_range(value: float) -> None:
    for given in (value, [5.0, value]):
        with pytest.raises(EvenspikeError) as caught:
            draw(trace((2, 4, 4), (2, 4, 4)), given)
        assert str(caught.value) == f"density {value} is outside 0 to 100 percent"
    with pytest.raises(EvenspikeError) as caught:
        draw_spikes(VGG16, 4, value, 0)
    assert str(caught.value) == f"rate {value} is outside 0 to 100 percent"


@pytest.mark.parametrize("timesteps", [0, -1, 33])
def test_timesteps_outside_their_range(timesteps: int) -> None:
    with pytest.raises(EvenspikeError) as caught:
        draw_spikes(VGG16, timesteps, 5, 0)
    assert str(caught.value) == f"{timesteps} timesteps, 1 to 32 are possible"


def test_negative_numbers() -> None:
    with pytest.raises(EvenspikeError, match=r"^seed -7 is negative$"):
        draw(trace((2, 4, 4)), 5, seed=-7)
    with pytest.raises(EvenspikeError, match=r"^seed -7 is negative$"):
        draw_spikes(VGG16, 4, 5, -7)
    with pytest.raises(EvenspikeError, match=r"^-1 filters balanced together, 0 or more are"):
        draw(trace((2, 4, 4)), 5, balanced=-1)


# --- draws ----------------------------------------------------------------------------------


def test_weights_follow_from_the_seed() -> None:
    given = trace((8, 8, 8), (8, 8, 8))
    first, again, other = (draw(given, 30, seed=seed) for seed in (1, 1, 2))
    assert first.program.digest() == again.program.digest()
    assert not np.array_equal(weights(first), weights(first, 1)), "one layer after the other"
    assert not np.array_equal(weights(first), weights(other))


def test_spikes_follow_from_the_seed() -> None:
    first, again, other = (draw_spikes(RESIDUAL, 4, 30, seed).spikes for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["input"], other["input"])
    assert not np.array_equal(first["one"], first["two"])
    vgg = draw_spikes(VGG16, 4, 1, 0)
    assert [one.shape for one in vgg.spikes.values()] == list(VGG16.shapes.values())[:-1]
    assert draw_spikes(RESIDUAL, 4, 5, 10**40), "a seed has no upper limit"


@pytest.mark.parametrize("density", [0.0, 1.0, 25.5, 60.0, 100.0])
def test_weights_have_the_density(density: float) -> None:
    drawn = weights(draw(trace((64, 4, 4)), density, seed=3))
    share = np.count_nonzero(drawn) / drawn.size
    if density in (0, 100):
        assert share == density / 100
    sigma = (density / 100 * (1 - density / 100) / drawn.size) ** 0.5
    assert abs(share - density / 100) <= 4 * sigma
    if density >= 25:
        living = drawn[drawn != 0]
        assert (np.abs(living).min(), np.abs(living).max()) == (1, 127)
        assert abs((living > 0).mean() - 0.5) < 0.03
        assert abs(np.abs(living).mean() - 64) < 2


@pytest.mark.parametrize("timesteps", [1, 2, 4, 8, 9, 16, 17, 32])
@pytest.mark.parametrize("rate", [0.0, 5.0, 50.0, 100.0])
def test_spikes_have_the_rate_at_every_timestep(rate: float, timesteps: int) -> None:
    topology = stacked(["a"], [(32, 32, 32)])
    masks = draw_spikes(topology, timesteps, rate, 5).spikes["input"]
    assert masks.dtype == mask_type(timesteps)
    assert int(masks.max()) >> timesteps == 0
    fired = np.array([(masks >> t & 1).mean() for t in range(timesteps)])
    sigma = (rate / 100 * (1 - rate / 100) / masks.size) ** 0.5
    assert (np.abs(fired - rate / 100) <= 4.5 * sigma).all()
    if timesteps > 1:
        both = ((masks & 3) == 3).mean()
        assert abs(both - (rate / 100) ** 2) < 0.01, "timesteps are independent"
    assert masks.any() == (rate > 0)


@pytest.mark.parametrize("density", [0.0, 3.0, 40.0, 100.0])
def test_balanced_masks_are_a_u_tickets(density: float) -> None:
    """20 filters on 16 PEs: a group of 16 and one of 4, each with the mean of the draw, up."""
    spikes = draw_spikes(RESIDUAL, 4, 10, 0)
    free, even = (draw(spikes, density, balanced=group, seed=5) for group in (0, 16))
    for index, (before, after) in enumerate(zip(free.layers, even.layers, strict=True)):
        for at, (old, new) in enumerate(zip(before.segments, after.segments, strict=True)):
            if before.size == (1, 1) or before.is_identity(at):
                continue
            counts = [np.count_nonzero(s.weights, axis=(1, 2, 3)) for s in (old, new)]
            for start in (0, 16):
                drawn, given = (one[start : start + 16] for one in counts)
                assert set(given.tolist()) == {-(-int(drawn.sum()) // drawn.size)}, index
            both = (old.weights != 0) & (new.weights != 0)
            assert both.sum() == np.minimum(*counts).sum(), "none goes where another could stay"
            assert np.array_equal(old.weights[both], new.weights[both])
    assert np.array_equal(weights(free, 5), weights(even, 5)), "not a fully connected layer"
    assert np.array_equal(weights(free, 2, 1), weights(even, 2, 1)), "nor an identity"


def test_active_is_the_share_of_neurons_with_a_spike() -> None:
    masks = np.zeros((3, 2, 2), dtype=np.uint8)
    masks[1, 0, 0], masks[2] = 8, 15
    assert draw(read_trace({"a_in": masks}), 5).active[0].tolist() == [0.0, 0.25, 1.0]


def test_the_fitted_densities_are_those_of_vgg16() -> None:
    load = draw(draw_spikes(VGG16, 4, 0, 0))
    assert len(FITTED_DENSITY) == len(load.layers) == 12
    assert sum(one.weights for one in load.layers) == 14_710_464 - 1728, "all but conv1"
    assert 1 - sum(one.nnz for one in load.layers) / sum(one.weights for one in load.layers) == (
        pytest.approx(0.982, abs=0.001)
    )


def test_a_program_knows_what_it_was_drawn_from() -> None:
    made: Any = draw(trace((2, 4, 4)), 25, balanced=8, seed=3).program.provenance
    assert dict(made) == {"seed": 3, "density": [25.0], "balanced": 8}


@pytest.mark.parametrize(("rate", "active"), [(15.0, 22.0), (30.0, 40.0), (10.0, 39.0), (5.0, 5.0)])
def test_spikes_of_a_share_of_the_neurons(rate: float, active: float) -> None:
    masks = draw_spikes(stacked(["a"], [(64, 32, 32)]), 4, rate, 5, active).spikes["input"]
    assert (masks != 0).mean() == pytest.approx(active / 100, abs=0.008)
    fired = np.bitwise_count(masks).sum() / (4 * masks.size)
    assert fired == pytest.approx(rate / 100, abs=0.006)


@pytest.mark.parametrize("active", [4.9, 19.9, 0.0])
def test_a_share_that_the_rate_excludes(active: float) -> None:
    with pytest.raises(EvenspikeError) as caught:
        draw_spikes(VGG16, 4, 5.0, 0, active)
    assert str(caught.value) == (
        f"active {active} percent of the neurons, at a rate of 5.0 percent in 4 timesteps 5.0 to "
        "19.8 are possible, and above 0"
    )
    with pytest.raises(EvenspikeError) as caught:
        draw_spikes(VGG16, 4, 50.0, 0, 101.0)
    assert str(caught.value) == "active 101.0 is outside 0 to 100 percent"


def test_each_filter_may_have_its_density() -> None:
    shares = np.linspace(0, 100, 11)
    load = draw(trace((200, 4, 4), (11, 4, 4)), [shares, 50.0])
    alive = (load.layers[0].segments[0].weights != 0).reshape(11, -1).mean(axis=1)
    np.testing.assert_allclose(alive, shares / 100, atol=0.06)
    assert load.program.provenance["density"] == [50.0, 50.0]
    with pytest.raises(EvenspikeError) as caught:
        draw(trace((2, 4, 4), (3, 4, 4)), [np.ones(2), 5.0])
    assert str(caught.value) == "layer a: densities [2] for 3 filters"
    with pytest.raises(EvenspikeError) as caught:
        draw(trace((2, 4, 4), (3, 4, 4)), [np.array([1.0, 101.0, 1.0]), 5.0])
    assert str(caught.value) == "density 101.0 is outside 0 to 100 percent"


def test_resnet19_is_that_of_the_authors() -> None:
    """16 convolutions of the blocks and three shortcuts with weights; 553.6 million pairs."""
    load = draw(draw_spikes(RESNET19, 4, 0, 0), 100)
    layers = load.layers
    assert sum(len(layer.parameters) for layer in layers) == 19
    pairs = sum(layer.weights * layer.size[0] * layer.size[1] for layer in layers)
    assert pairs == pytest.approx(553.6e6, rel=1e-4)
