"""The balance of expected cycles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evenspike_core import mapping
from evenspike_core.arch import Arch
from evenspike_train import tickets
from evenspike_train.runs.probe import _reached
from evenspike_train.tickets import MethodConfig, WeightWork, cycle_aware
from evenspike_train.tickets.cycle_aware import filter_costs, groups
from evenspike_train.tickets.masks import sparsity
from tests.helpers.pruning import FakeProbe, full, generator, random_weights
from tests.helpers.tiny import TINY, with_layer


def work(cost: torch.Tensor) -> WeightWork:
    """Of so many cycles, the same whole number of them in each of four windows."""
    return WeightWork(cost, cost.ceil().expand(4, *cost.shape))


SHAPES = {"first": (32, 1, 3, 3), "a": (64, 32, 3, 3), "b": (64, 64, 3, 3), "fc": (10, 64)}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    filters=st.integers(1, 40),
    channels=st.integers(1, 6),
    pes=st.sampled_from((1, 4, 16)),
    density=st.floats(0.05, 0.9),
    remove=st.sampled_from(("random", "magnitude")),
)
def test_every_filter_of_a_group_costs_the_same_within_one_weight(
    seed: int, filters: int, channels: int, pes: int, density: float, remove: str
) -> None:
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(filters, channels, 3, 3, generator=g) < density
    mask[0] = False  # an empty filter
    cost = torch.rand(channels, 3, 3, generator=g).double()
    cost[0] = 0  # a silent channel
    weight = torch.randn(mask.shape, generator=g)
    balanced = cycle_aware.balance(mask, weight, work(cost), pes, remove, g)
    before, after = filter_costs(mask, cost), filter_costs(balanced, cost)
    for group in groups(before, pes):
        target = before[group].mean()
        for index in group:
            gained, lost = balanced[index] & ~mask[index], mask[index] & ~balanced[index]
            assert not (gained.any() and lost.any())  # a filter only loses or only gains
            assert not gained[0].any()  # nothing is recovered where nothing is ever active
            everything = filter_costs(torch.ones_like(mask[:1]), cost)[0]
            missing = min(target, everything) - after[index]
            spare = cost[~balanced[index] & (cost > 0)]
            if missing > 1e-9 and spare.numel():
                assert missing <= float(spare.max())
            if missing < -1e-9:
                used = cost[balanced[index] & (cost > 0)]
                assert -missing <= float(used.max())


def test_uniform_costs_are_numbers_of_weights() -> None:
    mask = torch.rand(32, 8, 3, 3, generator=generator()) < 0.3
    cost = torch.full((8, 3, 3), 4.0, dtype=torch.float64)
    balanced = cycle_aware.balance(mask, mask.float(), work(cost), 16, "random", generator())
    loads = balanced.flatten(1).sum(1).numpy()
    for group in groups(filter_costs(mask, cost), 16):
        mean = mask.flatten(1).sum(1).numpy()[group].mean()
        assert np.abs(loads[group] - mean).max() <= 0.5


def test_removal_by_magnitude_takes_the_smallest() -> None:
    mask = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    mask[0] = True
    cost = torch.ones(1, 3, 3, dtype=torch.float64)
    weight = torch.arange(18.0).view(2, 1, 3, 3)
    balanced = cycle_aware.balance(mask, weight, work(cost), 2, "magnitude", generator())
    assert balanced[0].flatten().tolist() == [False] * 4 + [True] * 5
    assert int(balanced[1].sum()) in (4, 5)


def test_groups_are_those_of_the_mapper() -> None:
    costs = np.array([3.0, 9, 1, 7, 5, 2])
    assert [sorted(group.tolist()) for group in groups(costs, 4)] == [[0, 1, 3, 4], [2, 5]]
    assignment = mapping.assign(costs, 1, Arch(pes=4))
    assert [sorted(f for f in row if f >= 0) for row in assignment.reshape(-1, 4).tolist()] == [
        [0, 1, 3, 4],
        [2, 5],
    ]


def test_sparser_only_removes() -> None:
    mask = torch.rand(32, 8, 3, 3, generator=generator()) < 0.3
    cost = torch.rand(8, 3, 3, generator=generator()).double() + 0.1
    balanced = cycle_aware.balance(
        mask, mask.float(), work(cost), 16, "random", generator(), sparser=True
    )
    assert not (balanced & ~mask).any()
    after = filter_costs(balanced, cost)
    for group in groups(filter_costs(mask, cost), 16):
        assert after[group].max() - after[group].min() <= 2 * float(cost.max())


def test_cycle_aware_is_even_where_u_ticket_is_not() -> None:
    """On one pruned network: expected utilization of cycle-aware > u-Ticket > IMP."""
    weights = random_weights(SHAPES)
    rates = torch.rand(64, generator=generator()) ** 3
    costs = {
        name: work((rates[: weight.shape[1], None, None] * torch.ones(3, 3) * 64).double())
        for name, weight in weights.items()
        if weight.dim() == 4
    }
    found = {}
    for name in ("imp", "u-ticket", "cycle-aware"):
        config = MethodConfig(name=name, rounds=1, rate=0.9, sparsity=0.9)
        probe = FakeProbe(work=costs)
        whole = full(weights)
        report = tickets.build(config).update(weights, whole, whole, generator(), True, probe)
        assert sparsity(report.masks) >= 0.9
        found[name] = cycle_aware.expected_utilization(report.masks, costs, 16)
    assert found["cycle-aware"] > 0.98
    assert found["cycle-aware"] > found["u-ticket"]
    assert found["cycle-aware"] > found["imp"]


def test_cost_is_the_mappers_where_activity_is_the_same_everywhere() -> None:
    """Share of active neurons x positions reached, as `mapping.filter_cost` has it."""
    rng = np.random.default_rng(0)
    shares = rng.random(3)
    weights = rng.integers(-1, 2, (2, 3, 3, 3)).astype(np.int16)
    program = replace(TINY, **with_layer(1, weights=weights))
    module = torch.nn.Conv2d(3, 2, 3, padding=1)
    cost = _reached(torch.from_numpy(shares)[:, None, None].expand(3, 2, 2), module)
    wanted = mapping.filter_cost(program, program.layers[1], [shares, None, None])
    np.testing.assert_allclose(filter_costs(torch.from_numpy(weights != 0), cost), wanted)
