"""Traces for other simulators, written and read again."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenspike.cli import main
from evenspike.flows import traces
from evenspike.flows.images import images
from evenspike_core import reference
from evenspike_core.errors import EvenspikeError
from evenspike_core.npz import read_arrays
from evenspike_core.recording import read_trace
from tests.helpers.tickets import small_program

Run = Callable[..., Any]


def test_npz_is_what_sim_reads(tmp_path: Path) -> None:
    program = small_program()
    given = traces.record(program, 3)
    written = traces.write(given, "npz", tmp_path)
    assert [path.name for path in written.files] == ["small-spikes.npz", "small-weights.npz"]
    found = reference.run(program, images(None, program).pixels[3]).masks
    back = traces.of_trace(written.files[0]).trace
    for name, masks in zip(("input", "body"), found, strict=True):
        np.testing.assert_array_equal(back.spikes[name], masks)
    assert written.layers == 2
    assert written.spikes == sum(int(np.bitwise_count(masks).sum()) for masks in found)
    alive = read_arrays(written.files[1], "masks", 1 << 20)
    np.testing.assert_array_equal(alive["body"], program.layers[1].segments[0].weights != 0)
    assert read_trace(written.files[0]).timesteps == program.timesteps


def test_prosperity_comes_back_as_tensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    given = traces.record(small_program(), 0)
    written = traces.write(given, "prosperity", tmp_path)
    assert written.left_out == ("last",), "an average comes into it"
    (file,) = written.files
    lists = pickle.loads(file.read_bytes())  # noqa: S301 - written above
    assert list(lists) == ["Conv2d", "Linear"]
    (spikes,) = lists["Conv2d"]
    assert (spikes.dtype, spikes.dim()) == (torch.bool, 4)
    source = given.trace.spikes["input"]
    for timestep in range(given.trace.timesteps):
        np.testing.assert_array_equal(spikes[timestep].numpy(), source >> timestep & 1)
    assert written.spikes == int(spikes.sum())


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "small.safetensors"
    small_program().save(program)
    out = tmp_path / "out"
    asked = ["traces", "--out", str(out)]
    assert main([*asked, "--model", str(program)]) == 0
    assert "small: 2 layers, " in capsys.readouterr().out
    spikes = out / "small-spikes.npz"
    assert main([*asked, "--trace", str(spikes), "--format", "sata"]) == 0
    assert (out / "workload.yaml").read_text().startswith("General:\n  timestep: 4\n")
    for given, says in (
        (["--model", str(program), "--image", "100"], "image 100: there are 100, counted from 0"),
        (["--model", str(program), "--image", "-1"], "image -1: there are 100, counted from 0"),
        (["--timesteps", "4"], "--timesteps belongs to --trace"),
        (["--trace", str(spikes), "--image", "0"], "--image and --trace exclude each other"),
        (["--trace", str(out / "none.npz")], f"{out / 'none.npz'}: no such trace file"),
    ):
        capsys.readouterr()
        assert main([*asked, *given]) == 2
        assert capsys.readouterr().err == f"evenspike: {says}\n"


def test_a_format_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(EvenspikeError) as caught:
        traces.write(traces.record(small_program()), "loas", tmp_path)
    assert str(caught.value) == "unknown format 'loas'; there are: npz, prosperity, sata"
