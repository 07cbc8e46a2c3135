"""Attention-guided compression: rewiring, attention, conversion, and whole runs of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch

import evenspike as es
from evenspike_core import reference
from evenspike_core.compact import compact
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Coding
from evenspike_train import data, networks
from evenspike_train.export.card import card
from evenspike_train.export.integer import quantised_forward
from evenspike_train.export.programs import follow, to_program
from evenspike_train.kernels.learned_neuron import LearnedLIF
from evenspike_train.kernels.neuron import LIFParameters
from evenspike_train.networks import NetworkConfig, twin
from evenspike_train.networks.conversion import (
    Conversion,
    check_convertible,
    evaluate_thresholds,
    percentile,
)
from evenspike_train.recipes import recipe
from evenspike_train.runs import energy
from evenspike_train.runs import export as exporting
from evenspike_train.runs.trainer import Trainer
from evenspike_train.tickets import attention, rewiring
from evenspike_train.tickets import masks as weight_masks
from tests.helpers.killing import run_killed
from tests.helpers.training import ticket

NEURON = LIFParameters(1.0, 1.0, 1.0, "soft", "triangle", 0.3)

AGC = """
name = "agc-tiny"
seed = 3
[data]
validation = 20
[augmentation]
flip = false
shift = 0
[network]
name = "agc-vgg9"
width = 2
timesteps = 3
dropout = 0.1
[network.neuron]
leak = 1.0
gain = 1.0
reset = "soft"
surrogate = "triangle"
alpha = 0.3
[method]
name = "agc"
density = 0.4
threshold_images = 16
threshold_timesteps = 12
guided_epochs = 1
alpha = 1.0
[optimizer]
name = "sgd"
batch = 20
[dense]
images = 180
timesteps = 3
lr = 0.01
[final]
images = 60
timesteps = 3
lr = 0.001
optimizer = "adam"
schedule = "halves"
[compute]
precision = "fp32"
checkpoint_seconds = 0
round_validation = 10
"""

META = """
name = "meta-tiny"
[data]
validation = 20
[network]
name = "agc-vgg9"
width = 2
timesteps = 1
activation = "relu"
[method]
name = "dense"
[optimizer]
batch = 20
[final]
images = 40
timesteps = 1
lr = 0.01
[compute]
precision = "fp32"
round_validation = 10
"""


def log(folder: Path, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


# ---- rewiring -----------------------------------------------------------------------------------


def test_what_is_given_up_comes_back_by_momentum_and_the_number_stays() -> None:
    weights = {"a": torch.tensor([[1.0, 5.0, 2.0, 0.0, 0.0]]), "b": torch.tensor([[3.0, 4.0, 0.0]])}
    masks = {name: one != 0 for name, one in weights.items()}
    momentum = {
        "a": torch.tensor([[1.0, 1.0, 1.0, 0.5, -9.0]]),
        "b": torch.tensor([[0.0, 0.0, 7.0]]),
    }
    done = rewiring.rewire(weights, masks, momentum, 0.5, "irregular", 5)
    # One of a and one of b go, the smallest; b has no momentum, so both come back in a.
    assert done.moved == 2
    assert done.masks["a"].tolist() == [[True, True, True, False, True]]
    assert done.masks["b"].tolist() == [[False, True, False]]
    unchanged = rewiring.rewire(weights, masks, momentum, 0.0, "irregular", 5)
    assert unchanged.moved == 0
    assert unchanged.masks is masks


@pytest.mark.parametrize("granularity", rewiring.GRANULARITIES)
def test_living_weights_are_the_targets_at_any_rate(granularity: str) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (6, 8, 3, 3), "b": (4, 6, 3, 3), "c": (10, 4, 1, 1)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    masks = {name: rewiring.draw(one, 0.5, granularity, generator) for name, one in weights.items()}
    target = sum(int(one.sum()) for one in masks.values())
    coarsest = max(rewiring.as_units(one, granularity).shape[1] for one in weights.values())
    for rate in (0.5, 0.4, 0.3, 0.2, 0.1):
        momentum = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        done = rewiring.rewire(weights, masks, momentum, rate, granularity, target)
        masks = done.masks
        living = sum(int(one.sum()) for one in masks.values())
        assert target - coarsest < living <= target
        assert all(bool(one.any()) for one in masks.values())
        assert done.moved or rate < 0.25
        if granularity == "channel":
            for one in masks.values():
                assert bool((one == one[:1, :, :1, :1]).all())


def test_what_has_no_room_goes_to_the_others() -> None:
    one = dict.fromkeys("abc", 1)
    shares = {"a": 8.0, "b": 1.0, "c": 1.0}
    assert rewiring.allocate(10, shares, {"a": 4, "b": 9, "c": 9}, one) == {"a": 4, "b": 3, "c": 3}
    full = rewiring.allocate(10, shares, {"a": 2, "b": 1, "c": 1}, one)
    assert full == {"a": 2, "b": 1, "c": 1}
    still = rewiring.allocate(4, dict.fromkeys("abc", 0.0), dict.fromkeys("abc", 2), one)
    assert sum(still.values()) == 4


# ---- attention ----------------------------------------------------------------------------------


def test_maps_are_those_of_eq_4_and_5() -> None:
    generator = torch.Generator().manual_seed(0)
    own, other = (torch.randn(3, 5, 4, 4, generator=generator) for _ in range(2))
    wanted = 0.0
    for one, two in zip(own.numpy(), other.numpy(), strict=True):
        maps = [(np.abs(each) ** 2).sum(0).ravel() for each in (one, two)]
        wanted += float(np.linalg.norm(np.subtract(*(m / np.linalg.norm(m) for m in maps))))
    assert float(attention.distance([own], [other], 2.0)) == pytest.approx(wanted / 3, rel=1e-5)
    assert float(attention.distance([own], [own * 3], 2.0)) == pytest.approx(0.0, abs=1e-6)


def test_layers_of_the_same_map_are_paired_and_single_places_are_not() -> None:
    def maps(*sides: int) -> list[torch.Tensor]:
        return [torch.zeros(1, 2, side, side) for side in sides]

    assert attention.pairs(maps(8, 8, 4, 2, 1), maps(8, 4, 4, 1)) == [(1, 0), (2, 2)]
    assert attention.pairs(maps(8, 1), maps(7, 1)) == []


# ---- conversion ---------------------------------------------------------------------------------


def test_a_percentile_is_a_value() -> None:
    values = torch.arange(1.0, 1001.0)
    assert percentile(values, 99.7) == 997.0
    assert percentile(values, 100.0) == 1000.0
    assert percentile(torch.tensor([2.0]), 0.1) == 2.0


def test_thresholds_come_layer_by_layer_and_are_scaled_at_the_end() -> None:
    torch.manual_seed(0)
    model = networks.build(NetworkConfig("agc-vgg9", width=2, timesteps=4, neuron=NEURON)).eval()
    layers = [one for one in model.modules() if isinstance(one, LearnedLIF)]
    images = torch.randint(0, 256, (8, 1, 32, 32), dtype=torch.uint8)
    found = evaluate_thresholds(model, images, Conversion(scale=0.4, timesteps=9))
    assert [one.values().threshold for one in layers] == pytest.approx(list(found.values()))
    # The first by hand, and the last again, with those in front unscaled.
    first = model.get_submodule("layers.0.conv")(images / 256).detach()
    assert next(iter(found.values())) == pytest.approx(0.4 * percentile(first, 99.7), rel=1e-5)
    with torch.no_grad():
        for one in layers:
            one.threshold.mul_(1 / 0.4)
        currents: list[torch.Tensor] = []
        hook = layers[-1].register_forward_pre_hook(lambda _, given: currents.append(given[0]))
        model.timesteps = 9
        model(images)
        hook.remove()
    wanted = max(percentile(one, 99.7) for one in currents[0])
    assert list(found.values())[-1] == pytest.approx(0.4 * wanted, rel=1e-3)
    assert all(one.values().leak == 1.0 for one in layers)


def test_a_network_that_never_has_a_current_is_named() -> None:
    model = networks.build(NetworkConfig("agc-vgg9", width=2, timesteps=2, neuron=NEURON))
    with pytest.raises(EvenspikeError, match=r"layers\.0\.lif: 99\.7 % of its currents"):
        evaluate_thresholds(model, torch.zeros(2, 1, 32, 32, dtype=torch.uint8), Conversion())


@pytest.mark.parametrize(
    ("name", "says"), [("vgg16", "norm is a batch norm"), ("resnet19", "norm is a batch norm")]
)
def test_what_cannot_be_converted_is_named(name: str, says: str) -> None:
    with pytest.raises(EvenspikeError, match=says):
        check_convertible(networks.build(NetworkConfig(name, width=2)))


def test_a_max_pool_cannot_be_converted() -> None:
    model = networks.build(NetworkConfig("agc-vgg9", width=2))
    model.get_submodule("layers.0").pool = torch.nn.MaxPool2d(2)
    with pytest.raises(EvenspikeError, match=r"layers\.0\.pool is a max-pool"):
        check_convertible(model)


def test_figures_of_many_images_are_the_mean_of_their_own() -> None:
    """However many are looked at together."""
    torch.manual_seed(1)
    model = networks.build(NetworkConfig("agc-vgg9", width=2, timesteps=2, neuron=NEURON)).eval()
    weight_masks.attach(model)
    images = torch.randint(0, 256, (energy.BATCH + 3, 1, 32, 32), dtype=torch.uint8)
    evaluate_thresholds(model, images[:4], Conversion(timesteps=9))
    each = [energy.operations(model, one[None]) for one in images]
    for name, found in energy.operations(model, images).items():
        assert found == pytest.approx(sum(one[name] for one in each) / len(each)), name
    alone = np.array([energy.spike_activity(model, one[None]) for one in images])
    np.testing.assert_allclose(energy.spike_activity(model, images), alone.mean(0))


# ---- operations ---------------------------------------------------------------------------------


def test_operations_are_those_of_table_5() -> None:
    torch.manual_seed(0)
    model = networks.build(NetworkConfig("agc-vgg9", width=2, timesteps=2, neuron=NEURON)).eval()
    weight_masks.attach(model)
    masks = {name: torch.rand(one.shape) < 0.5 for name, one in weight_masks.read(model).items()}
    weight_masks.write(model, masks)
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    evaluate_thresholds(model, images, Conversion(timesteps=9))
    found = energy.operations(model, images)
    record: list[torch.Tensor] = []
    model(images, record=record)
    # The second convolution, spelled out: each weight that lives, at each place, by its input.
    inputs = torch.nn.functional.avg_pool2d(record[0], 2)
    padded = torch.nn.functional.pad(inputs, (1, 1, 1, 1)).detach().numpy()
    count = 0.0
    for f, c, i, j in masks["layers.1.conv"].nonzero().tolist():
        del f
        count += float(padded[:, c, i : i + 16, j : j + 16].sum())
    others = {name: one for name, one in masks.items() if name != "layers.1.conv"}
    weight_masks.write(
        model,
        {
            **{n: torch.zeros_like(m) for n, m in others.items()},
            "layers.0.conv": masks["layers.0.conv"],
            "layers.1.conv": masks["layers.1.conv"],
        },
    )
    alone = energy.operations(model, images)
    assert alone["acs"] == pytest.approx(count / 2, rel=1e-5)
    assert found["macs_first"] == int(masks["layers.0.conv"].sum()) * 32 * 32
    assert found["energy"] == pytest.approx(32 * found["macs_first"] + found["acs"])
    assert found["macs"] < found["macs_dense"]


# ---- channels that go ---------------------------------------------------------------------------


def test_a_network_that_loses_its_channels_does_what_it_did() -> None:
    torch.manual_seed(1)
    model = networks.build(NetworkConfig("agc-vgg9", width=4, timesteps=4, neuron=NEURON)).eval()
    weight_masks.attach(model)
    generator = torch.Generator().manual_seed(0)
    weights = weight_masks.originals(model)
    masks = {
        name: rewiring.draw(one, 0.5, "channel", generator)
        if one.dim() == 4 and name != "layers.0.conv"
        else torch.ones_like(one, dtype=torch.bool)
        for name, one in weights.items()
    }
    weight_masks.write(model, masks)
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    evaluate_thresholds(model, images, Conversion(timesteps=9))
    program, _ = to_program(follow(model, images), {}, may_be_silent=True)
    smaller = compact(program)
    sizes = [layer.filters for layer in smaller.layers]
    assert sizes == [2, 4, 8, 8, 16, 32, 256, 256, 10]
    assert smaller.weights < program.weights
    before, after = (quantised_forward(one, images).logits for one in (program, smaller))
    assert bool(before.any())
    assert torch.equal(before, after)
    first = reference.run(smaller, images[0].numpy())
    assert first.logits.tolist() == before[0].tolist()
    assert compact(smaller) is smaller


# ---- whole runs ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def meta(sets: data.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A meta-model's run."""
    folder = tmp_path_factory.mktemp("meta") / "run"
    Trainer(recipe.parse(META), sets, folder).run()
    return folder


def guided(meta: Path, text: str = AGC) -> recipe.Recipe:
    return recipe.parse(text.replace("[method]", f'[method]\nmeta = "{meta}"'))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("granularity", rewiring.GRANULARITIES)
def test_a_run_is_compressed_converted_trained_and_becomes_integers(
    granularity: str, meta: Path, sets: data.Dataset, tmp_path: Path
) -> None:
    text = AGC.replace("density = 0.4", f'density = 0.5\ngranularity = "{granularity}"')
    given = guided(meta, text)
    run = Trainer(given, sets, tmp_path)
    figures = run.run()
    epochs = log(tmp_path, "epoch")
    assert [round(float(line["rate"]), 4) for line in epochs] == [0.3333, 0.1667, 0.0]  # type: ignore[arg-type]
    assert len({line["living"] for line in epochs}) == 1 or granularity == "channel"
    masks = weight_masks.read(run.model)
    names = list(masks)
    assert bool(masks[names[0]].all())
    assert bool(masks[names[-1]].all())
    (converted,) = log(tmp_path, "converted")
    assert len(converted["thresholds"]) == 8  # type: ignore[arg-type]
    assert not twin.is_twin(run.model)
    assert len(figures["leaks"]) == len(figures["thresholds"]) == 8
    assert 0 < min(figures["leaks"]) <= 4096
    assert figures["operations"]["energy"] > 0
    ticket = exporting.load_ticket(tmp_path)
    hybrid = exporting._hybrid(ticket)
    assert hybrid["converted_accuracy"] == pytest.approx(converted["accuracy"])
    program, proof = exporting.to_program(ticket, {}, sets.train.images[:4])
    proof.check(may_be_silent=True)
    assert [layer.leak for layer in program.layers[:8]] == figures["leaks"]
    whole, _ = to_program(follow(ticket.model, sets.train.images[:4]), {}, may_be_silent=True)
    logits = [quantised_forward(one, sets.test.images[:4]).logits for one in (program, whole)]
    assert torch.equal(*logits)
    if granularity == "channel":
        assert program.weights < whole.weights
        torch.save(ticket.model.state_dict(), tmp_path / "weights.pt")
        read, _, _ = exporting.from_checkpoint(tmp_path / "weights.pt", given)
        assert read.weights == program.weights
    else:
        assert program.weights == whole.weights


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_killed_run_ends_as_if_it_had_not_been(
    optimizer: str,
    meta: Path,
    sets: data.Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = guided(meta, AGC.replace('name = "sgd"', f'name = "{optimizer}"'))
    whole = Trainer(given, sets, tmp_path / "whole").run()
    deaths = run_killed(given, sets, tmp_path / "killed", monkeypatch, every=2)
    assert deaths >= 4
    a, b = ticket(tmp_path / "whole"), ticket(tmp_path / "killed")
    assert a["figures"] == b["figures"] == whole
    for name, tensor in a["model"].items():
        assert torch.equal(tensor, b["model"][name]), name


@pytest.mark.usefixtures("one_thread")
def test_conversion_alone_and_dense(sets: data.Dataset, tmp_path: Path) -> None:
    text = AGC.replace("density = 0.4", "density = 1.0").replace("images = 60", "images = 0")
    run = Trainer(recipe.parse(text), sets, tmp_path)
    figures = run.run()
    assert figures["sparsity"] == 0.0
    (converted,) = log(tmp_path, "converted")
    assert figures["validation_accuracy"] == converted["accuracy"]
    assert figures["leaks"] == [4096] * 8


@pytest.mark.usefixtures("one_thread")
def test_pixels_may_be_drawn_as_spikes(sets: data.Dataset, tmp_path: Path) -> None:
    """Of the spiking network; its twin takes the pixels, and nothing is multiplied any more."""
    text = AGC.replace("dropout = 0.1", 'dropout = 0.1\ninput = "bernoulli"')
    run = Trainer(recipe.parse(text), sets, tmp_path)
    figures = run.run()
    counted = figures["operations"]
    assert (counted["macs_first"], counted["energy"]) == (0, counted["acs"])
    drawn = []
    conv = next(module for _, module in networks.prunable(run.model))
    hook = conv.register_forward_pre_hook(lambda _, x: drawn.append(x[0]))
    images = sets.test.images[:4]
    first = run.model.eval()(images)
    assert torch.equal(first, run.model(images)), "the same draws each time"
    hook.remove()
    assert drawn[0].unique().tolist() == [0.0, 1.0]
    assert drawn[0].shape[0] == 3 * 4
    program, proof = exporting.to_program(exporting.load_ticket(tmp_path), {}, images)
    proof.check(may_be_silent=True)
    assert program.encoder.coding is Coding.RATE
    assert program.layers[0].name == "input"
    assert [layer.leak for layer in program.layers[1:9]] == figures["leaks"]
    integers = quantised_forward(program, images).logits.argmax(1)
    assert torch.equal(integers, first.sum(0).argmax(1))


@pytest.mark.usefixtures("one_thread")
def test_fixed_neurons_stay_as_they_are_converted(sets: data.Dataset, tmp_path: Path) -> None:
    text = AGC.replace("dropout = 0.1", 'dropout = 0.1\nlearns = "none"')
    figures = Trainer(recipe.parse(text), sets, tmp_path).run()
    (converted,) = log(tmp_path, "converted")
    assert figures["leaks"] == [4096] * 8
    assert figures["thresholds"] == list(converted["thresholds"].values())  # type: ignore[attr-defined]


def test_dead_weights_have_a_gradient_in_the_search_alone(
    sets: data.Dataset, tmp_path: Path
) -> None:
    run = Trainer(recipe.parse(AGC), sets, tmp_path)
    run.directory.mkdir(exist_ok=True)
    run._begin()
    for phase, passes in ((run.phases[0], True), (run.phases[-1], False)):
        run.stepper.prepare(phase)
        run.model.train()
        run.model(sets.train.images[:4]).square().sum().backward()
        for name, weight in list(weight_masks.originals(run.model).items())[1:-1]:
            dead = ~weight_masks.read(run.model)[name]
            assert weight.grad is not None
            assert bool(weight.grad[dead].any()) is passes, name
            assert not bool(weight[dead].any())
        run.model.zero_grad()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("density = 0.4", "density = 0.0", r"density must lie in \(0, 1\], not 0.0"),
        ("density = 0.4", 'granularity = "filter"', "granularity must be one of"),
        ("density = 0.4", "prune_rate = 1.0", r"prune_rate must lie in \[0, 1\)"),
        ("density = 0.4", "percentile = 0.0", r"of the thresholds percentile must lie in"),
        ("density = 0.4", "power = nan", "method: power: must be finite, not nan"),
        ("images = 180", "images = 0", "agc needs the dense phase, which has no images"),
        ("images = 180", "images = 180\nactivity = 0.1", "dense: activity is of spikes"),
        ("density = 0.4", "sparsity = 0.9", "agc has no option sparsity; it has .*density"),
        ('schedule = "halves"', 'schedule = "thirds"', "schedule must be one of"),
    ],
)
def test_a_wrong_recipe_is_one_line(old: str, new: str, says: str) -> None:
    with pytest.raises(recipe.RecipeError, match=says):
        recipe.parse(AGC.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("density = 0.4", "density = 0.001", r"density 0.001 leaves none of the 72 weights of lay"),
        (
            "density = 0.4",
            'density = 0.1\ngranularity = "channel"',
            r"density 0.1 leaves none of the 2 channels of layers\.1\.conv",
        ),
        ("density = 0.4", 'layers = "layers.0.conv"', r"layers\.0\.conv is the first layer"),
        ("density = 0.4", 'layers = "classifier"', "classifier is the last layer"),
        ("density = 0.4", 'layers = "fc9"', r"fc9 is no layer that can be compressed; there are"),
        ('reset = "soft"', 'reset = "hard"', "cannot be converted: .* have a hard reset"),
        ('name = "agc-vgg9"', 'name = "vgg16"', "cannot be converted: .* batch norm"),
        (
            'name = "sgd"',
            'name = "sgd"\nmomentum = 0.0\nnesterov = false',
            "momentum is 0, but agc",
        ),
    ],
)
def test_what_does_not_fit_the_network_is_one_line(
    old: str, new: str, says: str, sets: data.Dataset, tmp_path: Path
) -> None:
    text = AGC.replace(old, new)
    if "vgg16" in new:
        text = text.replace("dropout = 0.1\n", "")
    with pytest.raises(EvenspikeError, match=says) as caught:
        Trainer(recipe.parse(text), sets, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_meta_model_that_does_not_fit_is_one_line(
    meta: Path, sets: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EvenspikeError, match="no such file; has the run finished"):
        Trainer(guided(tmp_path / "gone"), sets, tmp_path / "run")
    spiking = tmp_path / "spiking"
    dense = AGC.replace("density = 0.4", "density = 1.0").replace("180", "20")
    Trainer(recipe.parse(dense), sets, spiking).run()
    with pytest.raises(EvenspikeError, match="holds a spiking network"):
        Trainer(guided(spiking), sets, tmp_path / "run")
    monkeypatch.setattr(attention, "pairs", lambda *_: [])
    with pytest.raises(EvenspikeError, match=r"no maps of .* pair .*: they are 32x32, 16x16"):
        Trainer(guided(meta), sets, tmp_path / "run")


def test_the_card_says_what_was_learned() -> None:
    plain = es.load("vgg16-small")
    hybrid = {
        "leaks": [4096, 4000],
        "thresholds": [0.5, 1.25],
        "rounded_accuracy": 88.5,
        "activity": [0.5, 1.0],
        "operations": {"macs_first": 100.0, "acs": 800.0, "macs_dense": 1000.0}
        | {"energy_dense": 32000.0, "energy": 4000.0},
        "converted_accuracy": 40.0,
    }
    told = dataclasses.replace(plain, provenance={**plain.provenance, "hybrid": hybrid})
    text = card(told)
    assert "| converted, before hybrid learning | 40.00 % |" in text
    assert "| leaks, of 4096 | 4096, 4000 |" in text
    assert "| operations (AGC, Table V) | 100 MAC, 800 AC; dense with ReLU 1,000 MAC |" in text
    assert "| energy (AGC, Eq. 15) | 8.0 times less than dense with ReLU |" in text
    assert "hybrid learning" not in card(plain)
