"""Methods beside the ladder and the balance: what they choose, and what recipes may ask of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")

import torch

from evenspike_core.errors import EvenspikeError
from evenspike_train import tickets
from evenspike_train.recipes import derive, recipe
from evenspike_train.recipes.derive import Changes
from evenspike_train.recipes.recipe import RecipeError
from evenspike_train.tickets import MethodConfig, early_time, fit, masks
from evenspike_train.tickets.magnitude import count_alive
from evenspike_train.tickets.one_shot import EarlyBird, mask_distance
from tests.helpers.pruning import PROBE, FakeProbe, full, generator, random_weights


def update(config: MethodConfig, probe: tickets.Probe = PROBE) -> tickets.RoundReport:
    weights = random_weights()
    whole = full(weights)
    return tickets.build(config).update(weights, whole, whole, generator(), True, probe)


# --- one-shot methods ------------------------------------------------------------


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("sparsity", [0.3, 0.9])
def test_random_is_exact_and_does_not_look_at_the_weights(scope: str, sparsity: float) -> None:
    config = MethodConfig(name="random", sparsity=sparsity, scope=scope)
    alive = update(config).masks
    parts = [alive] if scope == "global" else [{name: mask} for name, mask in alive.items()]
    for part in parts:
        total = sum(mask.numel() for mask in part.values())
        assert count_alive(part) == int((1 - sparsity) * total)
    weights = {name: weight * 7 - 3 for name, weight in random_weights().items()}
    whole = full(weights)
    other = tickets.build(config).update(weights, whole, whole, generator(), True, PROBE).masks
    assert all(torch.equal(other[name], mask) for name, mask in alive.items())
    magnitude = update(MethodConfig(name="early-bird", sparsity=sparsity, scope=scope)).masks
    assert mask_distance(alive, magnitude) > 0.1


def test_snip_keeps_what_the_loss_depends_on() -> None:
    saliency = {n: torch.rand(w.shape, generator=generator()) for n, w in random_weights().items()}
    alive = update(MethodConfig(name="snip", sparsity=0.6), FakeProbe(saliency)).masks
    living = torch.cat([saliency[name][mask] for name, mask in alive.items()])
    gone = torch.cat([saliency[name][~mask] for name, mask in alive.items()])
    assert living.numel() == int(0.4 * (living.numel() + gone.numel()))
    assert living.min() >= gone.max()


@pytest.mark.parametrize("name", ["random", "snip"])
def test_pruning_at_initialisation_has_no_dense_phase(name: str) -> None:
    method = tickets.METHODS[name]
    assert method.at_initialisation
    assert method(MethodConfig(name=name, sparsity=0.5)).rounds == 1


# --- Early-Bird -------------------------------------------------------------------


def test_mask_distance_is_the_share_of_weights_that_differ() -> None:
    one = {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([True])}
    two = {"a": torch.tensor([True, False, True, False]), "b": torch.tensor([True])}
    assert mask_distance(one, two) == pytest.approx(2 / 5)
    assert mask_distance(one, one) == 0


def test_early_bird_stops_when_the_whole_window_agrees() -> None:
    """Four epochs of one order of the weights, then another: five masks back must agree."""
    config = MethodConfig(name="early-bird", sparsity=0.5, window=3, distance=0.02)
    method = tickets.build(config)
    weights = random_weights()
    other = {name: weight.flip(0) for name, weight in weights.items()}
    stops = [
        method.after_epoch(now, full(now))["stop"]
        for now in (weights, other, weights, weights, weights, weights)
    ]
    # The mask of epoch 2 leaves the window after epoch 5; epoch 6 is compared with 3, 4 and 5.
    assert stops == [False, False, False, False, False, True]


def test_early_bird_needs_a_full_window() -> None:
    method = tickets.build(MethodConfig(name="early-bird", sparsity=0.5))
    weights = random_weights()
    stops = [method.after_epoch(weights, full(weights))["stop"] for _ in range(6)]
    assert stops == [False] * 5 + [True]


def test_early_bird_state_survives() -> None:
    config = MethodConfig(name="early-bird", sparsity=0.5, window=2)
    weights = random_weights()
    one, two = EarlyBird(config), EarlyBird(config)
    for _ in range(3):
        one.after_epoch(weights, full(weights))
    two.load_state(one.state(), full(weights))
    other = {name: weight.flip(0) for name, weight in weights.items()}
    assert one.after_epoch(other, full(other)) == two.after_epoch(other, full(other))


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({}, "earlier epochs are missing"),
        ({"recent": 3}, "earlier epochs are missing"),
        ({"recent": [{}] * 9}, "9 masks of earlier epochs, 5 fit"),
        ({"recent": [{}]}, "of another network"),
        ({"recent": [{"a": torch.ones(2, dtype=torch.bool)}]}, "does not fit a"),
        ({"recent": [{"a": torch.ones(3)}]}, "does not fit a"),
    ],
)
def test_wrong_early_bird_state_is_named(state: dict[str, Any], says: str) -> None:
    method = EarlyBird(MethodConfig(name="early-bird", sparsity=0.5))
    with pytest.raises(ValueError, match=says):
        method.load_state(state, {"a": torch.ones(3, dtype=torch.bool)})
    with pytest.raises(ValueError, match="imp keeps no state"):
        tickets.build(MethodConfig(name="imp")).load_state({"recent": []}, {})


# --- Early-Time -------------------------------------------------------------------


def stated_divergence(logits: npt.NDArray[np.float64], steps: int, *, mean: bool) -> float:
    """KL(P_t || P_T) of the class probabilities, image by image, and its mean."""
    found = []
    for image in range(logits.shape[1]):
        early, last = logits[:steps, image].sum(0), logits[:, image].sum(0)
        if mean:
            early, last = early / steps, last / len(logits)
        p, q = (np.exp(z) / np.exp(z).sum() for z in (early, last))
        found.append(float((p * np.log(p / q)).sum()))
    return sum(found) / len(found)


@pytest.mark.parametrize("accumulation", ["mean", "sum"])
def test_divergence_is_that_of_the_accumulated_predictions(accumulation: str) -> None:
    logits = torch.randn(5, 7, 10, generator=generator())
    found = early_time.divergences(logits, accumulation)
    for steps, value in zip((2, 3, 4), found, strict=True):
        wanted = stated_divergence(logits.double().numpy(), steps, mean=accumulation == "mean")
        assert value == pytest.approx(wanted, rel=1e-9)


def test_the_mean_of_the_logits_is_what_is_compared() -> None:
    """Logits that never change predict the same after any timestep; their sum grows surer."""
    logits = torch.randn(7, 10, generator=generator()).expand(5, 7, 10)
    assert early_time.divergences(logits) == pytest.approx([0, 0, 0], abs=1e-12)
    assert min(early_time.divergences(logits, "sum")) > 0.01
    assert MethodConfig().early_time_logits == "mean"


@pytest.mark.parametrize(
    ("divergence", "limit", "timesteps"),
    [
        ([4.0, 2.4, 1.0], 0.6, 4),  # 0.6 itself is not below
        ([4.0, 2.3, 1.0], 0.6, 3),
        ([4.0, 3.9, 3.8], 0.6, 5),  # none: search with all of them
        ([0.0, 0.0], 0.6, 2),
        ([1.0], 0.6, 3),
    ],
)
def test_first_timestep_below_the_limit(
    divergence: list[float], limit: float, timesteps: int
) -> None:
    assert early_time.choose(divergence, limit) == timesteps


# --- empty layers -----------------------------------------------------------------


def test_empty_layers_are_named() -> None:
    given = full(random_weights())
    masks.check_living(given, "round 3")
    given["a"][:] = False
    given["fc"][:] = False
    with pytest.raises(EvenspikeError, match="round 3: pruning leaves no weight of a, fc;"):
        masks.check_living(given, "round 3")


# --- recipes ----------------------------------------------------------------------

HEAD = 'name = "x"\n[dense]\nimages = 100\n[method]\n'


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('name = "dense"\nrounds = 3', "method: dense has no option rounds; it has pes"),
        ('name = "snip"\nsparsity = 0.5\ncarry = "code"', "method: snip has no option carry"),
        ('name = "snip"\nsparsity = 0.5\nsnapshot = 3', "method: snip has no option snapshot"),
        ('name = "early-bird"\nsparsity = 0.5\nrounds = 3', "early-bird has no option rounds"),
        ('name = "imp"\nlevel = "ceil"', "method: imp has no option level"),
        ('name = "transferred"\nrewind = "weights"', "transferred has no option rewind"),
        ('name = "transferred"\nearly_time = true', "transferred has no option early_time"),
        ('name = "random"\nsparsity = 0.5\nlevel = "ceil"', "level has no effect without balance"),
        ('name = "cycle-aware"\nlevel = "ceil"', "level has no effect without balance"),
        ('name = "imp"\ndivergence = 0.5', "divergence has no effect without early_time = true"),
        ('name = "random"', "random prunes once, to a sparsity that must be given"),
        ('name = "snip"', "snip prunes once, to a sparsity"),
        ('name = "early-bird"', "early-bird prunes once, to a sparsity"),
        ('name = "imp"\nrounds = 0', "method: imp needs rounds, at least 1"),
        ('name = "u-ticket"\nrounds = 0', "method: u-ticket needs rounds, at least 1"),
        ('name = "cycle-aware"\npes = 12', "no accelerator has 12 PEs"),
        ('name = "imp"\nearly_time = true\nearly_time_images = 101', "chooses after 101 images"),
        ('name = "imp"\ndivergence = 1.0', "method: divergence must lie between 0 and 1"),
        ('name = "early-bird"\nwindow = 0', "method: window must be at least 1"),
        ('name = "snip"\nsaliency_images = 0', "method: saliency_images must be at least 1"),
        ('name = "imp"\nearly_time_images = -1', "early_time_images must not be negative"),
        ('name = "imp"\nearly_timesteps = -1', "early_timesteps must not be negative: -1"),
        ('name = "imp"\nearly_timesteps = 2', "early_timesteps has no effect without early_time"),
        (
            'name = "imp"\nearly_time = true\nearly_timesteps = 1',
            "early_timesteps must be 0 or lie between 2 and one less than the network's 4, not 1",
        ),
        (
            'name = "imp"\nearly_time = true\nearly_timesteps = 4',
            "early_timesteps must be 0 or lie between 2 and one less than the network's 4, not 4",
        ),
        (
            'name = "imp"\nearly_time = true\nearly_timesteps = 2\ndivergence = 0.5',
            "divergence has no effect without early_timesteps = 0",
        ),
        (
            'name = "imp"\nearly_time = true\nearly_time_logits = "last"',
            r"early_time_logits must be one of \('mean', 'sum'\), not 'last'",
        ),
        ('name = "transferred"\nearly_timesteps = 2', "transferred has no option early_timesteps"),
        ('name = "imp"\nbalance = "all"', "method: balance must be one of"),
    ],
)
def test_method_that_does_not_fit_is_named(table: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        recipe.parse(HEAD + table)


def test_searches_in_the_dense_phase_need_one() -> None:
    for name in ('"early-bird"\nsparsity = 0.5', '"transferred"'):
        with pytest.raises(RecipeError, match="needs the dense phase, which has no images"):
            recipe.parse(f'name = "x"\n[method]\nname = {name}')


def test_early_time_needs_timesteps_to_choose_from() -> None:
    table = 'name = "imp"\nearly_time = true'
    text = HEAD + table
    with pytest.raises(RecipeError, match="round: timesteps 3, but with early_time they are"):
        recipe.parse(text + "\n[round]\ntimesteps = 3")
    two = "[dense]\nimages = 100\ntimesteps = 2\n[round]\ntimesteps = 2\n[final]\ntimesteps = 2\n"
    with pytest.raises(RecipeError, match="to one less than the network's, which has 2"):
        recipe.parse(f'name = "x"\n[network]\ntimesteps = 2\n{two}[method]\n{table}')


def test_dense_phase_too_short_for_its_epochs_is_named() -> None:
    bird = MethodConfig(name="early-bird", sparsity=0.5)
    fit.check_data(bird, 600, 100)
    with pytest.raises(EvenspikeError, match=r"masks of 6 epochs, which are 600 images; .* 599"):
        fit.check_data(bird, 599, 100)
    late = MethodConfig(name="imp", early_time=True)
    fit.check_data(late, 200, 100)
    with pytest.raises(EvenspikeError, match=r"chooses after 200 images, but the dense .* 199"):
        fit.check_data(late, 199, 100)


# --- another method, another seed -------------------------------------------------


@pytest.mark.parametrize("method", [*tickets.METHODS, "imp+early-time", "early-bird+cycle-aware",
                                    "u-ticket+early-time", "u-ticket+early-time-2",
                                    "imp+late-rewinding", "snip+u-ticket", None])  # fmt: skip
@pytest.mark.parametrize("seed", [None, 7])
def test_derived_recipe_is_one_that_can_be_kept(method: str | None, seed: int | None) -> None:
    given = recipe.load("vgg16-small")
    made = derive.derive(given, Changes(method, seed))
    assert recipe.parse(made.text) == made
    assert made.name == "vgg16-small" + Changes(method, seed).suffix
    assert made.seed == (given.seed if seed is None else seed)
    assert (made.round.images, made.round.lr) == (given.round.images, given.round.lr)
    assert (made.optimizer, made.final) == (given.optimizer, given.final)
    if method is None:
        assert made.method == given.method
        assert (made is given) == (seed is None)
        return
    name, *modifiers = method.split("+")
    assert made.method.name == name
    assert made.method.early_time == any(one.startswith("early-time") for one in modifiers)
    assert made.method.early_timesteps == 2 * ("early-time-2" in modifiers)
    if "late-rewinding" in modifiers:
        assert made.method.rewind == "weights"
    chosen = made.network.timesteps if made.method.early_time else given.round.timesteps
    assert made.round.timesteps == chosen
    assert made.made_from == f"vgg16-small --method {method}" + (f" --seed {seed}" if seed else "")
    if tickets.METHODS[name].prunes_once:
        assert made.method.sparsity >= 0.9  # where the ladder of the recipe ends
    if name == "imp":
        assert made.method.rounds == given.method.rounds
        assert made.method.balancing == "none"


def test_derived_twice() -> None:
    once = derive.derive(recipe.load("vgg16-small"), Changes("imp"))
    twice = derive.derive(once, Changes(seed=3))
    assert twice.name == "vgg16-small-imp-seed3"
    assert twice.made_from == "vgg16-small --method imp --seed 3"


@pytest.mark.parametrize(
    ("method", "seed", "says"),
    [
        ("magic", None, "method: name must be one of"),
        ("imp+magic", None, r"\+magic: there are \+early-time"),
        ("imp+u-ticket", None, "imp has no option balance, so not"),
        ("dense+early-time", None, "dense has no option early_time"),
        ("random+late-rewinding", None, "random has no option rewind"),
        (None, -1, "seed: must not be negative: -1"),
    ],
)
def test_wrong_method_is_named(method: str | None, seed: int | None, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        derive.derive(recipe.load("vgg16-small"), Changes(method, seed))


@pytest.mark.parametrize(
    ("changes", "rounds", "sparsity"),
    [
        (Changes("imp", rounds=4), 4, 1 - 0.75**4),
        (Changes("u-ticket", 2, rounds=12), 12, 1 - 0.75**12),
        (Changes("random", rounds=4), 13, 1 - 0.75**4),
        (Changes("imp", sparsity=0.9), 9, 0.9),  # 1 - 0.75^8 = 0.89989: not enough
        (Changes("imp", sparsity=0.8999), 8, 0.8999),
        (Changes("imp", rounds=5, sparsity=0.7), 5, 0.7),
        (Changes("early-bird", sparsity=0.6), 13, 0.6),
    ],
)
def test_rounds_and_sparsity_go_together(changes: Changes, rounds: int, sparsity: float) -> None:
    made = derive.derive(recipe.load("vgg16-small"), changes)
    assert made.method.rounds == rounds
    assert made.method.sparsity == pytest.approx(sparsity, abs=1e-6)
    assert made.made_from == "vgg16-small" + changes.options
    assert recipe.parse(made.text) == made


def test_a_ladder_without_a_sparsity_stays_one() -> None:
    text = recipe.load("vgg16-small").text.replace("sparsity = 0.94\n", "")
    made = derive.derive(recipe.parse(text), Changes("u-ticket", rounds=3))
    assert (made.method.rounds, made.method.sparsity) == (3, 0.0)


def test_name_and_options_of_all_changes() -> None:
    changes = Changes("imp+early-time", 3, 6, 0.8, 8)
    assert changes.suffix == "-imp-early-time-seed3-rounds6-sparsity0.8-pes8"
    wanted = " --method imp+early-time --seed 3 --rounds 6 --sparsity 0.8 --pes 8"
    assert changes.options == wanted
    assert derive.derive(recipe.load("vgg16-small"), Changes(pes=8)).method.pes == 8


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (Changes("dense", rounds=3), "dense does not prune, so it takes no rounds"),
        (Changes("dense", sparsity=0.5), "dense does not prune, so it takes no sparsity"),
        (Changes("imp", rounds=0), "--method imp --rounds 0: method: imp needs rounds"),
        (Changes("imp", rounds=2, sparsity=0.9), "sparsity 0.9 is out of reach: 2"),
        (Changes("imp", sparsity=1.0), r"sparsity must lie in \[0, 1\), not 1.0"),
        (Changes("cycle-aware", pes=12), "no accelerator has 12 PEs"),
    ],
)
def test_wrong_size_is_named(changes: Changes, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        derive.derive(recipe.load("vgg16-small"), changes)
