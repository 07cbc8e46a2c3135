"""Integer arithmetic against exact rationals and a scalar neuron."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenspike_core.fixed import (
    ACCUMULATOR_BITS,
    WEIGHT_BITS,
    Leak,
    Reset,
    leak,
    lif,
    membrane_bound,
    saturate,
    signed_range,
)

LOW, HIGH = -(2**23), 2**23 - 1
membranes = st.integers(LOW, HIGH)


def test_ranges() -> None:
    assert signed_range(WEIGHT_BITS) == (-32768, 32767)
    assert signed_range(ACCUMULATOR_BITS) == (LOW, HIGH)


def test_saturate() -> None:
    values = [LOW - 1, LOW, -1, 0, HIGH, HIGH + 1, 2**40]
    assert saturate(values).tolist() == [LOW, LOW, -1, 0, HIGH, HIGH, HIGH]
    assert saturate([[200, -200]], bits=8).tolist() == [[127, -128]]
    assert saturate([1]).dtype == np.int64


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (Leak.QUARTER, [7, 8, -1, -4, -5], [1, 2, -1, -1, -2]),
        (Leak.HALF, [7, 8, -1, -4, -5], [3, 4, -1, -2, -3]),
        (Leak.THREE_QUARTERS, [7, 8, -1, -4, -5], [6, 6, 0, -3, -3]),
        (Leak.ONE, [7, 8, -1, -4, -5], [7, 8, -1, -4, -5]),
    ],
)
def test_leak_examples(kind: Leak, before: list[int], after: list[int]) -> None:
    assert leak(before, kind).tolist() == after


@given(membranes)
def test_leak_rounds_the_exact_product(u: int) -> None:
    assert leak(u, Leak.QUARTER) == math.floor(u * Fraction(1, 4))
    assert leak(u, Leak.HALF) == math.floor(u * Fraction(1, 2))
    assert leak(u, Leak.THREE_QUARTERS) == math.ceil(u * Fraction(3, 4))
    assert leak(u, Leak.ONE) == u


def test_leak_codes_and_fractions() -> None:
    assert [kind.code for kind in Leak] == [0, 1, 2, 3]
    assert [kind.fraction for kind in Leak] == [
        Fraction(1, 4),
        Fraction(1, 2),
        Fraction(3, 4),
        Fraction(1),
    ]


def neuron(psum: list[int], bias: int, threshold: int, kind: Leak, reset: Reset) -> int:
    """The spike mask of one neuron, in python integers."""
    rounding = math.ceil if kind is Leak.THREE_QUARTERS else math.floor
    u, mask = 0, 0
    for t, value in enumerate(psum):
        u = max(LOW, min(HIGH, rounding(u * kind.fraction) + value + bias))
        if u >= threshold:
            mask += 2**t
            u = 0 if reset is Reset.HARD else u - threshold
    return mask


@given(
    st.lists(st.one_of(membranes, st.integers(-20, 20)), min_size=1, max_size=8),
    st.integers(-20, 20),
    st.one_of(st.integers(1, 30), st.integers(1, HIGH)),
    st.sampled_from(list(Leak)),
    st.sampled_from(list(Reset)),
)
def test_lif_is_the_scalar_neuron(
    psum: list[int], bias: int, threshold: int, kind: Leak, reset: Reset
) -> None:
    masks = lif(psum, bias, threshold, kind, reset)
    assert masks.dtype == np.uint8
    assert int(masks) == neuron(psum, bias, threshold, kind, reset)


def test_lif_examples() -> None:
    """The comments follow u before the reset; ! is a spike. Ties count."""
    assert int(lif([8, 8, 0], 0, 10, Leak.QUARTER, Reset.HARD)) == 0b010  # 8, 10!, 0
    assert int(lif([12, 8, 0], 0, 10, Leak.ONE, Reset.SOFT)) == 0b011  # 12!, 10!, 0
    assert int(lif([12, 8, 0], 0, 10, Leak.ONE, Reset.HARD)) == 0b001  # 12!, 8, 8
    assert int(lif([-100, 20, 20], 1, 6, Leak.HALF, Reset.HARD)) == 0b100  # -99, -29, 6!
    assert int(lif([HIGH, HIGH], HIGH, HIGH, Leak.ONE, Reset.HARD)) == 0b011
    # the membrane saturates: LOW, LOW (not 2 * LOW), -1, HIGH - 1!
    assert int(lif([LOW, LOW, HIGH, HIGH], 0, 5, Leak.ONE, Reset.HARD)) == 0b1000


def test_lif_shapes() -> None:
    psum = np.arange(4 * 2 * 3).reshape(4, 2, 3) - 10
    bias = np.array([0, 5])[:, None]
    masks = lif(psum, bias, 7, Leak.HALF, Reset.SOFT)
    assert masks.shape == (2, 3)
    for f in range(2):
        for x in range(3):
            one = neuron(psum[:, f, x].tolist(), int(bias[f, 0]), 7, Leak.HALF, Reset.SOFT)
            assert masks[f, x] == one


def test_lif_refuses_nine_timesteps() -> None:
    with pytest.raises(ValueError, match="a spike mask holds 8 timesteps, not 9"):
        lif([0] * 9, 0, 1, Leak.ONE, Reset.HARD)


def test_membrane_bound() -> None:
    magnitude = np.array([0, 3, 2**22], dtype=np.int64)
    assert membrane_bound(magnitude, Leak.QUARTER, 4) == [0, 4, Fraction(2**24, 3)]
    assert membrane_bound(magnitude, Leak.HALF, 4) == [0, 6, 2**23]
    assert membrane_bound(magnitude, Leak.THREE_QUARTERS, 4) == [0, 12, 2**24]
    assert membrane_bound(magnitude, Leak.ONE, 4) == [0, 12, 2**24]


@pytest.mark.parametrize("kind", list(Leak))
@pytest.mark.parametrize("sign", [1, -1])
def test_range_proof_holds_with_rounding(kind: Leak, sign: int) -> None:
    """The largest inputs below the bound never leave 24 bits, though the leak rounds."""
    gain = Fraction(8) if kind is Leak.ONE else 1 / (1 - kind.fraction)
    for slack in range(8):
        magnitude = math.ceil(2**23 / gain) - 1 - slack
        assert membrane_bound(np.array([magnitude]), kind, 8)[0] < 2**23
        u = 0
        for _ in range(8 if kind is Leak.ONE else 100):  # 100: long past the fixed point
            u = int(leak(u, kind)) + sign * magnitude
            assert LOW <= u <= HIGH
