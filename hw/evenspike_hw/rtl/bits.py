"""Bits: combinational functions of a pattern of bits that more than one block needs."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Mux, Value
from amaranth.utils import exact_log2


def total(values: Sequence[Value]) -> Value:
    """The sum; a balanced tree of adders, 0 for no value."""
    if len(values) < 2:
        return values[0] if values else Const(0)
    half = len(values) // 2
    return total(values[:half]) + total(values[half:])


def popcount(value: Value) -> Value:
    """How many bits are set."""
    return total([value[n] for n in range(len(value))])


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


def select(one_hot: Value, values: Sequence[Value]) -> Value:
    """The value whose bit is set, 0 if none is."""
    found: Value = Const(0)
    for chosen, value in zip(one_hot, values, strict=True):
        found |= Mux(chosen, value, 0)
    return found


def exchange(values: Sequence[Value], distance: Value) -> list[Value]:
    """At n what is at n XOR `distance`; as many values as `distance` has numbers, or one."""
    found = list(values)
    for bit in range(exact_log2(len(found))):
        found = [Mux(distance[bit], found[n ^ 1 << bit], one) for n, one in enumerate(found)]
    return found
