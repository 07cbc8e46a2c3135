"""The pruning ladder and the balance."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from evenspike_train import tickets
from evenspike_train.recipes import recipe
from evenspike_train.tickets import MethodConfig, WeightWork, u_ticket
from evenspike_train.tickets.base import WeightMasks
from evenspike_train.tickets.magnitude import count_alive, prune_by_magnitude, prune_round
from evenspike_train.tickets.masks import sparsity
from tests.helpers.pruning import PROBE, SHAPES, FakeProbe, full, generator, loads, random_weights


def first_update(
    config: MethodConfig, weights: WeightMasks, probe: tickets.Probe = PROBE, *, last: bool = True
) -> tickets.RoundReport:
    """The update after the dense phase."""
    whole = full(weights)
    return tickets.build(config).update(weights, whole, whole, generator(), last, probe)


def test_imp_ladder_is_exact() -> None:
    weights = random_weights()
    alive, method = full(weights), tickets.build(MethodConfig(name="imp", rounds=13))
    expected = count_alive(alive)
    for number in range(1, 14):
        expected -= int(0.25 * expected)
        alive = method.update(weights, alive, alive, generator(), number == 13, PROBE).masks
        assert count_alive(alive) == expected
    assert sparsity(alive) == pytest.approx(1 - 0.75**13, abs=1e-3)


def test_global_pruning_takes_the_smallest_of_all_layers() -> None:
    weights = {"a": torch.tensor([[1.0, -5.0, 0.2]]), "b": torch.tensor([[-0.1, 3.0, 2.0]])}
    alive = prune_round(weights, full(weights), 0.5, "global")
    assert alive["a"].tolist() == [[False, True, False]]
    assert alive["b"].tolist() == [[False, True, True]]
    local = prune_round(weights, full(weights), 0.4, "local")
    assert local["a"].tolist() == [[True, True, False]]
    assert local["b"].tolist() == [[False, True, True]]


def test_ties_do_not_change_the_count() -> None:
    weights = {"a": torch.zeros(4, 5), "b": torch.ones(3)}
    alive = prune_by_magnitude(weights, full(weights), 7)
    assert count_alive(alive) == 16
    assert alive["b"].all()


def test_pruning_ignores_memory_order() -> None:
    weights = {"a": torch.randn(6, 5, 3, 3, generator=generator())}
    plain = prune_by_magnitude(weights, full(weights), 100)["a"]
    moved = {"a": weights["a"].to(memory_format=torch.channels_last)}
    assert torch.equal(prune_by_magnitude(moved, full(moved), 100)["a"], plain)


def test_imp_trims_to_the_sparsity_asked_for() -> None:
    weights = random_weights()
    config = MethodConfig(name="imp", rounds=1, rate=0.25, sparsity=0.4)
    alive = first_update(config, weights).masks
    total = count_alive(full(weights))
    assert count_alive(alive) == int(0.6 * total)


@pytest.mark.parametrize("remove", ["random", "magnitude"])
@pytest.mark.parametrize("level", ["ceil", "floor"])
@pytest.mark.parametrize("filters", [1, 5, 16, 20, 48])
@pytest.mark.parametrize("pes", [1, 4, 16])
def test_every_filter_of_a_group_gets_the_same(
    filters: int, pes: int, level: str, remove: str
) -> None:
    g = generator()
    mask = torch.rand(filters, 6, 3, 3, generator=g) < torch.rand(filters, 1, 1, 1, generator=g)
    mask[0] = False  # an empty filter
    weight = torch.randn(mask.shape, generator=g)
    balanced = u_ticket.balance(mask, weight, pes, level, remove, g)
    before, after = loads(mask), loads(balanced)
    for start in range(0, filters, pes):
        total, count = int(before[start : start + pes].sum()), len(before[start : start + pes])
        mean = -(-total // count) if level == "ceil" else total // count
        assert (after[start : start + pes] == mean).all()
        # A filter only loses or only gains weights.
        for f in range(start, start + count):
            kept = int((mask[f] & balanced[f]).sum())
            assert kept == min(int(before[f]), int(after[f]))
    assert u_ticket.evenness(balanced, pes) in (1.0, None)


def test_removal_by_magnitude_takes_the_smallest() -> None:
    mask = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    mask[0] = True
    weight = torch.arange(18.0).view(2, 1, 3, 3)
    balanced = u_ticket.balance(mask, weight, 16, "ceil", "magnitude", generator())
    assert balanced[0].flatten().tolist() == [False] * 4 + [True] * 5


def test_empty_and_full_layers_stay() -> None:
    empty = torch.zeros(20, 4, 3, 3, dtype=torch.bool)
    weight = torch.randn(empty.shape)
    assert not u_ticket.balance(empty, weight, 16, "ceil", "random", generator()).any()
    assert u_ticket.balance(~empty, weight, 16, "ceil", "random", generator()).all()
    assert u_ticket.evenness(empty, 16) is None
    assert u_ticket.layer_mean_evenness({"first": ~empty, "a": empty}, 16) == 1.0


def test_balance_does_not_depend_on_anything_but_its_generator() -> None:
    mask = torch.rand(32, 8, 3, 3, generator=generator()) < 0.3
    weight = torch.randn(mask.shape, generator=generator())
    a, b = (u_ticket.balance(mask, weight, 16, "ceil", "random", generator()) for _ in range(2))
    assert torch.equal(a, b)


def test_work_and_idle_add_up_to_latency() -> None:
    mask = torch.rand(48, 8, 3, 3, generator=generator()) < 0.3
    groups = loads(mask).view(-1, 16)
    latency = int(groups.max(1).values.sum())
    work, idle = int(groups.sum()), int((groups.max(1, keepdim=True).values - groups).sum())
    assert (work + idle) / 16 == latency
    balanced = loads(u_ticket.balance(mask, mask.float(), 16, "ceil", "random", generator())).view(
        -1, 16
    )
    assert int(balanced.sum()) / 16 == int(balanced.max(1).values.sum())


def test_u_ticket_leaves_first_and_linear_layers_alone() -> None:
    weights = random_weights()
    config = MethodConfig(name="u-ticket", rounds=2, rate=0.5)
    report = first_update(config, weights, last=False)
    imp = prune_round(weights, full(weights), 0.5, "global")
    for name in ("first", "fc"):
        assert torch.equal(report.masks[name], imp[name])
    for name in ("a", "b"):
        assert not torch.equal(report.masks[name], imp[name])
    assert report.figures["evenness"] == 1.0 > report.figures["evenness_before"]


def test_sparsity_binds_after_balancing() -> None:
    weights = random_weights()
    config = MethodConfig(name="u-ticket", rounds=1, rate=0.9, sparsity=0.9)
    report = first_update(config, weights)
    assert sparsity(report.masks) >= 0.9
    assert u_ticket.layer_mean_evenness(report.masks, 16) == 1.0


@pytest.mark.parametrize("method", ["u-ticket", "cycle-aware"])
def test_sparsity_binds_in_every_layer_by_itself(method: str) -> None:
    """A layer of small weights is not pruned for the others."""
    weights = random_weights()
    weights["a"] *= 1e-3
    config = MethodConfig(name=method, rounds=1, rate=0.9, sparsity=0.9, scope="local")
    work = {
        name: WeightWork(torch.ones(w.shape[1:]).double(), torch.ones(2, *w.shape[1:]).double())
        for name, w in weights.items()
        if w.dim() == 4
    }
    probe = FakeProbe(work=work)
    report = first_update(config, weights, probe)
    for name, mask in report.masks.items():
        assert 0.9 <= 1 - float(mask.float().mean()) < 0.93, name


def test_gpu_recipe_reaches_its_sparsity() -> None:
    """Fourteen rounds end above the target; the last mask is trimmed to it and still even."""
    config = recipe.load("vgg16-gpu").method
    shapes = {**SHAPES, "b": (64, 32, 3, 3), "c": (64, 64, 3, 3)}
    weights = random_weights(shapes)
    alive, method, g = full(weights), tickets.build(config), generator()
    carried = alive
    for number in range(1, config.rounds + 1):
        report = method.update(weights, alive, carried, g, number == config.rounds, PROBE)
        alive, carried = report.masks, report.carried
    assert config.sparsity == 0.985
    assert 0.985 <= sparsity(report.masks) < 0.99
    assert u_ticket.layer_mean_evenness(report.masks, 16) == 1.0


def test_method_registry_is_what_recipes_may_name() -> None:
    assert set(tickets.METHODS) == {
        *("dense", "held", "random", "snip", "imp", "early-bird", "transferred", "u-ticket"),
        *("cycle-aware", "admm", "hard", "agc"),
    }
    assert all(tickets.METHODS[name].name == name for name in tickets.METHODS)
    places = [method.place for method in tickets.METHODS.values()]
    assert len(set(places)) == len(places)
    keys = MethodConfig.__dataclass_fields__.keys()
    assert all(method.options <= keys for method in tickets.METHODS.values())
    weights = random_weights()
    dense = tickets.build(MethodConfig(name="dense"))
    assert dense.rounds == 0
    whole = full(weights)
    report = dense.update(weights, whole, whole, generator(), True, PROBE)
    assert count_alive(report.masks) == count_alive(whole)


@pytest.mark.parametrize(
    ("field", "value"),
    [("rate", 1.0), ("rate", 0.0), ("sparsity", 1.0), ("rounds", -1), ("pes", 0), ("snapshot", -1),
     ("scope", "all"), ("rewind", "no"), ("carry", "x"), ("level", "round"), ("remove", "x"),
     ("recover", "x")],
)  # fmt: skip
def test_bad_method_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"method: {field} must"):
        MethodConfig(**{field: value})
