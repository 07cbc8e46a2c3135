"""Fitted masks: they give the totals, by a count that knows nothing of the fit."""

from __future__ import annotations

import numpy as np
import pytest

from evenspike_core import fitted, workload
from evenspike_core.errors import EvenspikeError
from evenspike_core.fitted import Totals, fit
from evenspike_core.metrics import paper_metrics
from evenspike_core.topology import Topology, described

SMALL = Topology(
    (32, 16, 16),
    described(
        [
            {"name": "a", "filters": 64, "pool": 2},
            {"name": "b", "filters": 64},
            {"name": "c", "filters": 128, "stride": 2, "shortcut": {"source": "a", "stride": 2}},
            {"name": "d", "filters": 128, "shortcut": {"source": "c", "identity": True}},
        ]
    ),
)
SIZES = {"a": 64 * 32 * 9, "b": 64 * 64 * 9, "c": 128 * 64 * 10, "d": 128 * 128 * 9}
POSITIONS = {"a": 256, "b": 64, "c": 16, "d": 16}
TOTALS = Totals(0.9, 5.0e6, 1.5e6)


def test_the_fit_gives_the_totals() -> None:
    found = fit(SMALL, TOTALS)
    shares = found.shares()
    living = {n: SIZES[n] * s.mean() / 100 for n, s in zip(SIZES, shares, strict=True)}
    assert sum(living.values()) == pytest.approx(0.1 * sum(SIZES.values()), rel=1e-6)
    assert sum(4 * living[n] * POSITIONS[n] for n in SIZES) == pytest.approx(5.0e6, rel=1e-6)
    drawn = [fitted.counted(SMALL, shares, seed=seed) for seed in range(40)]
    idle = [one.idle for one in drawn]
    assert np.mean(idle) == pytest.approx(1.5e6, rel=0.05)
    assert np.mean([one.work for one in drawn]) == pytest.approx(5.0e6, rel=0.01)
    means = [share.mean() for share in shares]
    assert means == sorted(means, reverse=True), "the density falls from layer to layer"
    assert found.spread > 0


def test_counted_weights_are_those_of_drawn_masks() -> None:
    """The same distribution: means of both agree within what their deviations leave."""
    shares = fit(SMALL, TOTALS).shares()
    still = workload.draw_spikes(SMALL, 4, 0, 0)
    kinds = [
        [paper_metrics(workload.draw(still, shares, seed=seed).program) for seed in range(15)],
        [fitted.counted(SMALL, shares, seed=seed) for seed in range(15)],
    ]
    for key in ("work", "idle", "latency", "layer_mean", "parameter_weighted", "pooled"):
        a, b = (np.array([getattr(one, key) for one in each], float) for each in kinds)
        apart = abs(a.mean() - b.mean())
        assert apart <= 4 * ((a.var() + b.var()) / 15) ** 0.5, key
    one, other = kinds[0][0], kinds[1][0]
    *layers, end = [(c.layer, c.segment, c.parameters, c.positions) for c in one.convolutions]
    assert end[0].startswith("(end"), "that every Program has, and no weight of it lives"
    assert layers == [(c.layer, c.segment, c.parameters, c.positions) for c in other.convolutions]


def test_balanced_counts_leave_nothing_idle() -> None:
    shares = fit(SMALL, TOTALS).shares()
    even = fitted.counted(SMALL, shares, balanced=True)
    free = fitted.counted(SMALL, shares)
    assert even.idle == 0
    assert even.layer_mean == 1
    groups = sum(one.filters // 16 * len(one.convolutions) for one in SMALL.layers)
    more = sum(c.nnz for c in even.convolutions) - sum(c.nnz for c in free.convolutions)
    assert 0 <= more < 16 * groups
    narrow = fitted.counted(SMALL, shares, pes=48, balanced=True)
    assert narrow.idle > 0, "a last group of 16 filters on 48 PEs leaves 32 idle"


@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.5, 0.9, 0.97])
def test_another_threshold_gives_another_sparsity(sparsity: float) -> None:
    found = fit(SMALL, TOTALS)
    shares = found.shares(sparsity)
    living = sum(SIZES[n] * s.mean() / 100 for n, s in zip(SIZES, shares, strict=True))
    assert living == pytest.approx((1 - sparsity) * sum(SIZES.values()), rel=1e-6)
    for denser, sparser in zip(found.shares(0.5), found.shares(0.9), strict=True):
        assert (denser > sparser).all()
    for same, again in zip(found.shares(0.9), found.shares(), strict=True):
        np.testing.assert_allclose(same, again, rtol=1e-6)


def test_without_idle_cycles_the_spread_is_given() -> None:
    even = fit(SMALL, Totals(0.9, 5.0e6, None))
    assert even.spread == 0
    assert all(np.ptp(share) < 1e-9 for share in even.shares())
    wide = fit(SMALL, Totals(0.9, 5.0e6, None), spread=0.2)
    assert all(share.std() > 0 for share in wide.shares())
    assert wide.decay == even.decay


def test_most_work_is_that_of_the_largest_maps() -> None:
    kept = 0.1 * sum(SIZES.values())
    first = min(kept, SIZES["a"])
    rest = kept - first
    assert fitted.most_work(SMALL, 0.9) == pytest.approx(first * 256 + rest * 64)
    assert fitted.most_work(SMALL, 0.0, 4) == sum(4 * SIZES[n] * POSITIONS[n] for n in SIZES)


@pytest.mark.parametrize(
    ("totals", "says"),
    [
        (Totals(1.0, 1e6, None), "fit: sparsity 1.0, 4 timesteps and 16 PEs"),
        (Totals(0.9, 1e12, None), "fit: work 1e+12 at a sparsity of 0.9, possible are "),
        (Totals(0.9, 5e6, 1e12), "fit: idle 1e+12, possible are "),
    ],
)
def test_what_no_mask_gives(totals: Totals, says: str) -> None:
    with pytest.raises(EvenspikeError) as caught:
        fit(SMALL, totals)
    assert str(caught.value).startswith(says)
    with pytest.raises(EvenspikeError) as caught:
        fit(SMALL, TOTALS).shares(1.0)
    assert str(caught.value) == "sparsity 1.0 is outside 0 to below 1"
