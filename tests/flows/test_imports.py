"""`es.import_network`: a module, a file or a graph as a Program that runs, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

import evenspike as es
from evenspike_core.program import Coding, Readout
from evenspike_train.kernels.neuron import LIF, LIFParameters
from tests.helpers.sources import write

NEURON = LIFParameters(leak=0.5, gain=1.0, threshold=0.5)


class Frames(nn.Module):
    """Frames with their time in an axis of one's choice -> logits of each timestep."""

    def __init__(self, axis: int = 0) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.axis = axis
        self.conv = nn.Conv2d(2, 5, 3, stride=2)
        self.fire = LIF(NEURON)
        self.second = nn.Conv2d(5, 6, 3, padding=1)
        self.second_fire = LIF(NEURON)
        self.head = nn.Linear(6 * 5 * 5, 4)
        with torch.no_grad():
            self.second.weight *= 4

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.axis == 0 else x.transpose(0, 1)
        steps = x.shape[0]
        x = self.fire(self.conv(x.flatten(0, 1)).unflatten(0, (steps, -1)))
        x = self.second_fire(self.second(x.flatten(0, 1)).unflatten(0, (steps, -1)))
        logits: Tensor = self.head(x.flatten(2)).sum(0)
        return logits


def frames(axis: int = 0, count: int = 3, steps: int = 9) -> Tensor:
    bytes_ = torch.randint(0, 256, (count, steps, 2, 11, 11), generator=torch.Generator())
    return (bytes_.float() / 255).transpose(0, 1) if axis == 0 else bytes_.float() / 255


def check_runs(found: es.Imported) -> None:
    """Its examples fire, and the cycle model agrees, also in groups."""
    assert all(one.spikes for one in found.proof.layers if one.bits)
    assert found.proof.changed == 0
    for arch in ("packed,pes=4,spike_entries=16384", "packed,timesteps=2,spike_entries=65536"):
        run = es.simulate(es.pack(found.program, arch), found.images)
        assert run.bit_exact, run.divergence
        assert run.report().to_dict()["bit_exact"]


def test_a_file_and_its_module_are_the_same(tmp_path: Path) -> None:
    path = write(tmp_path)
    found = es.import_network(f"{path}:Small")
    check_runs(found)
    assert "<Imported Small: 3 layers, 4 timesteps, at most 0.00% of a layer's" in repr(found)
    assert found.program.provenance["source"] == f"{path}:Small"
    assert found.program.provenance["dataset"] == "fmnist"
    assert found.images.pixels.shape == (4, 1, 32, 32)
    other = es.import_network(f"{path}:Small", es.images(4), name="Small")
    assert other.program.digest() == found.program.digest()
    assert found.save(tmp_path / "out") == tmp_path / "out" / "Small.safetensors"
    assert found.save(tmp_path / "x.safetensors") == tmp_path / "x.safetensors"
    for file in (tmp_path / "out" / "Small", tmp_path / "x"):
        assert es.load(file.with_suffix(".safetensors")).digest() == found.program.digest()
        assert found.program.digest() in file.with_suffix(".md").read_text(encoding="utf-8")
        given = es.images(of=found.program, folder=file.with_suffix(".npy"))
        np.testing.assert_array_equal(given.pixels, found.images.pixels)
        assert given.labels is None


@pytest.mark.parametrize("axis", [0, 1])
def test_frames_with_their_time_in_either_axis(axis: int) -> None:
    found = es.import_network(Frames(axis), frames(axis), time_axis=axis)
    program = found.program
    assert (program.timesteps, program.shape) == (9, (2, 11, 11))
    assert program.encoder.coding is Coding.DIRECT
    assert program.provenance == {
        "source": "Frames",
        "dataset": "",
        "weights_rounded_to_zero": 0,
    }
    assert found.images.pixels.shape == (3, 9, 2, 11, 11)
    check_runs(found)
    # What the module says is what the machine counts, up to the layer's one scale.
    with torch.no_grad():
        said = Frames(axis).eval()(frames(axis)).numpy()
    run = es.simulate(es.pack(program, "packed,spike_entries=16384"), found.images)
    assert run.predictions.tolist() == said.argmax(1).tolist()
    scale = run.logits / said
    np.testing.assert_allclose(scale, np.median(scale), rtol=1e-2)


@pytest.mark.parametrize("axis", [0, 1])
def test_images_with_frames_are_turned_as_the_module_takes_them(axis: int) -> None:
    pixels = (frames(1) * 255).round().to(torch.uint8).numpy()
    found = es.import_network(Frames(axis), es.Images(pixels), time_axis=axis)
    np.testing.assert_array_equal(found.images.pixels, pixels)
    shorter = es.import_network(Frames(axis), es.Images(pixels), time_axis=axis, timesteps=5)
    assert shorter.program.timesteps == 5
    np.testing.assert_array_equal(shorter.images.pixels, pixels[:, :5])


@pytest.mark.parametrize("encoder", ["rate", "latency"])
def test_spikes_that_the_host_draws(encoder: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 2, 11, 11), np.uint8)
    seed = 4 if encoder == "rate" else 0
    found = es.import_network(Frames(), pixels, timesteps=12, encoder=encoder, seed=seed)
    assert found.program.encoder.coding == encoder
    assert found.images.pixels.shape == pixels.shape
    check_runs(found)


def test_truths_are_frames_of_spikes() -> None:
    spikes = np.random.default_rng(2).random((32, 2, 2, 11, 11)) < 0.3
    found = es.import_network(Frames(), spikes)
    assert found.program.encoder.coding is Coding.FRAMES
    assert found.program.timesteps == 32
    assert found.program.layers[-1].readout is Readout.PSUM
    check_runs(found)


def test_the_rtl_agrees_with_a_module() -> None:
    from evenspike_hw.engine import compiled
    from tests.helpers.random_networks import ARCHS

    compiled.find_tools()
    found = es.import_network(Frames(), frames(steps=19))
    run = es.cosim(es.pack(found.program, ARCHS["small"]), found.images)
    assert run.bit_exact, run.divergence
    assert run.rtl is not None
    assert run.rtl.images == 3


@pytest.mark.parametrize(
    ("module", "example", "options", "message"),
    [
        (None, None, {}, "NoneType: no torch.nn.Module, no FILE.py:CLASS and no graph of NIR"),
        (Frames, None, {}, "type: no torch.nn.Module"),
        (Frames(), frames(), {"encoder": "morse"}, "encoder: 'morse'; there are direct, rate"),
        (Frames(), frames(), {"readout": "last"}, "readout: 'last'; there are psum, count"),
        (Frames(), frames(), {"time_axis": 2}, "time_axis: 2; 0 or 1"),
        (Frames(), frames(), {"timesteps": 4}, "Frames: 9 frames in axis 0 for 4 timesteps"),
        (Frames(), frames(), {"dt": 1.0}, "Frames: dt is of NIR graphs"),
        (Frames(), np.array([["a"]]), {}, "example: holds <U1, not one array of numbers"),
        (Frames(), np.zeros((3, 2), complex), {}, "example: holds complex128, not one array"),
        (Frames(), frames()[:, :, :1], {}, "Frames: does not run on the example: "),
        (Frames(), frames(steps=33), {}, "Frames: 33 timesteps; a Program holds 32 at most"),
        (Frames(), None, {}, "Frames: "),
    ],
)
def test_what_cannot_be(module: Any, example: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(es.EvenspikeError) as caught:
        es.import_network(module, example, **options)
    said = str(caught.value)
    assert said.startswith(message), said
    assert "\n" not in said


def test_a_name_that_is_no_file_is_not_saved(tmp_path: Path) -> None:
    found = es.import_network(Frames(), frames(), name="../up")
    with pytest.raises(es.EvenspikeError, match=r"'\.\./up' is no name for a folder"):
        found.save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
