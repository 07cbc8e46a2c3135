"""A small ticket for the shipped images; the command line, and `bench`, as a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks import bench
from evenspike.cli import main
from evenspike_core.program import PIXELS, Layer, Program, Segment


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
        given = [str(argument) for argument in arguments]
        try:
            status = bench.main(given[1:]) if given[:1] == ["bench"] else main(given)
        except SystemExit as stop:  # argparse
            status = int(stop.code or 0)
        text = capsys.readouterr()
        return Done(status, text.out, text.err)

    return call


@pytest.fixture
def program() -> Program:
    """1x32x32 pixels, ten classes, 1145 weights."""
    rng = np.random.default_rng(0)

    def weights(*shape: int, density: float) -> npt.NDArray[np.int16]:
        drawn = rng.integers(-60, 61, shape)
        drawn[rng.random(shape) >= density] = 0
        return drawn.astype(np.int16)

    def layer(name: str, segment: Segment, side: int, threshold: int, **fields: Any) -> Layer:
        bias: npt.NDArray[np.int32] = rng.integers(-20, 21, segment.weights.shape[0], np.int32)
        return Layer(name, (segment,), bias, (side, side), threshold, **fields)

    first = Segment(PIXELS, weights(5, 1, 3, 3, density=1.0), 2, 1)
    body = Segment(0, weights(20, 5, 3, 3, density=0.5), 1, 1)
    last = Segment(1, weights(10, 20, 1, 1, density=0.8), average=4)
    return Program(
        "small",
        4,
        (1, 32, 32),
        (
            layer("first", first, 16, 100, pool=2, shift=6),
            layer("body", body, 8, 60, pool=2),
            layer("last", last, 1, 0, last=True),
        ),
        {"dataset": "fmnist", "seed": 0},
    )


@pytest.fixture
def ticket(program: Program, tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    program.save(path)
    return path


@pytest.fixture(autouse=True)
def no_rtl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No RTL simulator is built, whatever this machine has: `sim` runs the model alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
