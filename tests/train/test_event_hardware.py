"""Recordings of events from their files to the cycle model and the RTL: T = 10, a frame at each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import evenspike as es
from evenspike.cli import main
from evenspike_core import reference
from evenspike_core.data import cache
from evenspike_core.program import Coding, Program
from evenspike_train.recipes.recipe import RECIPES
from tests.helpers.event_files import write_recordings
from tests.helpers.random_networks import ARCHS
from tests.helpers.training import lines

SHORTER = (
    ("width = 8", "width = 2"),
    ("alpha = 1.0", "threshold = 0.1"),  # recordings of some thirty events
    ("validation = 5000", "validation = 4"),
    ("rounds = 10", 'rounds = 1\nscope = "local"'),
    ("sparsity = 0.94", "sparsity = 0.25"),
    ("snapshot = 8000", "snapshot = 40"),
    ("pes = 8", "pes = 2"),
    ("batch = 32", "batch = 4"),
    ("images = 50000", "images = 200"),
    ("images = 4000", "images = 20"),
    ("images = 100000", "images = 400"),
    ("lr = 0.003", "lr = 0.001"),
    ("lr = 0.0015", "lr = 0.001"),
    ("round_validation = 500", 'precision = "fp32"\nround_validation = 4'),
)
"""vgg16-nmnist-small.toml, for a few recordings."""


def shortened(data: str) -> str:
    text = (RECIPES / "vgg16-nmnist-small.toml").read_text(encoding="utf-8")
    for old, new in (*SHORTER, ('name = "nmnist"', f'name = "{data}"')):
        text, count = re.subn(rf"^{re.escape(old)}(?!\w).*$", new, text, flags=re.MULTILINE)
        assert count, old
    return text


@pytest.fixture(scope="module", params=["nmnist", "cifar10-dvs"])
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder with recordings in `data`, and the finished and exported run on them in `run`."""
    folder = tmp_path_factory.mktemp(request.param)
    write_recordings(folder / "data", request.param)
    (folder / "events.toml").write_text(shortened(request.param), encoding="utf-8")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cache, "folder", lambda: folder / "cache")
        options = ["--data", folder / "data", "--run", folder / "run", "--threads", "1"]
        assert main(list(map(str, ["train", folder / "events.toml", *options]))) == 0
        yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def program(trained: Path) -> Program:
    (file,) = (trained / "run").glob("*.safetensors")
    return Program.load(file)


def test_its_program_takes_frames(trained: Path, program: Program) -> None:
    assert (program.timesteps, program.shape) == (10, (2, 48, 48))
    assert program.encoder.coding is Coding.DIRECT
    for line in lines(trained / "run", "trained"):
        assert line["cycles"] > 0
        assert line["energy_pj"] > 0
    assert not lines(trained / "run", "notice")
    assert not lines(trained / "run", "unmeasured")
    given = es.images(3, program, trained / "data")
    assert given.pixels.shape == (3, 10, 2, 48, 48)
    # It is no still image that they could have been shown as.
    first, frames = given.pixels[0], reference.encode(program, given.pixels[0])
    still = reference.encode(program, first[0])
    assert not np.array_equal(still, frames)
    found = reference.run(program, first)
    fired = [int(np.count_nonzero(masks)) for masks in found.masks]
    assert fired[0] > 100
    assert sum(count > 0 for count in fired) >= 4, fired


def test_the_cycle_model_is_bit_exact_in_groups(trained: Path, program: Program) -> None:
    given = es.images(4, program, trained / "data")
    # Groups of 8 and 2 timesteps; of 4, 4 and 2.
    for arch in (ARCHS["small"], "packed,pes=8,spike_entries=16384"):
        run = es.simulate(es.pack(program, arch), given)
        assert run.bit_exact, run.divergence
        assert run.predictions.tolist() == [
            reference.run(program, pixels).prediction for pixels in given.pixels
        ]
    # A frame later is another input: the order of the frames reaches the logits.
    turned = es.reference(program, given.pixels[:, ::-1])
    assert not np.array_equal(run.logits, turned.logits)


def test_the_verb_and_its_page(
    trained: Path, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # without an RTL
    monkeypatch.setattr(cache, "folder", lambda: trained / "cache")
    options = ["--model", trained / "run", "--data", trained / "data", "--out", tmp_path]
    options += ["--arch", "packed,spike_entries=16384", "--images", "3"]
    assert main(list(map(str, ["sim", *options]))) == 0
    folder = tmp_path / program.name
    report = json.loads((folder / "report.json").read_text())
    assert report["bit_exact"] is True
    assert report["accuracy"] is not None
    pictures = re.findall('data:image/png;base64,([^"]+)', (folder / "report.html").read_text())
    assert len(pictures) == 3
    assert len(set(pictures)) == 3


def test_the_rtl_agrees(trained: Path, program: Program) -> None:
    from evenspike_hw.engine import compiled

    compiled.find_tools()
    run = es.cosim(es.pack(program, ARCHS["small"]), es.images(2, program, trained / "data"))
    assert run.bit_exact, run.divergence
    assert run.rtl is not None
    assert (run.rtl.engine, run.rtl.images, run.rtl.differences) == ("compiled", 2, 0)
