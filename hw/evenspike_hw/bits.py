"""Bits: combinational functions of a pattern of bits that more than one block needs."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Value


def popcount(value: Value) -> Value:
    """How many bits are set; a balanced tree of adders."""
    if len(value) == 1:
        return value
    half = len(value) // 2
    return popcount(value[:half]) + popcount(value[half:])


def lowest(value: Value) -> Value:
    """The lowest set bit alone, 0 if there is none; as wide as `value`."""
    return Cat(value[n] & ~value[:n].any() if n else value[0] for n in range(len(value)))


def encode(one_hot: Value, numbers: Sequence[int], width: int) -> Value:
    """numbers[n] for the bit n that is set, 0 if none of the first len(numbers) is."""
    found: list[Value] = []
    for bit in range(width):
        set_by = [one_hot[n] for n, number in enumerate(numbers) if number >> bit & 1]
        found.append(Cat(set_by).any() if set_by else Const(0))
    return Cat(found)
