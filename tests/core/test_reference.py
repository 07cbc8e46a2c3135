"""The reference against a brute-force network that shares nothing with it but the Program."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import mask_type
from evenspike_core.program import PIXELS, Coding, Layer, Program, Readout, Segment
from evenspike_core.reference import (
    accumulate,
    convolve,
    encode,
    host_currents,
    max_pool,
    run,
    run_layer,
    timestep_planes,
)
from tests.helpers.networks import random_pixels, random_program

Volume = list[list[list[int]]]


def brute_force(program: Program, pixels: Any) -> tuple[list[Volume], list[int]]:
    """(masks of each layer but the last, logits): python integers, one weight at a time."""
    time = program.timesteps
    outputs: list[Volume] = []
    for layer in program.layers:
        if layer.coding in (Coding.RATE, Coding.LATENCY, Coding.FRAMES):
            outputs.append(coded(program, pixels))
            continue
        height, width = layer.size
        masks = [[[0] * width for _ in range(height)] for _ in range(layer.filters)]
        logits = []
        for f, y, x in np.ndindex(layer.filters, height, width):
            drives = [driven(layer, pixels, outputs, f, y, x, t) for t in range(time)]
            if layer.pool_first:
                # Each neuron of a window has the window's currents, so that their OR is its own.
                window = [
                    (y // layer.pool * layer.pool + i, x // layer.pool * layer.pool + j)
                    for i in range(layer.pool)
                    for j in range(layer.pool)
                ]
                drives = [
                    max(driven(layer, pixels, outputs, f, i, j, t) for i, j in window)
                    for t in range(time)
                ]
            masks[f][y][x], v = fire(layer, drives)
            if layer.readout is Readout.PSUM:
                logits.append(sum(drives))
            elif layer.readout is Readout.COUNT:
                logits.append(masks[f][y][x].bit_count())
            else:
                logits.append(v)
        outputs.append(pooled(masks, layer.pool))
    return outputs[:-1], logits


def coded(program: Program, pixels: Any) -> Volume:
    """The spikes of an encoder without neurons; draws come from the bytes' own generator."""
    layer, time = program.encoder, program.timesteps
    masks = np.zeros(program.shape, dtype=object)
    if layer.coding is Coding.RATE:
        seed = (layer.seed, zlib.crc32(pixels.tobytes()))
        draws = np.random.default_rng(seed).integers(0, 255, (time, *program.shape))
    for c, y, x in np.ndindex(*program.shape):
        if layer.coding is Coding.FRAMES:
            fires = [t for t in range(time) if pixels[t, c, y, x]]
        elif layer.coding is Coding.RATE:
            fires = [t for t in range(time) if draws[t, c, y, x] < pixels[c, y, x]]
        else:
            byte = int(pixels[c, y, x])
            fires = [math.floor(Fraction((255 - byte) * (time - 1), 255) + Fraction(1, 2))]
            fires = fires if byte else []
        masks[c, y, x] = sum(1 << t for t in fires)
    found: Volume = masks.tolist()
    return found


def driven(
    layer: Layer,
    pixels: Any,
    outputs: list[Volume],
    f: int,
    y: int,
    x: int,
    t: int,
) -> int:
    """Psum and bias, or current, of one neuron at one timestep."""
    total = int(layer.bias[f])
    for segment in layer.segments:
        if segment.source == PIXELS:
            frame = (pixels if pixels.ndim == 3 else pixels[t]).tolist()
            total += sum(byte * weight for byte, weight in taps(segment, frame, f, y, x))
        else:
            for mask, weight in taps(segment, outputs[segment.source], f, y, x):
                total += weight * (mask >> t & 1)
    if layer.shift:
        total = (total + 2 ** (layer.shift - 1)) // 2**layer.shift
    return total


def taps(segment: Segment, source: Volume, f: int, y: int, x: int) -> list[tuple[int, int]]:
    """(input, weight) of every living weight of filter f that output (y, x) sees."""
    found = []
    side, rows, columns = segment.average, len(source[0]), len(source[0][0])
    for c, r, s in np.argwhere(segment.weights[f]).tolist():
        top = y * segment.stride + r + segment.offset[0]
        left = x * segment.stride + s + segment.offset[1]
        weight = int(segment.weights[f, c, r, s])
        found += [
            (source[c][i][j], weight)
            for i in range(top * side, top * side + side)
            for j in range(left * side, left * side + side)
            if 0 <= i < rows and 0 <= j < columns
        ]
    return found


def fire(layer: Layer, drives: list[int]) -> tuple[int, int]:
    """(spike mask, last membrane) of one neuron."""
    mask = v = carry = 0
    for t, drive in enumerate(drives):
        u = carry + drive
        fired = u >= layer.threshold
        mask |= fired << t
        v = 0 if fired and layer.hard else u
        carry = math.floor(Fraction(layer.leak * v, 4096)) - (layer.reset if fired else 0)
    return mask, v


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
    assert len(activity.masks) == len(masks)
    assert activity.masks[0].tolist() == encode(program, pixels).tolist()
    for layer, ours, theirs in zip(program.layers, activity.masks, masks, strict=False):
        assert ours.dtype == mask_type(program.timesteps)
        assert ours.tolist() == theirs, layer.name
    assert activity.logits.dtype == np.int64
    assert activity.logits.tolist() == logits
    assert activity.overflow == (False,) * len(program.layers)
    assert activity.prediction == max(range(len(logits)), key=lambda c: (logits[c], -c))


@pytest.mark.parametrize("seed", range(150))
def test_brute_force(seed: int) -> None:
    program = random_program(seed, max_side=9, max_filters=5)
    check(program, random_pixels(program, seed))


def test_the_programs_of_the_brute_force_have_every_feature() -> None:
    programs = [random_program(seed, max_side=9, max_filters=5) for seed in range(150)]
    layers = [one for program in programs for one in program.layers]
    parts = [part for one in layers for part in one.segments]
    assert {one.coding for one in layers} == {None, *Coding}
    assert {one.readout for one in layers} == {None, *Readout}
    assert {one.hard for one in layers} == {True, False}
    assert {np.sign(one.reset) for one in layers} == {-1, 0, 1}
    assert any(one.pool_first for one in layers)
    assert {len(one.segments) for one in layers} == {0, 1, 2, 3}
    assert any(part.offset[0] > 0 for part in parts)
    assert any(part.offset[0] != part.offset[1] for part in parts)
    assert max(program.timesteps for program in programs) > 16
    pixels = [random_pixels(program, seed) for seed, program in enumerate(programs)]
    assert sum(one.ndim == 4 for one in pixels) > 20


@pytest.mark.parametrize("seed", range(1000, 1010))
def test_brute_force_wide(seed: int) -> None:
    program = random_program(seed, max_side=4, max_filters=17)
    check(program, random_pixels(program, seed))


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("average", [1, 2, 4])
def test_average_and_stride(average: int, pool: int) -> None:
    """An average pool in front of a strided convolution, which the random programs seldom have."""
    rng = np.random.default_rng(average + 10 * pool)
    host = Segment(PIXELS, rng.integers(-99, 99, (3, 1, 3, 3)).astype(np.int16), 1, (-1, -1))
    side = 16 // pool // average
    body = Segment(0, rng.integers(-99, 99, (2, 3, 3, 3)).astype(np.int16), 2, (-1, -1), average)
    out = (side + 1) // 2
    head = Segment(1, rng.integers(-99, 99, (2, 2, 1, 1)).astype(np.int16), average=out)
    zero = np.zeros(3, dtype=np.int32)
    layers = (
        Layer("first", (host,), zero, (16, 16), 9000, pool=pool, coding=Coding.DIRECT),
        Layer("second", (body,), zero[:2], (out, out), 100, 4096, False, 100),
        Layer("head", (head,), zero[:2], (1, 1), 0, readout=Readout.PSUM),
    )
    program = Program("averages", 4, (1, 16, 16), layers)
    check(program, random_pixels(program, 0))


def one_pixel(weight: int, bias: int, shift: int) -> Program:
    """One pixel, one weight, one neuron, one logit of weight 1."""
    first = Segment(PIXELS, np.full((1, 1, 1, 1), weight, dtype=np.int16))
    current = np.array([bias], dtype=np.int32)
    encoder = Layer("first", (first,), current, (1, 1), 5, shift=shift, coding=Coding.DIRECT)
    return Program("pixel", 2, (1, 1, 1), (encoder, head()))


def head(threshold: int = 0, **fields: Any) -> Layer:
    """One logit of weight 1 and bias 7, the sum of its drives unless stated."""
    segment = Segment(0, np.ones((1, 1, 1, 1), dtype=np.int16))
    fields.setdefault("readout", Readout.PSUM)
    bias = np.array([fields.pop("bias", 7)], dtype=np.int32)
    return Layer("head", (segment,), bias, (1, 1), threshold, **fields)


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
    assert result.tolist() == [[[[current]]]]


def test_spike_at_threshold_and_bias_of_logits() -> None:
    image = np.full((1, 1, 1), 5, dtype=np.uint8)
    activity = run(one_pixel(1, 0, 0), image)
    assert activity.masks[0].tolist() == [[[0b11]]]
    assert activity.logits.tolist() == [2 * (1 + 7)]
    assert run(one_pixel(1, -1, 0), image).masks[0].tolist() == [[[0b10]]]  # 4, then 4>>2 + 4 = 5


# --- encoders ---------------------------------------------------------------------------------


def handed_on(
    coding: Coding, timesteps: int, shape: tuple[int, int, int] = (1, 1, 1), seed: int = 0
) -> Program:
    """A network whose encoder has no neurons."""
    zero = np.zeros(shape[0], dtype=np.int32)
    first = Layer("first", (), zero, shape[1:], 1, coding=coding, seed=seed)
    reads = Segment(0, np.ones((1, shape[0], 1, 1), dtype=np.int16))
    return Program("coded", timesteps, shape, (first, replace(head(), segments=(reads,))))


def test_direct_coding_is_driven_alike_at_every_timestep_or_by_a_frame_for_each() -> None:
    program = replace(one_pixel(1, 0, 0), timesteps=20)
    image = np.full((1, 1, 1), 4, dtype=np.uint8)
    still = encode(program, image)
    assert still.dtype == np.uint32
    assert still.tolist() == [[[0b0101_0101_0101_0101_0101 << 1]]]  # 4, then 4>>2 + 4 = 5
    assert encode(program, np.tile(image, (20, 1, 1, 1))).tolist() == still.tolist()
    frames = np.zeros((20, 1, 1, 1), dtype=np.uint8)
    frames[[3, 4, 19]] = 5
    assert encode(program, frames).tolist() == [[[1 << 3 | 1 << 4 | 1 << 19]]]
    assert host_currents(program, frames)[:, 0, 0, 0].tolist() == frames[:, 0, 0, 0].tolist()


def test_a_pool_in_front_of_the_neurons_is_not_one_behind_them() -> None:
    """Two pixels that take turns: the larger current fires at each frame, each neuron seldom."""
    segment = Segment(PIXELS, np.ones((1, 1, 1, 1), dtype=np.int16))
    zero = np.zeros(1, dtype=np.int32)
    first = Layer("first", (segment,), zero, (2, 2), 10, 4096, pool=2, coding=Coding.DIRECT)
    program = Program("pools", 4, (1, 2, 2), (first, head()))
    frames = np.zeros((4, 1, 2, 2), dtype=np.uint8)
    frames[::2, 0, 0, 1] = frames[1::2, 0, 1, 0] = 6
    assert encode(program, frames).tolist() == [[[0b1100]]]
    largest = replace(program, layers=(replace(first, pool_first=True), head()))
    assert encode(largest, frames).tolist() == [[[0b1010]]]


def test_rate_coding_has_the_probability_of_the_byte() -> None:
    program = handed_on(Coding.RATE, 32, (4, 64, 64), seed=3)
    image = np.zeros((4, 64, 64), dtype=np.uint8)
    image[1:] = np.array([64, 191, 255])[:, None, None]
    planes = timestep_planes(encode(program, image), 32)
    for c, byte in enumerate((0, 64, 191, 255)):
        share = planes[:, c].mean(axis=(1, 2))
        sigma = (byte / 255 * (1 - byte / 255) / 4096) ** 0.5
        assert (np.abs(share - byte / 255) <= 4.5 * sigma).all()
    both = (planes[:-1, 1] & planes[1:, 1]).mean()
    assert abs(both - (64 / 255) ** 2) < 0.005, "timesteps are independent"


def test_rate_coding_follows_from_the_seed_and_the_image() -> None:
    image = np.full((2, 16, 16), 128, dtype=np.uint8)
    other = image.copy()
    other[0, 0, 0] += 1
    program, seeded = (handed_on(Coding.RATE, 8, (2, 16, 16), seed) for seed in (1, 2))
    first = encode(program, image)
    assert np.array_equal(first, encode(program, image))
    assert not np.array_equal(first, encode(seeded, image))
    assert not np.array_equal(first, encode(program, other))


@pytest.mark.parametrize(
    ("timesteps", "times"),
    [
        (1, {1: 0, 128: 0, 255: 0}),
        (2, {1: 1, 127: 1, 128: 0, 255: 0}),
        (4, {1: 3, 42: 3, 43: 2, 127: 2, 128: 1, 212: 1, 213: 0, 255: 0}),
        (32, {1: 31, 4: 31, 5: 30, 251: 0, 250: 1, 255: 0}),
    ],
)
def test_latency_coding_is_one_spike_the_earlier_the_larger(
    timesteps: int, times: dict[int, int]
) -> None:
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    masks = encode(handed_on(Coding.LATENCY, timesteps, (1, 16, 16)), image).reshape(-1).tolist()
    assert masks[0] == 0
    assert {byte: 1 << time for byte, time in times.items()} == {
        byte: masks[byte] for byte in times
    }
    assert all(mask.bit_count() == 1 for mask in masks[1:])
    assert masks[1:] == sorted(masks[1:], reverse=True)
    assert {mask.bit_length() for mask in masks[1:]} == set(range(1, timesteps + 1))


@pytest.mark.parametrize("timesteps", [1, 7, 8, 9, 16, 17, 32])
def test_frames_are_the_spikes_as_they_are(timesteps: int) -> None:
    rng = np.random.default_rng(timesteps)
    frames = (rng.integers(0, 256, (timesteps, 2, 3, 4)) * rng.integers(0, 2)).astype(np.uint8)
    frames[-1, 0, 0, 0] = 1
    masks = encode(handed_on(Coding.FRAMES, timesteps, (2, 3, 4)), frames)
    assert masks.dtype == mask_type(timesteps)
    assert timestep_planes(masks, timesteps).tolist() == (frames != 0).astype(int).tolist()


# --- read-outs --------------------------------------------------------------------------------


def test_what_each_read_out_gives() -> None:
    """Drives of 8, 8, 7, 8: a spike adds 1 to the bias. Threshold 10, half leaks away."""
    frames = np.array([1, 1, 0, 1], dtype=np.uint8).reshape(4, 1, 1, 1)
    program = handed_on(Coding.FRAMES, 4)

    def logit(readout: Readout, **fields: Any) -> int:
        last = head(10, leak=2048, readout=readout, **fields)
        return int(run(replace(program, layers=(program.layers[0], last)), frames).logits[0])

    assert logit(Readout.PSUM) == 31
    assert logit(Readout.COUNT) == 2  # 8, 12!, 7, 11!
    assert logit(Readout.MEMBRANE) == 0  # the last has fired
    assert logit(Readout.COUNT, hard=False, reset=10) == 1  # 8, 12!, 3, 9
    assert logit(Readout.MEMBRANE, hard=False, reset=10) == 9
    assert logit(Readout.MEMBRANE, hard=False, bias=-7) == -12  # -6, -9, -12 (-4.5 is -5), -12


# --- maps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_offsets_and_sizes_are_what_is_stated(kernel: int, stride: int, average: int) -> None:
    """Signed offsets that differ between the axes, maps larger and smaller than any padding's."""
    rng = np.random.default_rng((kernel, stride, average))
    maps = rng.integers(0, 2, (2, 2, 6, 4)).astype(np.uint8)
    weights = rng.integers(-9, 9, (3, 2, kernel, kernel)).astype(np.int16)
    offsets = [(0, 0), (-1, 2), (3, -4), (5, 3), (-255, 255), (6, 0), (-9, -9), (-kernel, -kernel)]
    for offset, size in zip(
        offsets, [(1, 1), (6, 4), (9, 2), (2, 9), (3, 3), (4, 1), (9, 9), (7, 5)], strict=True
    ):
        segment = Segment(0, weights, stride, offset, average)
        found = convolve(maps, segment, size)
        assert found.shape == (2, 3, *size)
        for t, f, y, x in np.ndindex(2, 3, *size):
            exact = sum(w * value for value, w in taps(segment, maps[t].tolist(), f, y, x))
            assert found[t, f, y, x] == exact, (offset, size)


def test_an_output_that_reads_nothing_has_its_bias_alone() -> None:
    program = handed_on(Coding.FRAMES, 3)
    last = replace(head(), segments=(Segment(0, np.ones((1, 1, 3, 3), np.int16), 2, (1, 0)),))
    program = replace(program, layers=(program.layers[0], last))
    assert run(program, np.ones((3, 1, 1, 1), dtype=np.uint8)).logits.tolist() == [21]


# --- widths -----------------------------------------------------------------------------------


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
        coding=Coding.DIRECT,
    )
    last = replace(head(), segments=(Segment(0, weights),), bias=np.zeros(1, dtype=np.int32))
    object.__setattr__(program, "layers", (first, last))
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
    inputs = dict(enumerate(activity.masks))
    for index, masks in list(inputs.items())[1:]:
        result = run_layer(program, index, inputs)
        assert result.masks is not None
        assert result.masks.tolist() == masks.tolist()
        assert result.psum.shape == (
            program.timesteps,
            program.layers[index].filters,
            *program.layers[index].size,
        )
        assert result.logits is None
    last = run_layer(program, len(program.layers) - 1, inputs)
    assert last.masks is None
    assert last.logits is not None
    assert last.logits.tolist() == activity.logits.tolist()


WRONG: list[tuple[Coding, Any, str]] = [
    (
        Coding.DIRECT,
        np.zeros((1, 1, 2), np.uint8),
        "uint8 (1, 1, 2), not uint8 (1, 1, 1) or (2, 1, 1, 1)",
    ),
    (
        Coding.DIRECT,
        np.zeros((1, 1), np.uint8),
        "uint8 (1, 1), not uint8 (1, 1, 1) or (2, 1, 1, 1)",
    ),
    (
        Coding.DIRECT,
        np.zeros((3, 1, 1, 1), np.uint8),
        "uint8 (3, 1, 1, 1), not uint8 (1, 1, 1) or (2, 1, 1, 1)",
    ),
    (Coding.DIRECT, np.zeros((1, 1, 1)), "float64 (1, 1, 1), not uint8 (1, 1, 1) or (2, 1, 1, 1)"),
    (Coding.RATE, np.zeros((2, 1, 1, 1), np.uint8), "uint8 (2, 1, 1, 1), not uint8 (1, 1, 1)"),
    (Coding.LATENCY, np.zeros((2, 1, 1, 1), np.uint8), "uint8 (2, 1, 1, 1), not uint8 (1, 1, 1)"),
    (Coding.FRAMES, np.zeros((1, 1, 1), np.uint8), "uint8 (1, 1, 1), not uint8 (2, 1, 1, 1)"),
]


@pytest.mark.parametrize(("coding", "pixels", "message"), WRONG)
def test_wrong_pixels(coding: Coding, pixels: Any, message: str) -> None:
    program = one_pixel(1, 0, 0) if coding is Coding.DIRECT else handed_on(coding, 2)
    for refuses in (run, encode):
        with pytest.raises(EvenspikeError) as caught:
            refuses(program, pixels)
        assert str(caught.value) == f"layer first: the pixels are {message} ({coding} coding)"


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
    found = convolve(maps, Segment(0, weights, average=average), (1, 1)).reshape(2)
    exact = weights.astype(np.int64).sum(axis=(1, 2, 3)) * average**2
    assert found.tolist() == exact.tolist()
    assert 2**23 - 2 * 2**15 < exact[0] < 2**23
