"""ADMM and hard compression: phases, projections, and runs from the dense network to the proof."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from evenspike_core.errors import EvenspikeError
from evenspike_train import data
from evenspike_train.export.programs import make_program
from evenspike_train.recipes import recipe
from evenspike_train.recipes.derive import Changes, derive
from evenspike_train.recipes.recipe import Recipe, RecipeError
from evenspike_train.runs import dense_phase
from evenspike_train.runs.export import load_ticket
from evenspike_train.runs.trainer import Trainer
from evenspike_train.tickets import MethodConfig, Place, build
from evenspike_train.tickets import masks as weight_masks
from evenspike_train.tickets.admm import Admm, largest
from evenspike_train.tickets.base import RoundReport
from evenspike_train.tickets.compression import memory_left, residual
from tests.helpers.killing import run_killed
from tests.helpers.training import lines, make_sets, ticket

TEXT = """
name = "tiny"
seed = 3
[data]
name = "mnist"
validation = 20
[augmentation]
flip = false
shift = 0
[network]
name = "lenet5"
width = 2
timesteps = 3
input = "bernoulli"
[network.neuron]
gain = 1.0
threshold = 0.2
surrogate = "boxcar"
alpha = 0.5
[method]
name = "admm"
sparsity = 0.5
bits = 2
updates = 2
[optimizer]
name = "adam"
batch = 16
weight_decay = 0.0
loss = "rate"
[dense]
images = 64
timesteps = 3
lr = 0.01
[round]
images = 64
timesteps = 3
lr = 0.003
activity = 0.01
[final]
images = 64
timesteps = 3
lr = 0.003
activity = 0.01
[compute]
precision = "fp32"
checkpoint_seconds = 0.0
round_validation = 10
round_cycles_images = 0
"""


def made(**method: Any) -> Recipe:
    """The recipe with these keys in its method table; None takes one away."""
    table: dict[str, Any] = {"name": '"admm"', "sparsity": 0.5, "bits": 2, "updates": 2} | method
    text = "".join(f"{key} = {value}\n" for key, value in table.items() if value is not None)
    old = TEXT[TEXT.index("[method]") : TEXT.index("[optimizer]")]
    return recipe.parse(TEXT.replace(old, f"[method]\n{text}"))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"bits": 9}, "bits must be 0, for none, or lie between 1 and 8, not 9"),
        ({"bits": -1}, "not -1"),
        ({"rho": -0.1}, "rho must not be negative"),
        ({"rho": "nan"}, "method: rho: must be finite, not nan"),
        ({"rho": "inf"}, "method: rho: must be finite, not inf"),
        ({"updates": -1}, "updates must not be negative"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"sparsity": None, "bits": 0}, "compresses nothing"),
        ({"sparsity": 1.0}, "sparsity must lie in"),
        ({"projection": '"never"'}, "projection must be one of"),
        ({"rate": 0.2}, "admm has no option rate"),
    ],
)
def test_what_cannot_be_is_one_line(method: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        made(**method)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"layers": '"conv1,fc1"'}, "conv1 is the first layer, which is not compressed"),
        ({"layers": '"fc2"'}, "fc2 is the last layer"),
        ({"layers": '"conv9"'}, "there is no 'conv9'; there are conv2, fc1"),
        ({"sparsity": 0.997}, "leaves none of the 250 weights of conv2"),
    ],
)
def test_layers_that_cannot_be(
    sets: data.Dataset, tmp_path: Path, method: dict[str, Any], said: str
) -> None:
    with pytest.raises(EvenspikeError, match=said):
        Trainer(made(**method), sets, tmp_path)


def test_a_negative_activity_and_a_loss_that_does_not_fit() -> None:
    with pytest.raises(RecipeError, match="activity must not be negative"):
        recipe.parse(TEXT.replace("activity = 0.01", "activity = -0.01"))
    with pytest.raises(RecipeError, match="loss rate needs an output that spikes; vgg16 has none"):
        recipe.parse('name = "x"\n[optimizer]\nloss = "rate"')
    with pytest.raises(RecipeError, match="label_smoothing has no effect"):
        recipe.parse(TEXT.replace("lr = 0.01", "label_smoothing = 0.1"))


@pytest.mark.parametrize("name", ["admm", "hard"])
@pytest.mark.parametrize(("sparsity", "bits", "rounds"), [(0.5, 0, 2), (None, 2, 2), (0.5, 2, 3)])
def test_as_many_phases_as_parts(name: str, sparsity: float | None, bits: int, rounds: int) -> None:
    keys = {} if name == "admm" else {"updates": None}
    given = made(name=f'"{name}"', sparsity=sparsity, bits=bits, **keys)
    assert build(given.method).rounds == rounds
    assert dense_phase.depends_on(given) == dense_phase.depends_on(made())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("sparsity", [None, 0.5])
@pytest.mark.parametrize("bits", [0, 1, 3])
@pytest.mark.parametrize("name", ["admm", "hard"])
def test_ticket_is_what_was_asked_for(
    sets: data.Dataset, tmp_path: Path, name: str, sparsity: float | None, bits: int
) -> None:
    if not bits and sparsity is None:
        return
    keys = {} if name == "admm" else {"updates": None}
    given = made(name=f'"{name}"', sparsity=sparsity, bits=bits, **keys)
    figures = Trainer(given, sets, tmp_path).run()
    model = load_ticket(tmp_path).model
    for layer, module in model.named_modules():
        if layer not in ("conv1", "conv2", "fc1", "fc2"):
            continue
        weight = module.weight.detach()
        living = weight[weight != 0]
        if layer in ("conv1", "fc2"):
            assert living.numel() == weight.numel()
            continue
        if sparsity:
            assert living.numel() <= weight.numel() // 2
        if bits:
            assert len(np.unique(np.abs(np.frexp(living.numpy())[0]))) == 1
            assert len(set(living.abs().tolist())) <= bits
    wanted = (1 - (sparsity or 0)) * (bits or 32) / 32
    assert figures["r_mem"] == pytest.approx(wanted)
    assert figures["r_ops"] == pytest.approx(wanted * figures["r_s"])
    if sparsity:  # pruned once, and no weight comes back
        shares = [line["sparsity"] for line in lines(tmp_path, "pruned")]
        assert len({share for share in shares if share}) == 1
    # What rounding makes of such weights: powers of two, and a network that spikes as before.
    program, proof = make_program(given, model, {}, sets.train.images[:4])
    proof.check(may_be_silent=True)
    for layer in program.layers[2:4]:
        found = np.abs(layer.segments[0].weights.astype(np.int64))
        living = found[found > 0]
        if bits:
            assert (living & (living - 1) == 0).all()
            assert len(np.unique(living)) <= bits
            assert living.max() <= 1 << 14


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("projection", ["latent", "epoch"])
def test_killed_and_resumed_equals_uninterrupted(
    sets: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, projection: str
) -> None:
    given = made(projection=f'"{projection}"')
    whole = Trainer(given, sets, tmp_path / "whole").run()
    deaths = run_killed(given, sets, tmp_path / "killed", monkeypatch, every=3)
    assert deaths >= 3
    a, b = ticket(tmp_path / "whole"), ticket(tmp_path / "killed")
    assert a["figures"] == b["figures"] == whole
    for name, tensor in a["model"].items():
        assert torch.equal(tensor, b["model"][name]), name
    updates = [line["step"] for line in lines(tmp_path / "killed", "updated")]
    assert updates == [2, 4, 2, 4]  # twice in each of the two phases of ADMM


def test_z_and_y_are_those_of_the_algorithm(sets: data.Dataset, tmp_path: Path) -> None:
    """Algorithm 1 by hand: one update of Z and Y behind a change of the weights."""
    run = Trainer(made(bits=0, updates=1), sets, tmp_path)
    method = run.method
    assert isinstance(method, Admm)
    weights, masks = weight_masks.originals(run.model), weight_masks.read(run.model)
    with torch.no_grad():
        report = method.update(weights, masks, masks, torch.Generator(), False, None)  # type: ignore[arg-type]
        assert isinstance(report, RoundReport)
        w = weights["fc1"].detach().numpy().copy()
        y = np.zeros_like(w)
        for _ in range(2):
            changed = 0.1 * np.random.default_rng(0).normal(size=w.shape).astype(np.float32)
            weights["fc1"] += torch.from_numpy(changed)
            w = w + changed
            v = w + y
            bound = np.sort(np.abs(v).flatten())[-v.size // 2]
            z = np.where(np.abs(v) >= bound, v, 0)
            y = y + w - z
            method.progressed(run.model, Place(1, 4, 4, epoch_ended=True))
    np.testing.assert_allclose(method.z["fc1"], z, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(method.y["fc1"], y, rtol=1e-5, atol=1e-6)
    term = method.loss_term(run.model, [])
    assert term is not None
    parts = [
        (weights[n].detach() - method.z[n] + method.y[n]).square().sum() for n in ("conv2", "fc1")
    ]
    torch.testing.assert_close(term.detach(), 5e-4 / 2 * torch.stack(parts).sum())


def test_a_pruned_matrix_is_the_nearest_one() -> None:
    v = torch.randn(30, generator=torch.Generator().manual_seed(1))
    mask = largest(v.view(5, 6), 0.5).flatten()
    assert mask.sum() == 15
    assert v[mask].abs().min() >= v[~mask].abs().max()
    assert largest(torch.ones(4), 0.5).tolist() == [True, True, False, False]


def test_what_is_left() -> None:
    """The paper's row: 25 % of the connections gone, one bit, and 0.13 of 0.33 spikes."""
    masks = {"a": torch.tensor([True, False]), "b": torch.tensor([True, True])}
    found = residual(masks, ["a", "b"], memory_left(0.25, 1), 0.13, 0.33)
    assert found.memory == pytest.approx(0.0234, abs=1e-4)
    assert found.operations == pytest.approx(0.0092, abs=1e-4)
    assert found.living == 0.75
    with pytest.raises(ValueError, match="does not spike"):
        residual(masks, ["a"], 1.0, 0.1, 0.0)


def test_memory_is_of_the_inner_layers() -> None:
    """Whatever a method has pruned of them; ADMM's is by what was asked for."""
    full, half = torch.ones(4, dtype=torch.bool), torch.tensor([True, False, False, True])
    masks = {"first": half, "a": half, "b": full, "last": half}
    imp = build(MethodConfig(name="imp"))
    assert imp.memory(masks) == 0.75
    own = {**Admm.own_options, "bits": 3}
    sizes = {name: mask.numel() for name, mask in masks.items()}
    for layers, kept in (("", 0.5 * 3 / 32), ("a", (0.5 * 3 / 32 + 1) / 2), ("a, a", None)):
        method = Admm(MethodConfig(name="admm", sparsity=0.5, own={**own, "layers": layers}))
        method.check_layers(sizes)
        assert len(set(method.layers)) == len(method.layers), "none twice"
        if kept is not None:
            assert method.memory(masks) == kept


def test_options_of_a_run() -> None:
    changed = derive(made(), Changes("admm", 2, sparsity=0.25, bits=1, activity=0.1))
    assert changed.name == "tiny-admm-seed2-sparsity0.25-bits1-activity0.1"
    assert (changed.method.sparsity, changed.method.own["bits"]) == (0.25, 1)
    assert (changed.dense.activity, changed.round.activity, changed.final.activity) == (0, 0.1, 0.1)
    with pytest.raises(RecipeError, match="dense does not quantise"):
        derive(made(), Changes("dense", bits=1))


@pytest.mark.parametrize("phase", ["dense", "round"])
def test_phases_that_it_works_in_need_images(phase: str) -> None:
    text = re.sub(rf"(\[{phase}\]\nimages = )\d+", r"\g<1>0", TEXT)
    assert text != TEXT
    with pytest.raises(RecipeError, match=r"method: admm needs .* no images"):
        recipe.parse(text)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (Changes(rounds=4), "admm climbs no ladder, so it takes no rounds"),
        (Changes(activity=float("nan")), "activity must be finite and not negative: nan"),
        (Changes(activity=-1.0), "activity must be finite and not negative: -1.0"),
    ],
)
def test_options_that_cannot_be(changes: Changes, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        derive(recipe.parse(TEXT), changes)


def test_a_recipe_cannot_average_levels() -> None:
    with pytest.raises(RecipeError, match="ema averages weights"):
        recipe.parse(TEXT.replace("[compute]", "ema = 0.9\n[compute]", 1))


@pytest.mark.usefixtures("one_thread")
def test_the_ten_layers_from_pixels_to_powers_of_two(tmp_path: Path) -> None:
    """The shipped recipe with images for a few steps, on images of three channels."""
    text = (recipe.RECIPES / "strided10-tiny.toml").read_text()
    for old, new in (
        ("width = 8", "width = 1"),
        ("images = 20000", "images = 50"),
        ("images = 5000", "images = 50"),
        ("timesteps = 8", "timesteps = 2"),
        ("validation = 1000", "validation = 20"),
        ("train = 5000\n", ""),
    ):
        assert old in text
        text = text.replace(old, new)
    given = recipe.parse(text)
    one = make_sets()
    colour = data.Dataset(
        *(
            data.Split(split.images.expand(-1, 3, -1, -1).contiguous(), split.labels)
            for split in (one.train, one.validation, one.test)
        )
    )
    figures = Trainer(given, colour, tmp_path).run()
    assert figures["r_mem"] == pytest.approx(0.25 * 3 / 32)
    program, _ = make_program(given, load_ticket(tmp_path).model, {}, colour.train.images[:4])
    assert [layer.name for layer in program.layers] == [
        *(f"conv{n}" for n in range(1, 8)),
        *(f"fc{n}" for n in range(1, 4)),
    ]
    for layer in program.layers[1:-1]:
        living = np.abs(layer.segments[0].weights.astype(np.int64))
        living = living[living > 0]
        assert (living & (living - 1) == 0).all()


def test_fewer_spikes_with_activity(sets: data.Dataset, tmp_path: Path) -> None:
    rates = []
    for activity in (0.0, 20.0):
        given = derive(made(), Changes("dense", activity=activity))
        rates.append(Trainer(given, sets, tmp_path / str(activity)).run()["firing_rate"])
    assert rates[1] < rates[0]
