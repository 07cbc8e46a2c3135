"""Integer arithmetic against exact rationals and a scalar neuron."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenspike_core.fixed import (
    ACCUMULATOR_BITS,
    LEAK_ONE,
    WEIGHT_BITS,
    Neuron,
    leak,
    mask_type,
    pack_masks,
    saturate,
    signed_range,
)

LOW, HIGH = -(2**23), 2**23 - 1
membranes = st.integers(LOW, HIGH)
leaks = st.one_of(st.integers(0, LEAK_ONE), st.sampled_from([0, 1, 1024, 2048, 3686, 4095, 4096]))
amounts = st.one_of(st.integers(-30, 30), st.integers(-HIGH, HIGH))
thresholds = st.one_of(st.integers(1, 30), st.integers(1, HIGH))
neurons = st.builds(Neuron, thresholds, leaks, st.booleans(), amounts)
drives = st.lists(st.one_of(membranes, st.integers(-40, 40)), min_size=1, max_size=32)


def test_ranges() -> None:
    assert signed_range(WEIGHT_BITS) == (-32768, 32767)
    assert signed_range(ACCUMULATOR_BITS) == (LOW, HIGH)


def test_saturate() -> None:
    values = [LOW - 1, LOW, -1, 0, HIGH, HIGH + 1, 2**40]
    assert saturate(values).tolist() == [LOW, LOW, -1, 0, HIGH, HIGH, HIGH]
    assert saturate([[200, -200]], bits=8).tolist() == [[127, -128]]
    assert saturate([1]).dtype == np.int64


# --- masks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("timesteps", range(1, 33))
def test_a_mask_has_a_bit_for_each_timestep(timesteps: int) -> None:
    spikes = np.random.default_rng(timesteps).integers(0, 2, (timesteps, 3, 2))
    masks = pack_masks(spikes)
    assert masks.dtype == mask_type(timesteps)
    assert masks.itemsize == (1 if timesteps <= 8 else 2 if timesteps <= 16 else 4)
    for c, x in np.ndindex(3, 2):
        assert int(masks[c, x]) == sum(2**t for t in range(timesteps) if spikes[t, c, x])
    last = np.zeros((timesteps, 1), dtype=bool)
    last[-1] = True
    assert pack_masks(last).tolist() == [2 ** (timesteps - 1)]


@pytest.mark.parametrize("timesteps", [-1, 0, 33])
def test_a_mask_of_no_type(timesteps: int) -> None:
    with pytest.raises(ValueError, match=f"holds 1 to 32 timesteps, not {timesteps}$"):
        mask_type(timesteps)


# --- leak -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "before", "after"),
    [
        (0, [7, 0, -1, LOW, HIGH], [0, 0, 0, 0, 0]),
        (1, [4095, 4096, -1, -4097], [0, 1, -1, -2]),
        (1024, [7, 8, -1, -4, -5], [1, 2, -1, -1, -2]),
        (2048, [7, 8, -1, -4, -5], [3, 4, -1, -2, -3]),
        (3072, [7, 8, -1, -4, -5], [5, 6, -1, -3, -4]),
        (3686, [9, -9, 0], [8, -9, 0]),
        (4096, [7, 8, -1, LOW, HIGH], [7, 8, -1, LOW, HIGH]),
    ],
)
def test_leak_examples(n: int, before: list[int], after: list[int]) -> None:
    assert leak(before, n).tolist() == after


@given(membranes, leaks)
def test_leak_is_the_floor_of_the_exact_product(u: int, n: int) -> None:
    assert leak(u, n) == math.floor(u * Fraction(n, 4096))


# --- neurons ----------------------------------------------------------------------------------


def scalar(one: Neuron, drive: Sequence[int]) -> tuple[int, int, list[int]]:
    """(spike mask, last v, every u) of one neuron, in python integers."""
    u = v = mask = 0
    seen = []
    for t, x in enumerate(drive):
        left = 0 if t == 0 else math.floor(Fraction(one.leak, 4096) * v)
        if t and mask >> (t - 1) & 1:
            left -= one.reset
        u = max(LOW, min(HIGH, left + x))
        seen.append(u)
        fired = u >= one.threshold
        mask |= fired << t
        v = 0 if fired and one.hard else u
    return mask, v, seen


@given(neurons, drives)
def test_a_neuron_is_the_scalar_one(one: Neuron, drive: list[int]) -> None:
    masks, membrane = one.run(np.array(drive, dtype=np.int64))
    expected, v, _ = scalar(one, drive)
    assert masks.dtype == mask_type(len(drive))
    assert (int(masks), int(membrane)) == (expected, v)


def ran(one: Neuron, *drive: int) -> tuple[int, int]:
    masks, membrane = one.run(np.array(drive, dtype=np.int64))
    return int(masks), int(membrane)


def test_neuron_examples() -> None:
    """The comments follow u; ! is a spike. Reaching the threshold counts."""
    hard, half = Neuron(10, 1024), LEAK_ONE // 2
    assert ran(hard, 8, 8, 0) == (0b010, 0)  # 8, 10!, 0
    assert ran(Neuron(10, LEAK_ONE), 12, 8, 0) == (0b001, 8)  # 12!, 8, 8
    delayed = Neuron(10, LEAK_ONE, False, 10)
    assert ran(delayed, 12, 8, 0) == (0b011, 0)  # 12!, 10!, 0
    assert ran(Neuron(10, half, False, 10), 30, 0, 0) == (0b001, 2)  # 30!, 5, 2
    at_once = Neuron(10, half, False, 5)
    assert ran(at_once, 30, 0, 0) == (0b011, 0)  # 30!, 10!, 0
    assert ran(Neuron(10, half, False, 0), 30, 0, 0) == (0b011, 7)  # 30!, 15!, 7
    assert ran(Neuron(10, half, True, -3), 30, 0, 0) == (0b001, 1)  # 30!, 3, 1
    assert ran(Neuron(6, half), -100, 20, 20) == (0b000, 5)  # -100, -30, 5
    assert ran(Neuron(HIGH, LEAK_ONE), 2 * HIGH, HIGH) == (0b11, 0)
    # the membrane saturates: LOW, LOW (not 2 * LOW), -1, HIGH - 1!
    assert ran(Neuron(5, LEAK_ONE), LOW, LOW, HIGH, HIGH) == (0b1000, 0)


def test_one_that_leaves_nine_tenths() -> None:
    one = Neuron(100, 3686)
    assert ran(one, 9, 0) == (0, 8)
    assert ran(one, -9, 0) == (0, -9), "the floor of -8.1"
    assert ran(one, -9, *[0] * 31) == (0, -9), "where it stays"


def test_the_last_membrane_is_what_the_reset_leaves() -> None:
    assert ran(Neuron(5), 7) == (1, 0)
    assert ran(Neuron(5, LEAK_ONE, False, 5), 7) == (1, 7), "the amount goes with the next drive"


@given(
    st.integers(1, 200),
    st.sampled_from([1024, 2048, 3072, 4096]),
    st.lists(st.integers(-300, 300), min_size=1, max_size=32),
)
def test_a_threshold_taken_off_at_once(multiple: int, n: int, drive: list[int]) -> None:
    """Where n * threshold / 4096 is whole: u - threshold, which leaks afterwards."""
    threshold = 4 * multiple
    one = Neuron(threshold, n, False, n * threshold // 4096)
    u, mask = 0, 0
    for t, x in enumerate(drive):
        u = math.floor(Fraction(n, 4096) * u) + x
        if u >= threshold:
            mask |= 1 << t
            u -= threshold
    assert ran(one, *drive)[0] == mask


@given(
    st.integers(1, 200),
    leaks,
    st.integers(-100, 100),
    st.lists(st.integers(-300, 300), min_size=1, max_size=32),
)
def test_a_hard_reset_to_a_voltage(margin: int, n: int, voltage: int, drive: list[int]) -> None:
    """In membranes counted from the voltage, to which they leak, it is a reset to 0."""
    one = Neuron(margin, n)
    u, mask, last = voltage, 0, voltage
    for t, x in enumerate(drive):
        u = voltage + math.floor(Fraction(n, 4096) * (last - voltage)) + x
        last = u
        if u >= voltage + margin:
            mask |= 1 << t
            last = voltage
    assert ran(one, *drive) == (mask, last - voltage)


@given(neurons, drives)
def test_a_hard_reset_leaves_minus_its_amount(one: Neuron, drive: list[int]) -> None:
    """So a negative amount is a hard reset to a voltage of its own, whatever fired."""
    one = Neuron(one.threshold, one.leak, True, one.reset)
    mask, _, seen = scalar(one, drive)
    for t, x in enumerate(drive[1:]):
        if mask >> t & 1:
            assert seen[t + 1] == max(LOW, min(HIGH, x - one.reset))
    assert ran(one, *drive)[0] == mask


def test_neurons_of_any_shape() -> None:
    drive = np.arange(4 * 2 * 3).reshape(4, 2, 3) - 10
    one = Neuron(7, 2048, False, 3)
    masks, membranes = one.run(drive)
    assert masks.shape == membranes.shape == (2, 3)
    assert membranes.dtype == np.int64
    for f, x in np.ndindex(2, 3):
        mask, v, _ = scalar(one, drive[:, f, x].tolist())
        assert [int(masks[f, x]), int(membranes[f, x])] == [mask, v]


def test_a_neuron_has_at_most_32_timesteps() -> None:
    assert ran(Neuron(1), *[0] * 31, 1) == (1 << 31, 0)
    with pytest.raises(ValueError, match="a spike mask holds 1 to 32 timesteps, not 33"):
        Neuron(1).run(np.zeros(33, dtype=np.int64))


# --- bound ------------------------------------------------------------------------------------


def bound(one: Neuron, magnitude: int, timesteps: int) -> int:
    return int(one.bound(np.array([magnitude], dtype=np.int64), timesteps)[0])


def largest(one: Neuron, magnitude: int, timesteps: int) -> int:
    """The largest |u| of any drives at all, by trying every one at every timestep."""
    states, most = {(0, False)}, 0
    for t in range(timesteps):
        membranes = set()
        for v, fired in states:
            left = 0 if t == 0 else math.floor(Fraction(one.leak, 4096) * v) - one.reset * fired
            membranes |= {left + x for x in range(-magnitude, magnitude + 1)}
        most = max(most, *(abs(u) for u in membranes))
        states = {
            (0 if one.hard and u >= one.threshold else u, u >= one.threshold) for u in membranes
        }
    return most


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("n", [0, 700, 1024, 2048, 3072, 3686, 4096])
def test_the_bound_is_what_the_worst_drives_reach(n: int, hard: bool) -> None:
    tight = 0
    for threshold, reset, magnitude, timesteps in product(
        (1, 3, 9), (-7, -2, 0, 2, 3, 20), (0, 1, 2, 4), (1, 2, 3, 6)
    ):
        one = Neuron(threshold, n, hard, reset)
        found, least = bound(one, magnitude, timesteps), largest(one, magnitude, timesteps)
        assert found >= least, (one, magnitude, timesteps)
        assert found == least or reset, (one, magnitude, timesteps)
        tight += found == least
    assert tight > 0.9 * 3 * 6 * 4 * 4


@given(neurons, st.integers(0, HIGH), st.integers(0), st.integers(1, 32))
def test_no_drive_exceeds_the_bound(one: Neuron, most: int, seed: int, timesteps: int) -> None:
    rng = np.random.default_rng(seed)
    limit = bound(one, most, timesteps)
    extremes = rng.choice([-most, most], timesteps).tolist()
    for drive in (
        rng.integers(-most, most + 1, timesteps).tolist(),
        extremes,
        [most] * timesteps,
        [-most] * timesteps,
    ):
        _, _, seen = scalar(one, drive)
        assert max(abs(u) for u in seen) <= limit


def test_the_bound_of_many_filters_and_of_what_is_beyond_all_bounds() -> None:
    magnitude = np.array([0, 3, 2**22, 2**62], dtype=np.int64)
    assert Neuron(HIGH, 4096).bound(magnitude, 4).tolist() == [0, 12, 2**24, 2**40]
    assert Neuron(HIGH, 2048).bound(magnitude, 4).tolist() == [0, 6, 15 * 2**19, 2**40]
    assert Neuron(HIGH, 0).bound(magnitude, 32).tolist() == [0, 3, 2**22, 2**40]


def test_an_amount_counts_only_where_a_neuron_can_fire() -> None:
    assert bound(Neuron(13, 4096, False, 1000), 3, 4) == 12
    assert bound(Neuron(12, 4096, False, 1000), 3, 5) == 991, "12, which fires, and -3 behind it"


@pytest.mark.parametrize("n", [1024, 2048, 3072, 3686, 4095])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_range_proof_holds_with_rounding(n: int, sign: int) -> None:
    """The largest drives that it allows never leave 24 bits, though the leak rounds."""
    one = Neuron(HIGH, n, False)
    low, high = 0, HIGH
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if bound(one, middle, 32) <= HIGH else (low, middle - 1)
    u, reached = 0, 0
    for _ in range(32):
        u = math.floor(Fraction(n, 4096) * u) + sign * low
        reached = max(reached, abs(u))
        assert LOW <= u <= HIGH
    assert reached > HIGH - 100, "and come close to it"
