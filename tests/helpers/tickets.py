"""A small network for the shipped images, with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.program import PIXELS, Coding, Layer, Program, Readout, Segment


def small_program() -> Program:
    """1x32x32 pixels, ten classes, 1145 weights."""
    rng = np.random.default_rng(0)

    def weights(*shape: int, density: float) -> npt.NDArray[np.int16]:
        drawn = rng.integers(-60, 61, shape)
        drawn[rng.random(shape) >= density] = 0
        return drawn.astype(np.int16)

    def layer(name: str, segment: Segment, side: int, threshold: int, **fields: Any) -> Layer:
        bias: npt.NDArray[np.int32] = rng.integers(-20, 21, segment.weights.shape[0], np.int32)
        return Layer(name, (segment,), bias, (side, side), threshold, **fields)

    first = Segment(PIXELS, weights(5, 1, 3, 3, density=1.0), 2, (-1, -1))
    body = Segment(0, weights(20, 5, 3, 3, density=0.5), 1, (-1, -1))
    last = Segment(1, weights(10, 20, 1, 1, density=0.8), average=4)
    return Program(
        "small",
        4,
        (1, 32, 32),
        (
            layer("first", first, 16, 100, pool=2, shift=6, coding=Coding.DIRECT),
            layer("body", body, 8, 60, pool=2),
            layer("last", last, 1, 1, readout=Readout.PSUM),
        ),
        {"dataset": "fmnist", "seed": 0},
    )
