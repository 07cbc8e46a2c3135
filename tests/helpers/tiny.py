"""A tiny Program to edit, and equality of Programs."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from evenspike_core.program import PIXELS, Coding, Layer, Program, Readout, Segment


def segment(source: int, shape: tuple[int, ...], value: int = 1, **fields: Any) -> Segment:
    return Segment(source, np.full(shape, value, dtype=np.int16), **fields)


def layer(name: str, source: Segment, size: tuple[int, int], **fields: Any) -> Layer:
    filters = fields.pop("filters", source.weights.shape[0])
    bias = fields.pop("bias", np.zeros(filters, dtype=np.int32))
    return Layer(name, (source,), bias, size, fields.pop("threshold", 10), **fields)


ENCODER = {"pool": 2, "shift": 2, "coding": Coding.DIRECT}
FIRST = layer("first", segment(PIXELS, (3, 1, 3, 3), offset=(-1, -1)), (4, 4), **ENCODER)
BODY = layer("body", segment(0, (2, 3, 3, 3), offset=(-1, -1)), (2, 2), pool=2)
LAST = layer("last", segment(1, (5, 2, 1, 1)), (1, 1), readout=Readout.PSUM)
TINY = Program("tiny", 4, (1, 4, 4), (FIRST, BODY, LAST), {"seed": 1, "accuracy": 0.5})


def with_layer(index: int, **changes: Any) -> dict[str, Any]:
    """Changes of one layer of TINY; `weights` and the segment's fields go to its segment."""
    old = TINY.layers[index]
    inner = {k: changes.pop(k) for k in list(changes) if hasattr(old.segments[0], k)}
    if inner:
        changes["segments"] = (replace(old.segments[0], **inner),)
    layers = list(TINY.layers)
    layers[index] = replace(old, **changes)
    return {"layers": tuple(layers)}


def same(one: Program, two: Program) -> bool:
    fields = ("name", "timesteps", "shape", "provenance")
    return (
        all(getattr(one, field) == getattr(two, field) for field in fields)
        and len(one.layers) == len(two.layers)
        and all(same_layer(a, b) for a, b in zip(one.layers, two.layers, strict=True))
    )


def same_layer(one: Layer, two: Layer) -> bool:
    fields = [one.name for one in dataclasses.fields(Layer) if one.name not in ("segments", "bias")]
    parts = ("source", "stride", "offset", "average", "dense")
    return (
        all(getattr(one, field) == getattr(two, field) for field in fields)
        and one.bias.dtype == two.bias.dtype
        and np.array_equal(one.bias, two.bias)
        and len(one.segments) == len(two.segments)
        and all(
            all(getattr(a, part) == getattr(b, part) for part in parts)
            and a.weights.dtype == b.weights.dtype
            and np.array_equal(a.weights, b.weights)
            for a, b in zip(one.segments, two.segments, strict=True)
        )
    )


class Untouchable(Program):
    """Stands where a Program does that must not be looked at."""

    def __init__(self) -> None: ...

    def __getattribute__(self, name: str) -> NoReturn:
        raise AssertionError(f"{name} of the Program was asked for")
