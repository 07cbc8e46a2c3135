"""Spikes and masks for other simulators: what is written holds what was run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evenspike_core import exchange, reference
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import pack_masks
from evenspike_core.program import Segment
from evenspike_core.recording import read_trace
from evenspike_core.topology import Topology, described
from evenspike_core.workload import VGG16, draw_spikes
from tests.helpers.tickets import small_program

RESIDUAL = Topology(
    (6, 8, 8),
    described(
        [
            {"name": "one", "filters": 8, "stride": 2},
            {"name": "two", "filters": 8, "shortcut": {"source": "input", "stride": 2}},
            {"name": "three", "filters": 8, "shortcut": {"source": "two", "identity": True}},
            {"name": "fc", "filters": 5, "kernel": 1, "average": 4},
            {"name": "out", "filters": 3, "kernel": 1},
        ]
    ),
)


def drawn(timesteps: int = 4) -> exchange.Recorded:
    return exchange.Recorded("drawn", draw_spikes(RESIDUAL, timesteps, 30, 1))


@pytest.mark.parametrize("timesteps", [1, 4, 8, 9])
def test_npz_comes_back(timesteps: int) -> None:
    given = drawn(timesteps)
    found = read_trace(exchange.arrays(given))
    assert found.topology == RESIDUAL
    assert found.timesteps == timesteps
    assert set(found.spikes) == set(given.trace.spikes)
    for name, masks in given.trace.spikes.items():
        np.testing.assert_array_equal(found.spikes[name], masks)


def test_a_network_without_a_description_comes_back() -> None:
    given = exchange.Recorded("vgg", draw_spikes(VGG16, 4, 20, 1))
    arrays = exchange.arrays(given)
    assert "layers" not in arrays
    found = read_trace(arrays)
    assert found.topology == VGG16
    for name, masks in given.trace.spikes.items():
        np.testing.assert_array_equal(found.spikes[name], masks)


def test_prosperity_has_every_spike_of_every_convolution() -> None:
    given = drawn()
    lists = exchange.prosperity(given)
    spikes = given.trace.spikes
    wanted = [spikes["input"], spikes["one"], spikes["input"], spikes["two"]]
    assert [one.shape for one in lists["Conv2d"]] == [(4, *one.shape) for one in wanted]
    assert [one.shape for one in lists["Linear"]] == [(4, 5)]
    assert exchange.averaged(RESIDUAL) == ["fc"]
    assert {one.dtype for each in lists.values() for one in each} == {np.dtype(bool)}
    *back, linear = exchange.masks_of(lists)
    for found, masks in zip(back, wanted, strict=True):
        np.testing.assert_array_equal(found, masks)
    np.testing.assert_array_equal(linear, spikes["fc"][:, 0, 0])


def test_planes_and_masks() -> None:
    masks = np.array([[0b0001, 0b1010]], dtype=np.uint8)
    planes = exchange.planes(masks, 4)
    assert planes.tolist() == [[[1, 0]], [[0, 1]], [[0, 0]], [[0, 1]]]
    np.testing.assert_array_equal(pack_masks(planes), masks)


def test_sata_has_the_shapes() -> None:
    text = exchange.sata(drawn())
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    pairs = [(line.split(": ")[0], line.split(": ")[1]) for line in lines if ": " in line]
    fields = dict(pairs[:2])
    spikes = draw_spikes(RESIDUAL, 4, 30, 1).spikes
    fired = sum(int(np.bitwise_count(one).sum()) for one in spikes.values())
    neurons = sum(one.size for one in spikes.values())
    assert fields["timestep"] == "4"
    assert float(fields["sparsity"]) == pytest.approx(1 - fired / (4 * neurons), abs=1e-6)
    names = [value.strip('"') for key, value in pairs if key == "name"]
    assert names == ["one", "two", "two.shortcut", "three", "fc", "out"]
    keys = [key for key, _ in pairs[2:10]]
    assert keys == [
        "name", "IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channels",
        "Num Filter", "Strides",
    ]  # fmt: skip
    rows = [[int(value) for _, value in pairs[n + 1 : n + 8]] for n in range(2, len(pairs), 8)]
    assert rows == [
        [8, 8, 3, 3, 6, 8, 2],
        [4, 4, 3, 3, 8, 8, 1],
        [8, 8, 1, 1, 6, 8, 2],
        [4, 4, 3, 3, 8, 8, 1],
        [1, 1, 1, 1, 8, 5, 1],
        [1, 1, 1, 1, 5, 3, 1],
    ]


def test_a_program_is_recorded_with_its_masks() -> None:
    program = small_program()
    pixels = np.random.default_rng(1).integers(0, 256, program.shape).astype(np.uint8)
    found = reference.run(program, pixels)
    given = exchange.record(program, found.masks)
    again = read_trace(exchange.arrays(given))
    for name, masks in zip(("input", "body"), found.masks, strict=True):
        np.testing.assert_array_equal(again.spikes[name], masks)
    assert [layer.filters for layer in again.topology.layers] == [20, 10]
    alive = exchange.weights(given)
    assert list(alive) == ["body", "last"]
    for layer in program.layers[1:]:
        np.testing.assert_array_equal(alive[layer.name], layer.segments[0].weights != 0)


def test_what_a_trace_cannot_describe_is_named() -> None:
    program = small_program()
    first, body, last = program.layers
    zero = Segment(0, np.zeros((20, 5, 3, 3), np.int16), 1, (-1, -1))
    three = replace(body, segments=(*body.segments, zero, zero))
    crooked = replace(body, segments=(replace(body.segments[0], offset=(0, -1)),))
    for layer, says in (
        (three, "small: layer body has 3 inputs, a trace describes 2"),
        (crooked, "small: layer body: its input is not one that a trace describes"),
    ):
        with pytest.raises(EvenspikeError) as caught:
            exchange.record(replace(program, layers=(first, layer, last)), ())
        assert str(caught.value) == says
