"""8-bit weights from the command line: of a Program (`export --model`) and of an import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenspike.flows.models import load
from evenspike_core.program import Program

Cli = Callable[..., Any]
Refused = Callable[..., str]


def test_a_program_gets_weights_of_8_bits(cli: Cli, out: Path) -> None:
    done = cli("export", "--model", "vgg16-small", "--images", "2", "--out", out)
    assert (done.status, done.err) == (0, "")
    *layers, classes, written = done.out.splitlines()
    assert len(layers) == len(load("vgg16-small").layers) - 2
    assert classes.startswith("0 of 2 images get another class; right are 2, before 2")
    assert written == f"wrote {out / 'vgg16-small.safetensors'}"
    found, before = Program.load(out / "vgg16-small.safetensors"), load("vgg16-small")
    eight = [one.name for one in found.layers[1:-1] if one.segments[0].weight_bits == 8]
    assert eight == [line.split(":")[0] for line in layers if ": 8 bits" in line]
    assert 0 < len(eight) < len(layers)  # some, not all
    assert found.provenance["narrowed"] == "\n".join([*layers, classes])
    for one, old in zip(found.layers, before.layers, strict=True):
        same = all(map(np.array_equal, *([s.weights for s in x.segments] for x in (one, old))))
        assert same == (one.name not in eight)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--run", "runs/x"), "give --run, --model, or --checkpoint with --recipe"),
        (("--weight-bits", "16"), "--weight-bits 16 with --model: a Program has no more than it"),
    ],
)
def test_options_that_do_not_go_together(cli: Cli, options: tuple[str, ...], says: str) -> None:
    done = cli("export", "--model", "vgg16-small", *options)
    assert done.status == 2
    assert done.err.startswith(f"evenspike export: {says}")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("option", ["--images", "--weight-bits"])
def test_options_of_a_program_alone(cli: Cli, option: str) -> None:
    done = cli("export", "--run", "runs/x", option, "8")
    assert done.status == 2
    assert done.err.startswith(f"evenspike export: {option} is of ")


def test_images_that_cannot_be(refused: Refused, tmp_path: Path) -> None:
    says = refused("export", "--model", "vgg16-small", "--images", "0")
    assert "images: 0; 1 to 100 are possible" in says
    np.save(tmp_path / "wide.npy", np.zeros((1, 1, 30, 30), np.uint8))
    wide = tmp_path / "wide.npy"
    says = refused("export", "--model", "vgg16-small", "--images", "1", "--data", wide)
    assert "takes pixels (1, 32, 32)" in says


def test_an_import_says_the_bits_of_each_layer(
    cli: Cli, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from tests.helpers.sources import write

    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    rows = {}
    for bits in ("8", "16"):
        done = cli("import", "own.py:Small", "--weight-bits", bits, "--out", out / bits)
        assert (done.status, done.err) == (0, "")
        table = [line.split() for line in done.out.splitlines()[1:4]]
        rows[bits] = {row[0]: row[1:3] for row in table}
    assert rows["16"] == {"conv": ["-", rows["16"]["conv"][1]]} | {
        name: ["16", "bits"] for name in ("second", "head")
    }
    assert rows["8"]["second"] == ["8", "bits"]
    assert rows["8"]["head"] == ["16", "bits"]
    program = Program.load(next((out / "8").glob("*.safetensors")))
    assert [one.segments[0].weight_bits for one in program.layers[1:]] == [8, 16]
