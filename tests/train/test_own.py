"""Recipes with a network of the user's own, `network.name = "FILE.py:CLASS"`, to the end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import evenspike as es
from evenspike.cli import main
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program
from evenspike_train import data, networks
from evenspike_train.networks import NetworkConfig
from evenspike_train.networks.own import OwnNetwork
from evenspike_train.recipes import recipe
from evenspike_train.recipes.recipe import RecipeError
from evenspike_train.runs.probe import NetworkProbe
from evenspike_train.runs.trainer import Trainer
from evenspike_train.tickets import masks
from tests.helpers.training import lines, make_sets, ticket, write_set

SOURCE = '''"""Two branches, groups, dilation, and T as it comes."""

import torch
from torch import nn

from evenspike_train.kernels.neuron import LIF


class Net(nn.Module):
    def __init__(self, in_channels, classes, neuron):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.fire = LIF(neuron)
        self.pool = nn.MaxPool2d(2)
        self.grouped = nn.Conv2d(4, 8, 3, padding="same", groups=2, bias=False)
        self.grouped_norm = nn.BatchNorm2d(8)
        self.grouped_fire = LIF(neuron)
        self.wide = nn.Conv2d(4, 6, 3, padding=2, dilation=2, bias=False)
        self.wide_norm = nn.BatchNorm2d(6)
        self.wide_fire = LIF(neuron)
        self.mean = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(14 * 4, classes)

    def forward(self, x):
        steps = x.shape[0]
        x = self.norm(self.conv(x.flatten(0, 1))).unflatten(0, (steps, -1))
        x = self.pool(self.fire(x).flatten(0, 1))
        left = self.grouped_norm(self.grouped(x)).unflatten(0, (steps, -1))
        right = self.wide_norm(self.wide(x)).unflatten(0, (steps, -1))
        both = torch.cat([self.grouped_fire(left), self.wide_fire(right)], 2)
        logits = self.head(self.mean(both.flatten(0, 1)).flatten(1))
        return logits.unflatten(0, (steps, -1))
'''

RECIPE = """
name = "own"
seed = 2
[data]
validation = 20
[network]
name = "own.py:Net"
timesteps = 3
[method]
name = "u-ticket"
rounds = 2
rate = 0.3
rewind = "learning-rate"
scope = "local"
snapshot = 64
pes = 2
[optimizer]
name = "adam"
batch = 16
[dense]
images = 320
timesteps = 2
lr = 0.02
[round]
images = 96
timesteps = 2
lr = 0.01
[final]
images = 320
timesteps = 3
lr = 0.01
ema = 0.9
[compute]
precision = "PRECISION"
round_validation = 20
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's file, and the recipe's, in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(SOURCE, encoding="utf-8")
    write_recipe(tmp_path)


def write_recipe(folder: Path, *changes: tuple[str, str], precision: str = "fp32") -> str:
    text = RECIPE.replace("PRECISION", precision)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (folder / "own.toml").write_text(text, encoding="utf-8")
    return text


def write_source(folder: Path, *changes: tuple[str, str]) -> None:
    text = SOURCE
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (folder / "own.py").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("method", "precision"),
    [("u-ticket", "fp32"), ("cycle-aware", "bf16"), ("imp", "fp32")],
)
def test_it_trains_is_pruned_and_runs(
    tmp_path: Path, method: str, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    write_set(tmp_path / "data", train=200, test=20)
    write_recipe(tmp_path, precision=precision)
    options = ["--data", "data", "--run", "run", "--threads", "1", "--device", "cpu"]
    assert main(["train", "own.toml", "--method", method, *options]) == 0
    said = capsys.readouterr().out
    assert "next: evenspike sim --model run" in said
    trained = lines(tmp_path / "run", "trained")
    assert [line["timesteps"] for line in trained] == [2, 2, 3, 3][: len(trained)]
    assert all(line["cycles"] > 0 and line["firing_rate"] > 0 for line in trained)
    assert not lines(tmp_path / "run", "notice") + lines(tmp_path / "run", "unmeasured")

    (file,) = (tmp_path / "run").glob("*.safetensors")
    program = Program.load(file)
    assert program.timesteps == 3
    assert program.provenance["dataset"] == "fmnist"
    living = masks.read(networks.build(recipe.parse(ticket(tmp_path / "run")["recipe"]).network))
    assert sorted(living) == [f"network.{n}" for n in ("conv", "grouped", "head", "wide")]
    assert program.sparsity > 0.4
    # Ten classes of bars: what was exported has learnt of them.
    assert program.provenance["integer_test_accuracy"] >= 30

    assert main(["sim", "--model", "run", "--data", "data", "--out", "sim"]) == 0
    (report,) = (tmp_path / "sim").rglob("report.json")
    assert json.loads(report.read_text())["bit_exact"] is True
    run = es.simulate(es.pack(program, "packed,pes=4,timesteps=2"), es.images(3))
    assert run.bit_exact  # in two groups, of which the last is shorter


def test_it_is_not_held_to_the_networks_image_size(tmp_path: Path) -> None:
    """Tiny ImageNet's 64x64 pixels, which VGG-16 and ResNet-19 do not take."""
    rng = np.random.default_rng(0)

    def split(count: int) -> data.Split:
        pixels = rng.integers(0, 256, (count, 3, 64, 64)).astype(np.uint8)
        return data.to_split(pixels, np.arange(count) % 200, torch.device("cpu"))

    text = write_recipe(
        tmp_path,
        ("[data]", '[data]\nname = "tiny-imagenet"'),
        ("timesteps = 3\n[method]", "timesteps = 3\nin_channels = 3\nclasses = 200\n[method]"),
        ("images = 320", "images = 64"),
    )
    sets = data.Dataset(split(40), split(20), split(20))
    Trainer(recipe.parse(text), sets, tmp_path / "run").run()
    assert ticket(tmp_path / "run")["figures"]["sparsity"] > 0.4


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    text = write_recipe(tmp_path)
    sets = make_sets()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    Trainer(recipe.parse(text), sets, whole).run()

    class StoppedError(Exception):
        pass

    def stop(line: str) -> None:
        if '"pruned"' in line:
            raise StoppedError

    with pytest.raises(StoppedError):
        Trainer(recipe.parse(text), sets, parts, say=stop).run()
    Trainer(recipe.parse(text), sets, parts).run()
    one, two = ticket(whole)["model"], ticket(parts)["model"]
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


STATEFUL = '''
import torch
from torch import nn

from evenspike_train.lowering import NeuronModel, Reset, register


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad / (1 + x.abs()) ** 2


class Keeps(nn.Module):
    """Keeps its membrane, as a buffer, from call to call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("membrane", torch.zeros(0))

    def forward(self, x):
        if not self.membrane.numel():
            self.membrane = torch.zeros_like(x)
        membrane = 0.5 * self.membrane + x
        spikes = Spike.apply(membrane - 1)
        self.membrane = membrane * (1 - spikes)
        return spikes

    def clear(self):
        self.membrane = torch.zeros(0)


register(
    Keeps,
    lambda module, path: NeuronModel(0.5, 1.0, reset=Reset.HARD),
    steps=False,
    clear=Keeps.clear,
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.first = Keeps()
        self.second_conv = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.second_norm = nn.BatchNorm2d(4)
        self.second = Keeps()
        self.head = nn.Linear(256, 10)

    def forward(self, x):
        logits = []
        for frame in x:
            spikes = self.first(self.norm(self.conv(frame)) + 0.5)
            spikes = self.second(self.second_norm(self.second_conv(spikes)) + 0.5)
            logits.append(self.head(spikes.flatten(1)))
        return torch.stack(logits)
'''


def test_neurons_that_keep_their_state_start_each_batch_without(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(STATEFUL, encoding="utf-8")
    text = write_recipe(tmp_path, ("images = 320", "images = 96"))
    sets = make_sets()
    run = Trainer(recipe.parse(text), sets, tmp_path / "run")
    images = sets.train.images[:5]
    run.model.eval()
    with torch.no_grad():
        assert torch.equal(run.model(images), run.model(images))
    run.run()
    weights = ticket(tmp_path / "run")["model"]
    assert weights["network.first.membrane"].shape == (0,)
    # One timestep a call, or all in one: the work of a weight is the same.
    order = torch.arange(40)
    probe = NetworkProbe(run.model, 3, sets.train, order)
    work = probe.weight_work()["network.second_conv"]
    spikes: list[torch.Tensor] = []
    with torch.no_grad():
        run.model.eval()(sets.train.images[:40], record=spikes)
    active = torch.stack(spikes[0::2]).amax(0).double()
    centre = active[:, :, ::2, ::2].sum((0, 2, 3)) / 40
    torch.testing.assert_close(work.expected[:, 1, 1], centre)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((("class Net", "class Other"),), "own.py:Net: own.py has no class or function 'Net'"),
        (
            (("(14 * 4, classes)", "(14 * 4, classes + 1)"),),
            r"own.py:Net: gives \(2, 2, 11\), not logits of each timestep, \(2, 2, 10\)",
        ),
        (
            (("return logits.unflatten(0, (steps, -1))", "return logits"),),
            r"own.py:Net: gives \(4, 10\), not logits of each timestep, \(2, 2, 10\)",
        ),
        (
            (("return logits.unflatten(0, (steps, -1))", "return logits[::steps]"),),
            r"own.py:Net: gives \(2, 10\), not .*; stack what the timesteps give \(torch.stack\)",
        ),
        (
            (("return logits.unflatten(0, (steps, -1))", "return [logits]"),),
            "own.py:Net: gives list, not logits of each timestep",
        ),
        (
            (("LIF(neuron)", "nn.ReLU()"),),
            "own.py:Net: has no neurons that are known",
        ),
        (
            (("self.wide_fire(right)", "right"),),
            "",  # neurons that are not called do no harm
        ),
        (
            (
                ("self.mean = nn.AdaptiveAvgPool2d(2)", "self.spare = nn.Linear(3, 3)"),
                (
                    "self.mean(both.flatten(0, 1)).flatten(1)",
                    "both.flatten(0, 1)[:, :, ::4, ::4].flatten(1)",
                ),
            ),
            "own.py:Net: its forward pass calls no network.spare; weights of modules that",
        ),
        (
            (("14 * 4", "14 * 5"),),
            r"own.py:Net: does not run: RuntimeError: mat1 and mat2 shapes .* \(own.py:32\)",
        ),
        (
            (("self.head = nn.Linear(14 * 4, classes)", "self.head = 1 / 0"),),
            r"own.py:Net: cannot be made: ZeroDivisionError: division by zero \(own.py:23\)",
        ),
        (
            (("self.head = nn.Linear(14 * 4, classes)", "exit(0)"),),
            r"own.py:Net: cannot be made: SystemExit: it calls sys.exit\(0\) \(own.py:23\)",
        ),
        (
            (("steps = x.shape[0]", "exit(0)"),),
            r"own.py:Net: does not run: SystemExit: it calls sys.exit\(0\) \(own.py:26\)",
        ),
    ],
)
def test_a_module_that_cannot_be_trained(
    tmp_path: Path, changes: tuple[tuple[str, str], ...], message: str
) -> None:
    write_source(tmp_path, *changes)
    loaded = recipe.parse(write_recipe(tmp_path))
    if not message:
        Trainer(loaded, make_sets(), tmp_path / "run")
        return
    with pytest.raises(EvenspikeError, match=message) as caught:
        Trainer(loaded, make_sets(), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_missing_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    write_set(tmp_path / "data", train=40)
    write_recipe(tmp_path, ("own.py:Net", "gone.py:Net"))
    command = ["train", "own.toml", "--data", "data", "--run", "run", "--device", "cpu"]
    assert main(command) == 2
    assert capsys.readouterr().err == "evenspike: gone.py:Net: gone.py is no file\n"
    assert not (tmp_path / "run").exists()


def test_what_has_no_integer_form_is_said_before_it_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    write_set(tmp_path / "data", train=40)
    write_source(tmp_path, ("nn.BatchNorm2d(6)", "nn.GroupNorm(2, 6)"))
    write_recipe(tmp_path, ("images = 320", "images = 64"))
    command = ["train", "own.toml", "--data", "data", "--run", "run", "--device", "cpu"]
    assert main([*command, "--threads", "1"]) == 0
    reason = "network.wide_norm (GroupNorm): its statistics come from the activations"
    first = lines(tmp_path / "run")[0]
    assert (first["event"], first["images_seen"]) == ("notice", 0)
    assert f"this run will give no Program: {reason}" in first["text"]
    assert f"run: trained; it gives no Program: {reason}" in capsys.readouterr().out
    assert main(["export", "--run", "run", "--data", "data"]) == 2
    assert capsys.readouterr().err.startswith(f"evenspike: {reason}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((("own.py:Net", "own.py"),), "network: name must be one of .* or FILE.py:CLASS"),
        (
            (
                ('name = "u-ticket"', 'name = "transferred"\nsparsity = 0.5'),
                ("rounds = 2\n", ""),
                ("rate = 0.3\n", ""),
                ('rewind = "learning-rate"\n', ""),
            ),
            "method: transferred searches on a twin, which own.py:Net has not",
        ),
    ],
)
def test_recipes_that_cannot_be(
    tmp_path: Path, changes: tuple[tuple[str, str], ...], message: str
) -> None:
    text = write_recipe(tmp_path, *changes)
    with pytest.raises(RecipeError, match=message):
        recipe.parse(text)


def test_the_constructor_gets_what_it_has_parameters_for(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from torch import nn\nfrom evenspike_train.kernels.neuron import LIF\n"
        "def make(neuron, width, timesteps, classes=3):\n"
        "    made = nn.Sequential(nn.Flatten(2), nn.Linear(16, width), LIF(neuron))\n"
        "    made.given = width, timesteps, classes\n"
        "    return made\n",
        encoding="utf-8",
    )
    config = NetworkConfig("own.py:make", width=7, classes=5, timesteps=6)
    built = networks.build(config)
    assert isinstance(built, OwnNetwork)
    assert vars(built.network)["given"] == (7, 6, 5)
    with pytest.raises(EvenspikeError, match=r"gives \(6, 2, 7\), not logits .* \(6, 2, 5\)"):
        built(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))


def test_frames_are_its_timesteps() -> None:
    built = networks.build(NetworkConfig("own.py:Net", in_channels=2, timesteps=4)).eval()
    frames = torch.randint(0, 256, (3, 6, 2, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if name.endswith("norm.bias"):
                parameter.add_(1.3)  # so that some neurons fire
        assert torch.equal(built(frames), built(frames[:, :4]))
        assert not torch.equal(built(frames)[0], built(frames.flip(1)[:, 2:])[0])
        with pytest.raises(EvenspikeError, match="3 frames for 4 timesteps"):
            built(frames[:, :3])
