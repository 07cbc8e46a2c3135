"""A run is reproducible, and killing it changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from evenspike_core.errors import EvenspikeError
from evenspike_train import data
from evenspike_train.recipes import recipe
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.recipes.tables import OptimizerConfig
from evenspike_train.runs import training_step
from evenspike_train.runs.optimizer import learning_rate, loss_per_timestep
from evenspike_train.runs.trainer import Trainer
from evenspike_train.tickets import masks
from evenspike_train.tickets.u_ticket import layer_mean_evenness
from tests.helpers.killing import run_killed
from tests.helpers.training import lines, ticket

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = """
    name = "tiny"
    seed = 5
    [data]
    validation = 20
    [network]
    width = 2
    timesteps = 2
    [method]
    name = "u-ticket"
    scope = "local"
    rounds = 3
    rate = 0.5
    rewind = "REWIND"
    snapshot = 16
    sparsity = 0.8
    pes = 4
    [optimizer]
    name = "OPTIMIZER"
    batch = 16
    [dense]
    images = 40
    timesteps = 1
    lr = 0.01
    [round]
    images = 32
    timesteps = 2
    lr = 0.01
    [final]
    images = 72
    timesteps = 2
    lr = 0.01
    ema = 0.9
    label_smoothing = 0.1
    cutout = 4
    [compute]
    precision = "PRECISION"
    checkpoint_seconds = 0
    round_validation = 10
"""


def tiny(rewind: str = "learning-rate", optimizer: str = "adam", precision: str = "bf16") -> Recipe:
    text = TINY.replace("REWIND", rewind).replace("OPTIMIZER", optimizer)
    return recipe.parse(text.replace("PRECISION", precision))


@pytest.mark.parametrize(
    ("rewind", "optimizer", "precision"),
    [
        ("learning-rate", "adam", "bf16"),
        ("learning-rate", "adam", "sparse-bf16"),
        ("weights", "sgd", "fp32"),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(
    sets: data.Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rewind: str,
    optimizer: str,
    precision: str,
) -> None:
    given = tiny(rewind, optimizer, precision)
    whole = Trainer(given, sets, tmp_path / "whole").run()
    deaths = run_killed(given, sets, tmp_path / "killed", monkeypatch, every=2)
    assert deaths >= 4
    a, b = ticket(tmp_path / "whole"), ticket(tmp_path / "killed")
    assert a["figures"] == b["figures"] == whole
    assert a["images_seen"] == b["images_seen"] == 40 + 2 * 32 + 72
    for name, tensor in a["model"].items():
        assert torch.equal(tensor, b["model"][name]), name
    used = {line["kernels"].split()[0] for line in lines(tmp_path / "whole", "kernels")}
    assert used == ({"dense,"} if precision == "fp32" else {"dense,", "sparse,"})


def test_ticket_meets_its_promises(sets: data.Dataset, tmp_path: Path) -> None:
    figures = Trainer(tiny(), sets, tmp_path).run()
    assert figures["sparsity"] >= 0.8
    assert figures["evenness"] == 1.0
    state = ticket(tmp_path)["model"]
    alive = {k.split(".parametrizations")[0]: v for k, v in state.items() if k.endswith(".mask")}
    assert masks.sparsity(alive) == figures["sparsity"]
    assert layer_mean_evenness(alive, 4) == 1.0
    log = lines(tmp_path)
    assert [x["round"] for x in log if x["event"] == "pruned"] == [1, 2, 3]
    for line in log:
        if line["event"] == "pruned":
            assert line["evenness"] == 1.0
            assert {"sparsity", "seconds", "images_seen", "recovered", "removed"} <= line.keys()
        if line["event"] == "trained":
            assert {"accuracy", "firing_rate"} <= line.keys()
    assert (tmp_path / "dense.pt").is_file()
    assert (tmp_path / "recipe.toml").read_text() == tiny().text
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("points", [0, 1, 3, 100])
def test_the_final_phase_has_its_curve(sets: data.Dataset, tmp_path: Path, points: int) -> None:
    text = tiny().text.replace("precision", f"final_validations = {points}\n    precision")
    plain = Trainer(tiny(), sets, tmp_path / "plain").run()
    assert Trainer(recipe.parse(text), sets, tmp_path / "curve").run() == plain, "only looked at"
    curve = lines(tmp_path / "curve", "validation")
    # 72 images in batches of 16 are five steps
    wanted = {0: [], 1: [5], 3: [2, 4, 5], 100: [1, 2, 3, 4, 5]}[points]
    assert [line["step"] for line in curve] == wanted
    for line in curve:
        assert (line["phase"], line["of"]) == ("final", 5)
        assert line["images_seen"] == 40 + 2 * 32 + min(16 * line["step"], 72)
        assert 0 <= line["accuracy"] <= 100


def test_seed_is_used(sets: data.Dataset, tmp_path: Path) -> None:
    one = tiny()
    Trainer(one, sets, tmp_path / "a").run()
    other = recipe.parse(one.text.replace("seed = 5", "seed = 6"))
    Trainer(other, sets, tmp_path / "b").run()
    a, b = (ticket(tmp_path / d)["model"]["layers.3.norm.weight"] for d in "ab")
    assert not torch.equal(a, b)


def test_rewinding_goes_back_to_the_snapshot(sets: data.Dataset, tmp_path: Path) -> None:
    run = Trainer(tiny("weights", "sgd", "fp32"), sets, tmp_path)
    tmp_path.mkdir(exist_ok=True)
    run._run_phase(run.phases[0])
    key = "layers.2.conv.parametrizations.weight.original"
    assert not torch.equal(run.model.state_dict()[key], run.state.snapshot[key])
    run._update_masks(1)
    for name, tensor in run.model.state_dict().items():
        if not name.endswith(".mask"):
            assert torch.equal(tensor, run.state.snapshot[name]), name


@pytest.mark.parametrize("recover", ["snapshot", "kept", "zero"])
def test_recovered_weights_get_the_value_asked_for(
    sets: data.Dataset, tmp_path: Path, recover: str
) -> None:
    text = tiny().text.replace("pes = 4", f'pes = 4\nrecover = "{recover}"')
    run = Trainer(recipe.parse(text), sets, tmp_path)
    tmp_path.mkdir(exist_ok=True)
    run._run_phase(run.phases[0])
    run._update_masks(1)
    before = masks.read(run.model)
    kept = {k: v.clone() for k, v in masks.originals(run.model).items()}
    run._update_masks(2)
    after, count = masks.read(run.model), 0
    for name, original in masks.originals(run.model).items():
        recovered = after[name] & ~before[name]
        count += int(recovered.sum())
        snapshot = run.state.snapshot[f"{name}.parametrizations.weight.original"]
        wanted = {"snapshot": snapshot, "kept": kept[name], "zero": torch.zeros_like(original)}
        assert torch.equal(original[recovered], wanted[recover][recovered])
    assert count > 0


def test_a_diverged_run_stops(
    sets: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_step, "loss_of", lambda _kind, z, *_: z.sum() * float("nan"))
    with pytest.raises(EvenspikeError, match="dense: the loss is nan at step 1"):
        Trainer(tiny(), sets, tmp_path).run()


def test_learning_rate_schedules() -> None:
    cycle = OptimizerConfig(schedule="onecycle", warmup=0.2)
    assert learning_rate(cycle, 1.0, 0.0) == pytest.approx(0.04)
    assert learning_rate(cycle, 1.0, 0.2) == pytest.approx(1.0)
    assert learning_rate(cycle, 1.0, 0.6) == pytest.approx(0.5)
    assert learning_rate(cycle, 1.0, 1.0) == pytest.approx(0.0)
    assert learning_rate(OptimizerConfig(schedule="cosine"), 1.0, 0.5) == pytest.approx(0.5)


def test_loss_is_the_mean_of_the_timesteps() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 4, 10), torch.tensor([1, 2, 3, 4])
    each = [torch.nn.functional.cross_entropy(z, labels) for z in logits]
    torch.testing.assert_close(loss_per_timestep(logits, labels, 0.0), torch.stack(each).mean())


def test_batch_norm_and_biases_do_not_decay(sets: data.Dataset, tmp_path: Path) -> None:
    run = Trainer(tiny(), sets, tmp_path)
    decayed, others = run.state.optimizer.param_groups
    assert others["weight_decay"] == 0.0 < decayed["weight_decay"]
    assert all(p.dim() >= 2 for p in decayed["params"])
    assert all(p.dim() == 1 for p in others["params"])
    assert len(decayed["params"]) == 14
