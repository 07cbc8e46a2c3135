"""Every method from its recipe to a ticket, and the same when the run is killed on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from evenspike_core.errors import EvenspikeError
from evenspike_train import data
from evenspike_train.networks import twin
from evenspike_train.recipes import recipe
from evenspike_train.runs import checkpoint
from evenspike_train.runs.probe import NetworkProbe
from evenspike_train.runs.schedule import Phase
from evenspike_train.runs.trainer import Trainer
from evenspike_train.runs.training_step import TrainingStep
from evenspike_train.tickets import METHODS, RoundReport, masks
from evenspike_train.tickets.base import WeightMasks
from evenspike_train.tickets.figures import paper_utilization
from evenspike_train.tickets.imp import IterativeMagnitude
from tests.helpers.killing import KilledError, run_killed
from tests.helpers.training import lines, make_sets, ticket

pytestmark = pytest.mark.usefixtures("one_thread")

BASE = """
    name = "tiny"
    seed = 5
    [data]
    validation = 20
    [network]
    width = 4
    timesteps = 3
    [method]
    pes = 4
    METHOD
    [optimizer]
    batch = 16
    [dense]
    images = DENSE
    timesteps = 3
    lr = 0.01
    [round]
    images = 32
    timesteps = 3
    lr = 0.01
    [final]
    images = 40
    timesteps = 3
    lr = 0.01
    [compute]
    precision = "fp32"
    checkpoint_seconds = 0
    round_validation = 10
"""

LADDER = 'rounds = 2\nrate = 0.5\nscope = "local"\nsnapshot = 16'

TABLES = {
    "dense": 'name = "dense"',
    "random": 'name = "random"\nsparsity = 0.75\nbalance = "weights"',
    "snip": 'name = "snip"\nsparsity = 0.5\nsaliency_images = 20',
    "imp": f'name = "imp"\n{LADDER}',
    "u-ticket": f'name = "u-ticket"\n{LADDER}\nremove = "magnitude"',
    "u-ticket+code": f'name = "u-ticket"\n{LADDER}\ncarry = "code"',
    "cycle-aware": f'name = "cycle-aware"\n{LADDER}',
    "early-bird": 'name = "early-bird"\nscope = "local"\nsparsity = 0.7\nwindow = 2\n'
    'distance = 0.5\nbalance = "weights"',
    "transferred": f'name = "transferred"\n{LADDER}\nbalance = "weights"',
    "imp+early-time": f'name = "imp"\n{LADDER}\nearly_time = true\nearly_time_images = 32',
    "early-bird+early-time": 'name = "early-bird"\nscope = "local"\nsparsity = 0.7\nwindow = 2\n'
    'distance = 0.001\nearly_time = true\nbalance = "cycles"',
    "u-ticket+early-time": f'name = "u-ticket"\n{LADDER}\nearly_time = true\n'
    "early_time_images = 16",
    "u-ticket+early-time-2": f'name = "u-ticket"\n{LADDER}\nearly_time = true\n'
    "early_time_images = 16\nearly_timesteps = 2",
}


def tiny(method: str, dense_images: int = 200) -> recipe.Recipe:
    return recipe.parse(BASE.replace("METHOD", TABLES[method]).replace("DENSE", f"{dense_images}"))


@pytest.fixture(scope="module")
def sets() -> data.Dataset:
    return make_sets(train=40)


def test_every_method_is_run_here() -> None:
    # goes on from a ticket: test_finetune.py; need networks of their own: test_admm.py, test_agc.py
    elsewhere = {"held", "admm", "hard", "agc"}
    assert {name.split("+")[0] for name in TABLES} == METHODS.keys() - elsewhere


@pytest.mark.parametrize("method", TABLES)
def test_method_makes_its_ticket_and_survives_being_killed(
    method: str, sets: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tiny(method)
    whole = Trainer(given, sets, tmp_path / "whole").run()
    deaths = run_killed(given, sets, tmp_path / "killed", monkeypatch, every=2)
    assert deaths >= 1
    a, b = ticket(tmp_path / "whole"), ticket(tmp_path / "killed")
    assert a["figures"] == b["figures"] == whole
    for name, tensor in a["model"].items():
        assert torch.equal(tensor, b["model"][name]), name

    expected = {"dense": 0.0, "random": 0.75, "snip": 0.5, "early-bird": 0.7}.get(
        method.split("+", maxsplit=1)[0], 0.75
    )
    assert whole["sparsity"] == pytest.approx(expected, abs=0.02)
    alive = {k.split(".param")[0]: m for k, m in a["model"].items() if k.endswith(".mask")}
    assert masks.sparsity(alive) == whole["sparsity"]
    balanced = given.method.balancing == "weights"
    assert (paper_utilization(alive, 4) == 1.0) == (balanced or method == "dense")

    trained = lines(tmp_path / "whole", "trained")
    searched = [] if method in ("random", "snip") else [0]
    if given.method.rounds == 2:
        searched = [0, 1]
    assert [line["round"] for line in trained] == [*searched, max(whole_rounds(given), 1)]
    for line in trained:
        known = {"sparsity", "accuracy", "utilization", "round_seconds", "timesteps"}
        if method != "transferred" or line["phase"] == "final":
            known |= {"firing_rate", "expected_utilization"}
        assert known <= line.keys()
        assert 0 <= line["round_seconds"] <= line["seconds"]
    assert trained[-1]["timesteps"] == 3
    assert trained[-1]["sparsity"] == pytest.approx(whole["sparsity"], abs=1e-5)


def whole_rounds(given: recipe.Recipe) -> int:
    return METHODS[given.method.name](given.method).rounds


def test_an_update_is_given_what_was_trained_and_what_was_carried(
    sets: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `carry = "code"` these differ: recovered weights are trained, but not carried."""
    seen: list[tuple[WeightMasks, WeightMasks, RoundReport]] = []
    original = IterativeMagnitude.update

    def update(
        self: IterativeMagnitude, weights: Any, masks: Any, carried: Any, *rest: Any
    ) -> RoundReport:
        seen.append((masks, carried, original(self, weights, masks, carried, *rest)))
        return seen[-1][2]

    monkeypatch.setattr(IterativeMagnitude, "update", update)
    Trainer(tiny("u-ticket+code"), sets, tmp_path).run()
    (whole, same, first), (trained, carried, last) = seen
    assert all(bool(whole[name].all()) and bool(same[name].all()) for name in whole)
    recovered = 0
    for name, mask in trained.items():
        assert torch.equal(mask, first.masks[name])
        assert torch.equal(carried[name], first.carried[name])
        recovered += int((mask & ~carried[name]).sum())
        assert not bool((last.carried[name] & ~(mask & carried[name])).any())
    assert recovered > 0


def test_early_bird_ends_its_search_early(sets: data.Dataset, tmp_path: Path) -> None:
    given = tiny("early-bird", dense_images=400)  # ten epochs; masks differ by less than a half
    figures = Trainer(given, sets, tmp_path).run()
    epochs = lines(tmp_path, "epoch")
    assert [line["stop"] for line in epochs] == [False, False, True]
    assert [line["masks_compared"] for line in epochs] == [0, 1, 2]
    assert 0 < epochs[-1]["distance"] < 0.5
    seen = (3 * 40 + 15) // 16 * 16  # whole batches
    assert figures["images_seen"] == seen + 40


def test_early_bird_goes_on_while_its_mask_moves(sets: data.Dataset, tmp_path: Path) -> None:
    text = tiny("early-bird").text.replace("distance = 0.5", "distance = 1e-9")
    figures = Trainer(recipe.parse(text), sets, tmp_path).run()
    assert not any(line["stop"] for line in lines(tmp_path, "epoch"))
    assert figures["images_seen"] == 200 + 40


def four_timesteps(*options: str, threshold: float = 1.0) -> recipe.Recipe:
    """The search with Early-Time of a network that has four, with these options besides."""
    text = tiny("imp+early-time", dense_images=64).text.replace("timesteps = 3", "timesteps = 4")
    text = text.replace("[method]", f"[network.neuron]\nthreshold = {threshold}\n[method]")
    return recipe.parse(
        text.replace("early_time = true", "\n".join(("early_time = true", *options)))
    )


def test_early_time_searches_with_fewer_timesteps(sets: data.Dataset, tmp_path: Path) -> None:
    given = four_timesteps("divergence = 0.999", threshold=0.2)  # at 1.0 hardly a neuron fires yet
    Trainer(given, sets, tmp_path).run()
    (chosen,) = lines(tmp_path, "early-time")
    assert chosen["images_seen"] == 32
    assert chosen["divergence"][0] == 1.0
    assert chosen["timesteps"] in (3, 4)
    used = [line["timesteps"] for line in lines(tmp_path, "trained")]
    assert used == [chosen["timesteps"], chosen["timesteps"], 4]


@pytest.mark.parametrize("chosen", [2, 3])
def test_early_time_may_be_told_its_timesteps(
    sets: data.Dataset, tmp_path: Path, chosen: int
) -> None:
    """Whatever the divergence, of which the share at two timesteps is 1 and so never below."""
    Trainer(four_timesteps(f"early_timesteps = {chosen}"), sets, tmp_path).run()
    (line,) = lines(tmp_path, "early-time")
    assert (line["timesteps"], line["images_seen"]) == (chosen, 32)
    assert len(line["divergence"]) == 2
    assert [line["timesteps"] for line in lines(tmp_path, "trained")] == [chosen, chosen, 4]


def test_early_time_compares_what_the_recipe_says(
    sets: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits that are off in the first timestep alone: in a mean of t by 1/t of that.

    From the mean of four it is 1/4 away with two timesteps and 1/12 with three, and the divergence
    goes by the square of that. The sums differ besides by how sure they are.
    """
    drawn = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 10, generator=drawn).expand(4, 4, 10).clone()
    logits[0] += 0.01 * torch.randn(4, 10, generator=drawn)
    monkeypatch.setattr(NetworkProbe, "logits", lambda _: logits)
    found = {}
    for name in ("mean", "sum"):
        run = Trainer(four_timesteps(f'early_time_logits = "{name}"'), sets, tmp_path / name)
        run.directory.mkdir()
        run._choose_timesteps(run.phases[0])
        (line,) = lines(run.directory, "early-time")
        found[name] = line["divergence"]
    assert found["mean"] == [1, pytest.approx(1 / 9, abs=2e-3)]
    assert found["sum"] != pytest.approx(found["mean"], abs=5e-3)


def test_transferred_ticket_is_searched_without_spikes(sets: data.Dataset, tmp_path: Path) -> None:
    run = Trainer(tiny("transferred", dense_images=32), sets, tmp_path)
    run._run_phase(run.phases[0])
    assert twin.is_twin(run.model)
    assert run.model.timesteps == 1
    recorded: list[torch.Tensor] = []
    run.model(sets.train.images[:4], record=recorded)
    assert len(torch.unique(recorded[0])) > 2  # not spikes
    run._update_masks(1)
    run.state.phase_index, run.state.step = 2, 0
    # What the spiking network starts from: the initial weights under the twin's mask.
    state = run.model.state_dict()
    for key, value in run.state.snapshot.items():
        assert key.endswith(".mask") or torch.equal(state[key], value), key
    run._run_phase(run.phases[2])
    assert not twin.is_twin(run.model)
    assert run.model.timesteps == 3
    run.model(sets.train.images[:4], record=recorded)
    assert set(torch.unique(recorded[-1]).tolist()) <= {0.0, 1.0}
    assert not (tmp_path / "dense.pt").exists()  # of the twin: nothing that could be exported


def test_snip_starts_from_the_initial_weights(sets: data.Dataset, tmp_path: Path) -> None:
    run = Trainer(tiny("snip"), sets, tmp_path)
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    run._run_phase(run.phases[0])
    run._update_masks(1)
    for key, value in run.model.state_dict().items():
        assert key.endswith(".mask") or torch.equal(value, before[key]), key
    assert all(p.grad is None for p in run.model.parameters())


def test_an_empty_layer_ends_the_run_and_nothing_is_lost(
    sets: data.Dataset, tmp_path: Path
) -> None:
    """The read-out starts small, so pruning all layers together takes it away altogether."""
    text = tiny("imp", dense_images=16).text.replace("rate = 0.5", "rate = 0.8")
    given = recipe.parse(text.replace('scope = "local"', 'scope = "global"'))
    for _ in range(2):  # resuming finds the state from before, and ends the same way
        with pytest.raises(EvenspikeError, match=r"round 1: pruning leaves no weight of .*classif"):
            Trainer(given, sets, tmp_path).run()
        state = torch.load(tmp_path / "state.pt", weights_only=True)
        alive = [m for k, m in state["model"].items() if k.endswith(".mask")]
        assert all(bool(mask.all()) for mask in alive)
    assert not (tmp_path / "ticket.pt").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"early_timesteps": 4}, "early_timesteps is 4"),
        ({"early_timesteps": "2"}, "early_timesteps is of type str"),
        ({"search": {"recent": []}}, "search: imp keeps no state"),
    ],
)
def test_wrong_search_state_is_named(
    sets: data.Dataset, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    run = Trainer(tiny("imp"), sets, tmp_path)
    run.save()
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    checkpoint.write(tmp_path / "state.pt", {**state, **change})
    with pytest.raises(EvenspikeError, match=says):
        Trainer(tiny("imp"), sets, tmp_path).resume()


def test_a_search_that_ends_before_its_snapshot_rewinds_to_its_end(
    sets: data.Dataset, tmp_path: Path
) -> None:
    """An Early-Bird may settle sooner than late rewinding would take the snapshot."""
    text = tiny("early-bird").text.replace("window = 2", "window = 2\nsnapshot = 190")
    run = Trainer(recipe.parse(text), sets, tmp_path)
    run.run()
    (stopped,) = [line for line in lines(tmp_path, "epoch") if line["stop"]]
    assert stopped["images_seen"] < 190
    dense = torch.load(tmp_path / "dense.pt", weights_only=True)["model"]
    assert run.state.snapshot.keys() == dense.keys()
    assert all(torch.equal(run.state.snapshot[name], tensor) for name, tensor in dense.items())


@pytest.mark.parametrize("phase", ["dense", "round 1", "final"])
def test_a_run_without_its_snapshot_does_not_go_on(
    sets: data.Dataset, tmp_path: Path, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingStep.train

    def step(self: TrainingStep, now: Phase, *rest: Any) -> float:
        if now.name == phase and self.state.step == (2 if phase == "dense" else 1):  # snapshot at 1
            raise KilledError
        return original(self, now, *rest)

    monkeypatch.setattr(TrainingStep, "train", step)
    with pytest.raises(KilledError):
        Trainer(tiny("imp"), sets, tmp_path).run()
    monkeypatch.undo()
    (tmp_path / "snapshot.pt").unlink()
    with pytest.raises(EvenspikeError, match=r"snapshot\.pt: no such file, but the run is past"):
        Trainer(tiny("imp"), sets, tmp_path).run()
