"""Codes: which weights have some, their base, and what each stands for."""

from __future__ import annotations

import re

import numpy as np
import pytest

from evenspike_core.codes import base_of, codes_of
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Segment


def stands_for(code: int, base: int) -> int:
    """As the format says it."""
    size: int = 1 << base + (code & 7)
    return -size if code & 8 else size


@pytest.mark.parametrize("base", range(15))
def test_every_code_of_every_base(base: int) -> None:
    sizes = [1 << n for n in range(base, min(base + 8, 15))]
    weights = np.array([*sizes, *(-n for n in sizes)], dtype=np.int16)
    assert base_of(weights) == base
    codes = codes_of(weights, base)
    assert codes.dtype == np.uint8
    assert codes.max() < 16
    assert [stands_for(int(code), base) for code in codes] == weights.tolist()


def test_zeros_have_no_code_and_change_no_base() -> None:
    weights = np.zeros((2, 3, 3, 3), dtype=np.int16)
    assert base_of(weights) == 0
    weights[1, 2, 0, 1] = -64
    assert base_of(weights) == 6
    weights[0, 0, 0, 0] = 16
    assert base_of(weights) == 4


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1, 3), "weight 3 is no power of two"),
        ((2, 0, -6), "weight -6 is no power of two"),
        ((1, 0, 256), "weights 1 and 256 are 8 doublings apart, codes reach 7"),
        ((-(1 << 14), 2), "weights 2 and -16384 are 13 doublings apart, codes reach 7"),
        ((-(1 << 15), 1 << 14), "weight -32768 is beyond 2^14"),
    ],
)
def test_weights_without_codes(weights: tuple[int, ...], message: str) -> None:
    array = np.array(weights, dtype=np.int16)
    with pytest.raises(EvenspikeError, match=f"^{re.escape(message)}$"):
        base_of(array)
    assert Segment(0, array.reshape(-1, 1, 1, 1)).base is None


def test_the_widths_that_hold_weights() -> None:
    """4 bits hold some that 8 do not, and the other way round."""
    for values, widths, narrowest in (
        ((1, -128), (4, 8, 16), 4),
        ((1, 127), (8, 16), 8),
        ((256, -512), (4, 16), 4),
        ((128, 1), (4, 16), 4),
        ((129, 1), (16,), 16),
        ((0,), (4, 8, 16), 4),
    ):
        one = Segment(0, np.array(values, dtype=np.int16).reshape(-1, 1, 1, 1))
        assert tuple(bits for bits in (4, 8, 16) if one.fits(bits)) == widths
        assert one.weight_bits == narrowest
