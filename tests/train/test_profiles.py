"""Bringing the profiles of a group's filters together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch.nn import functional

from evenspike_train.runs.probe import _window_work
from evenspike_train.tickets.profiles import Flags, Floats, align


def spread(rows: Flags, windows: Floats) -> Floats:
    """Squared distance of each filter's profile to the mean of all, [filters]."""
    profiles = rows.astype(float) @ windows.T
    distance: Floats = ((profiles - profiles.mean(0)) ** 2).sum(1)
    return distance


def aligned(
    rows: Flags,
    windows: Floats,
    limit: int,
    removable: Flags | None = None,
    seed: int = 0,
    near: float = 0.0,
) -> Flags:
    result, filters = rows.copy(), rows.shape[0]
    align(
        result,
        windows,
        np.arange(filters),
        np.full(filters, limit),
        rows if removable is None else removable,
        np.random.default_rng(seed).random(rows.shape),
        (windows.T @ windows).astype(np.float32),
        near,
    )
    return result


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), filters=st.integers(1, 8), limit=st.integers(0, 6))
def test_each_change_is_the_best_there_is(seed: int, filters: int, limit: int) -> None:
    """Against the definition: try every change of every filter, take the nearest to the mean."""
    rng = np.random.default_rng(seed)
    windows = rng.integers(0, 9, (5, 12)).astype(float)
    rows = rng.random((filters, 12)) < 0.4
    result = aligned(rows, windows, limit, seed=seed)
    mean = (rows.astype(float) @ windows.T).mean(0)
    for before, after in zip(rows, result, strict=True):
        own, changed = before.copy(), np.zeros(12, bool)
        for _ in range(limit):
            now = float(((own @ windows.T - mean) ** 2).sum())
            tried = {}
            for weight in np.flatnonzero(~changed):
                other = own.copy()
                other[weight] ^= True
                tried[int(weight)] = now - float(((other @ windows.T - mean) ** 2).sum())
            best = max(tried.values(), default=0.0)
            if best <= 1e-9:
                break
            ties = [weight for weight, gain in tried.items() if gain > best - 1e-9]
            taken = [weight for weight in ties if own[weight] != after[weight]]
            assert taken  # one of the best changes was made
            own[taken[0]] ^= True
            changed[taken[0]] = True
        assert np.array_equal(own, after)


def test_nothing_moves_without_leave() -> None:
    rng = np.random.default_rng(1)
    windows = rng.integers(0, 9, (20, 30)).astype(float)
    rows = rng.random((6, 30)) < 0.4
    assert np.array_equal(aligned(rows, windows, 0), rows)
    kept = aligned(rows, windows, 30, removable=np.zeros_like(rows))
    assert (kept | ~rows).all()  # nothing may go: weights only come
    assert (aligned(rows, windows, 3) != rows).sum(1).max() <= 3


def test_profiles_come_together() -> None:
    rng = np.random.default_rng(2)
    windows = rng.integers(0, 9, (40, 90)).astype(float)
    rows = rng.random((16, 90)) < 0.3
    before = spread(rows, windows)
    after = spread(aligned(rows, windows, 10), windows)
    assert (after < before).all()
    assert after.sum() < 0.2 * before.sum()


def test_what_is_near_enough_stays() -> None:
    rng = np.random.default_rng(3)
    windows = rng.integers(0, 9, (40, 90)).astype(float)
    rows = rng.random((16, 90)) < 0.5
    mean = (rows.astype(float) @ windows.T).mean(0)
    shares = np.sqrt(spread(rows, windows) / (mean @ mean))
    near = float(np.median(shares))
    result = aligned(rows, windows, 90, near=near)
    assert ((result != rows).any(1) == (shares > near)).all()
    assert (np.sqrt(spread(result, windows)) <= 1.2 * near * np.sqrt(mean @ mean)).all()


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((3, 3), 1, 1), ((1, 1), 2, 0), ((3, 3), 2, 1), ((5, 3), 1, 2)],
)
def test_a_window_counts_what_one_row_sends(
    kernel: tuple[int, int], stride: int, padding: int
) -> None:
    """Against a convolution's own gradient: d(sum of the outputs)/d(weight) counts the meetings."""
    generator = torch.Generator().manual_seed(4)
    active = (torch.rand(7, 3, 5, 6, generator=generator) < 0.4).double()
    module = torch.nn.Conv2d(3, 1, kernel, stride, padding).double()
    found = _window_work(active, 3, module)
    for image in range(7):
        alone = torch.zeros_like(active[:1])
        row = (3 + image) % 5
        alone[0, :, row] = active[image, :, row]
        weight = torch.zeros(1, 3, *kernel, dtype=torch.float64, requires_grad=True)
        functional.conv2d(alone, weight, stride=stride, padding=padding).sum().backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        assert torch.equal(found[image], weight.grad[0])
