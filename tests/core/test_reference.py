"""The reference against a brute-force network that shares nothing with it but the Program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import Leak, Reset
from evenspike_core.program import PIXELS, Layer, Program, Segment
from evenspike_core.reference import accumulate, convolve, host_currents, max_pool, run, run_layer
from tests.helpers.networks import random_pixels, random_program

Volume = list[list[list[int]]]


def brute_force(program: Program, pixels: Any) -> tuple[list[Volume], list[int]]:
    """(masks of each layer but the last, logits): python integers, one weight at a time."""
    outputs: dict[int, Volume] = {PIXELS: pixels.tolist()}
    time = program.timesteps
    for index, layer in enumerate(program.layers):
        height, width = layer.size
        masks = [[[0] * width for _ in range(height)] for _ in range(layer.filters)]
        logits = []
        for f in range(layer.filters):
            for y in range(height):
                for x in range(width):
                    current = [int(layer.bias[f])] * time
                    for segment in layer.segments:
                        source = outputs[segment.source]
                        for inputs, weight in taps(segment, source, f, y, x):
                            for t in range(time):
                                bit = inputs if segment.source == PIXELS else inputs >> t & 1
                                current[t] += weight * bit
                    if layer.shift:
                        half = 2 ** (layer.shift - 1)
                        current = [(c + half) // 2**layer.shift for c in current]
                    if layer.last:
                        logits.append(sum(current))
                    masks[f][y][x] = fire(layer, current)
        outputs[index] = pooled(masks, layer.pool)
    return [outputs[index] for index in range(len(program.layers) - 1)], logits


def taps(segment: Segment, source: Volume, f: int, y: int, x: int) -> list[tuple[int, int]]:
    """(input, weight) of every living weight of filter f that output (y, x) sees."""
    found = []
    side, rows, columns = segment.average, len(source[0]), len(source[0][0])
    for c, r, s in np.argwhere(segment.weights[f]).tolist():
        top = y * segment.stride + r - segment.padding
        left = x * segment.stride + s - segment.padding
        weight = int(segment.weights[f, c, r, s])
        found += [
            (source[c][i][j], weight)
            for i in range(top * side, top * side + side)
            for j in range(left * side, left * side + side)
            if 0 <= i < rows and 0 <= j < columns
        ]
    return found


def fire(layer: Layer, current: list[int]) -> int:
    """The spike mask of one neuron."""
    u, mask = 0, 0
    for t, value in enumerate(current):
        if layer.leak is Leak.QUARTER:
            u = u // 4
        elif layer.leak is Leak.HALF:
            u = u // 2
        elif layer.leak is Leak.THREE_QUARTERS:
            u = u - u // 4
        u += value
        if u >= layer.threshold:
            mask |= 1 << t
            u = 0 if layer.reset is Reset.HARD else u - layer.threshold
    return mask


def pooled(masks: Volume, side: int) -> Volume:
    height, width = len(masks[0]), len(masks[0][0])
    out = [[[0] * (width // side) for _ in range(height // side)] for _ in masks]
    for f, plane in enumerate(masks):
        for y in range(height):
            for x in range(width):
                out[f][y // side][x // side] |= plane[y][x]
    return out


def check(program: Program, pixels: Any) -> None:
    masks, logits = brute_force(program, pixels)
    activity = run(program, pixels)
    for layer, ours, theirs in zip(program.layers, activity.masks, masks, strict=False):
        assert ours.dtype == np.uint8
        assert ours.tolist() == theirs, layer.name
    assert activity.logits.dtype == np.int64
    assert activity.logits.tolist() == logits
    assert activity.overflow == (False,) * len(program.layers)
    assert activity.prediction == max(range(len(logits)), key=lambda c: (logits[c], -c))


@pytest.mark.parametrize("seed", range(150))
def test_brute_force(seed: int) -> None:
    program = random_program(seed, max_side=9, max_filters=5)
    check(program, random_pixels(program, seed))


@pytest.mark.parametrize("seed", range(1000, 1010))
def test_brute_force_wide(seed: int) -> None:
    program = random_program(seed, max_side=4, max_filters=17)
    check(program, random_pixels(program, seed))


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("average", [1, 2, 4])
def test_average_and_stride(average: int, pool: int) -> None:
    """An average pool in front of a strided convolution, which the random programs seldom have."""
    rng = np.random.default_rng(average + 10 * pool)
    host = Segment(PIXELS, rng.integers(-99, 99, (3, 1, 3, 3)).astype(np.int16), padding=1)
    side = 16 // pool // average
    body = Segment(0, rng.integers(-99, 99, (2, 3, 3, 3)).astype(np.int16), 2, 1, average)
    out = (side + 1) // 2
    head = Segment(1, rng.integers(-99, 99, (2, 2, 1, 1)).astype(np.int16), average=out)
    zero = np.zeros(3, dtype=np.int32)
    layers = (
        Layer("first", (host,), zero, (16, 16), 9000, pool=pool),
        Layer("second", (body,), zero[:2], (out, out), 100, Leak.ONE, Reset.SOFT),
        Layer("head", (head,), zero[:2], (1, 1), 0, last=True),
    )
    program = Program("averages", 4, (1, 16, 16), layers)
    check(program, random_pixels(program, 0))


def one_pixel(weight: int, bias: int, shift: int) -> Program:
    """One pixel, one weight, one neuron, one logit of weight 1."""
    first = Segment(PIXELS, np.full((1, 1, 1, 1), weight, dtype=np.int16))
    head = Segment(0, np.ones((1, 1, 1, 1), dtype=np.int16))
    return Program(
        "pixel",
        2,
        (1, 1, 1),
        (
            Layer("first", (first,), np.array([bias], dtype=np.int32), (1, 1), 5, shift=shift),
            Layer("head", (head,), np.array([7], dtype=np.int32), (1, 1), 0, last=True),
        ),
    )


@pytest.mark.parametrize(
    ("weight", "bias", "shift", "pixel", "current"),
    [
        (3, 1, 0, 10, 31),
        (3, 0, 2, 2, 2),  # 6 / 4 = 1.5, half goes up
        (-3, 0, 2, 2, -1),  # -1.5, half goes up
        (3, 2, 3, 1, 1),  # 5 / 8
        (-1, 0, 31, 255, 0),
        (0, -(2**31) + 1, 31, 0, -1),
        (0, 2**31 - 1, 31, 0, 1),
    ],
)
def test_host_rounding(weight: int, bias: int, shift: int, pixel: int, current: int) -> None:
    program = one_pixel(weight, bias, shift)
    result = host_currents(program, np.full((1, 1, 1), pixel, dtype=np.uint8))
    assert result.dtype == np.int32
    assert result.tolist() == [[[current]]]


def test_spike_at_threshold_and_bias_of_logits() -> None:
    image = np.full((1, 1, 1), 5, dtype=np.uint8)
    activity = run(one_pixel(1, 0, 0), image)
    assert activity.masks[0].tolist() == [[[0b11]]]
    assert activity.logits.tolist() == [2 * (1 + 7)]
    assert run(one_pixel(1, -1, 0), image).masks[0].tolist() == [[[0b10]]]  # 4, then 4>>2 + 4 = 5


def test_accumulators_saturate() -> None:
    high, low = 2**23 - 1, -(2**23)
    exact = np.array([high, low, 0])
    assert accumulate(exact)[0].tolist() == exact.tolist()
    assert not accumulate(exact)[1]
    psum, overflow = accumulate(np.array([high + 1, low - 1, 5]))
    assert psum.tolist() == [high, low, 5]
    assert overflow


def test_overflow_is_reported() -> None:
    """A Program that went round the range proof: the flag is the layer's, the psum saturates."""
    program = one_pixel(1, 0, 0)
    weights = np.full((1, 300, 1, 1), 32767, dtype=np.int16)
    first = Layer(
        "first",
        (Segment(PIXELS, np.ones((300, 1, 1, 1), dtype=np.int16)),),
        np.zeros(300, dtype=np.int32),
        (1, 1),
        1,
    )
    head = Layer("head", (Segment(0, weights),), np.zeros(1, dtype=np.int32), (1, 1), 0, last=True)
    object.__setattr__(program, "layers", (first, head))
    activity = run(program, np.ones((1, 1, 1), dtype=np.uint8))
    assert activity.overflow == (False, True)
    assert activity.logits.tolist() == [2 * (2**23 - 1)]


def test_currents_outside_24_bits_are_refused() -> None:
    program = one_pixel(1, 0, 0)
    first = program.layers[0]
    object.__setattr__(first, "bias", np.array([2**23 - 1], dtype=np.int32))
    with pytest.raises(EvenspikeError) as caught:
        host_currents(program, np.ones((1, 1, 1), dtype=np.uint8))
    assert str(caught.value) == (
        "layer first: current 8388608 is outside -8388608 to 8388607 (24 bit)"
    )


def test_max_pool_is_or() -> None:
    masks = np.array([[[1, 2, 0, 0], [4, 8, 0, 128]]], dtype=np.uint8)
    assert max_pool(masks, 2).tolist() == [[[15, 128]]]
    assert max_pool(masks, 1).tolist() == masks.tolist()


def test_layers_one_by_one() -> None:
    program = random_program(3, max_side=7)
    pixels = random_pixels(program, 0)
    activity = run(program, pixels)
    inputs = {PIXELS: pixels} | dict(enumerate(activity.masks))
    for index, masks in enumerate(activity.masks):
        result = run_layer(program, index, inputs)
        assert result.masks is not None
        assert result.masks.tolist() == masks.tolist()
        assert result.psum.shape == (
            program.timesteps,
            program.layers[index].filters,
            *program.layers[index].size,
        )
    assert run_layer(program, len(program.layers) - 1, inputs).masks is None


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((1, 1, 2), np.uint8), "uint8 (1, 1, 2), not uint8 (1, 1, 1)"),
        (np.zeros((1, 1), np.uint8), "uint8 (1, 1), not uint8 (1, 1, 1)"),
        (np.zeros((1, 1, 1)), "float64 (1, 1, 1), not uint8 (1, 1, 1)"),
    ],
)
def test_wrong_pixels(pixels: Any, message: str) -> None:
    with pytest.raises(EvenspikeError) as caught:
        run(one_pixel(1, 0, 0), pixels)
    assert str(caught.value) == f"layer first: the pixels are {message}"


def test_wrong_inputs_of_a_layer() -> None:
    program = one_pixel(1, 0, 0)
    with pytest.raises(EvenspikeError) as caught:
        run_layer(program, 1, {})
    assert str(caught.value) == "layer head: the spikes of first are missing"
    with pytest.raises(EvenspikeError) as caught:
        run_layer(program, 1, {0: np.full((1, 1, 1), 4, dtype=np.uint8)})
    assert str(caught.value) == (
        "layer head: the spikes of first hold a mask of 0x4, more than 2 timesteps"
    )


@pytest.mark.parametrize("average", [1, 8])
def test_sums_are_exact_up_to_what_the_range_proof_allows(average: int) -> None:
    """|sums| just below 2^23: odd ones, of which a float has no bit to spare."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-1, 2, (2, 512, 1, 1)).astype(np.int16)
    largest = (2**23 - 1) // average**2
    whole, rest = divmod(largest - 511, 2**15 - 1)
    weights[0] = 1
    weights[0, :whole] = 2**15 - 1
    weights[0, whole] = rest
    weights[1] = -weights[0]
    maps = np.ones((1, 512, average, average), dtype=np.uint8)
    found = convolve(maps, Segment(0, weights, average=average)).reshape(2)
    exact = weights.astype(np.int64).sum(axis=(1, 2, 3)) * average**2
    assert found.tolist() == exact.tolist()
    assert 2**23 - 2 * 2**15 < exact[0] < 2**23
