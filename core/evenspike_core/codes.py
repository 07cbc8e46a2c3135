"""Codes: weights that are powers of two, in 4 bits each.

A code is a sign and an exponent: bit 3 is the sign, bits 2:0 are e, and the weight is
±2^(base + e). All weights of a segment share the base, so their exponents lie within eight in a
row, and none is beyond 2^14. A zero has no code: pruned weights are in no stream.

The base is the exponent of the smallest weight, so that the weights alone determine base and codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError

CODE_BITS = 4
EXPONENTS = 1 << CODE_BITS - 1
"""Exponents that the codes of a segment tell apart."""

EXPONENT_MAX = 14
"""Of the largest weight: 2^15 is beyond 16 bits, and its negative has no counterpart."""

Integers = npt.NDArray[np.integer[Any]]
Codes = npt.NDArray[np.uint8]


def base_of(weights: Integers) -> int:
    """The base of the codes of a segment's weights, 0 to 14; 0 where none is alive.

    weights: integers of any shape; zeros are pruned.

    Raises EvenspikeError naming the weight that no code stands for, and why.
    """
    alive = weights[weights != 0].astype(np.int64)
    if not alive.size:
        return 0
    size = np.abs(alive)
    odd = (size & size - 1) != 0
    if odd.any():
        raise EvenspikeError(f"weight {alive[odd][0]} is no power of two")
    small, large = int(size.argmin()), int(size.argmax())
    low, high = (int(size[at]).bit_length() - 1 for at in (small, large))
    if high > EXPONENT_MAX:
        raise EvenspikeError(f"weight {alive[large]} is beyond 2^{EXPONENT_MAX}")
    if high - low >= EXPONENTS:
        raise EvenspikeError(
            f"weights {alive[small]} and {alive[large]} are {high - low} doublings apart, codes "
            f"reach {EXPONENTS - 1}"
        )
    return low


def codes_of(weights: Integers, base: int) -> Codes:
    """The code of each weight, uint8 of the same shape.

    weights: non-zero, such that `base_of` takes them. base: what it gave.
    """
    size = np.abs(weights.astype(np.int64)) >> base
    exponents = np.log2(size).astype(np.uint8)
    found: Codes = (weights < 0).astype(np.uint8) << CODE_BITS - 1 | exponents
    return found
