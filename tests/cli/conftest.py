"""A small ticket for the shipped images, and the command line as a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from evenspike.cli import main
from evenspike.program import PIXELS, Layer, Program, Segment


@dataclass(frozen=True)
class Done:
    """Exit status and output of one call."""

    status: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: object) -> Done:
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            status = int(stop.code or 0)
        text = capsys.readouterr()
        return Done(status, text.out, text.err)

    return call


@pytest.fixture
def program() -> Program:
    """1x32x32 pixels, ten classes, 3000 weights: a fifth of a second an image."""
    rng = np.random.default_rng(0)

    def weights(*shape: int, density: float) -> np.typing.NDArray[np.int16]:
        drawn = rng.integers(-60, 61, shape)
        drawn[rng.random(shape) >= density] = 0
        return drawn.astype(np.int16)

    def layer(name: str, segment: Segment, side: int, **fields: int | bool) -> Layer:
        filters = segment.weights.shape[0]
        bias = rng.integers(-20, 21, filters).astype(np.int32)
        pool, last = int(fields.get("pool", 1)), bool(fields.get("last", False))
        return Layer(
            name,
            (segment,),
            bias,
            (side, side),
            int(fields.get("threshold", 0)),
            pool=pool,
            last=last,
            shift=int(fields.get("shift", 0)),
        )

    first = Segment(PIXELS, weights(5, 1, 3, 3, density=1.0), 2, 1)
    body = Segment(0, weights(20, 5, 3, 3, density=0.5), 1, 1)
    last = Segment(1, weights(10, 20, 1, 1, density=0.8), average=4)
    return Program(
        "small",
        4,
        (1, 32, 32),
        (
            layer("first", first, 16, pool=2, shift=6, threshold=100),
            layer("body", body, 8, pool=2, threshold=60),
            layer("last", last, 1, last=True),
        ),
        {"dataset": "fmnist", "seed": 0},
    )


@pytest.fixture
def ticket(program: Program, tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    program.save(path)
    return path
