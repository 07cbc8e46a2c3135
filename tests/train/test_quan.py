"""Quan against a statement of its own of Algorithm 3, and against the best that there is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")

import torch

from evenspike_train.tickets.quan import nearest, quan

Floats = npt.NDArray[np.float64]


def levels_of(bits: int) -> list[float]:
    return sorted({sign * 2.0**e for e in range(bits) for sign in (-1, 1)} | {0.0})


def by_hand(v: Floats, bits: int, iterations: int, alpha: float) -> Floats:
    """Algorithm 3, an element at a time."""
    for _ in range(iterations):
        chosen = [min(levels_of(bits), key=lambda q: (abs(x / alpha - q), abs(q))) for x in v]
        alpha = sum(x * q for x, q in zip(v, chosen, strict=True)) / sum(q * q for q in chosen)
    return np.array([alpha * q for q in chosen])


def least_error(v: Floats, bits: int) -> float:
    """The least squared distance over every scale: between two at which a weight changes its level.

    In each such interval the levels are fixed, and the scale is that of the least squares.
    """
    levels = levels_of(bits)
    middles = [(a + b) / 2 for a, b in pairwise(levels) if a >= 0]
    turns = sorted(abs(x) / middle for x in v for middle in middles if x)
    best = float(v @ v)
    for low, high in zip([turns[0] / 2, *turns], [*turns, turns[-1] * 2], strict=True):
        alpha = (low + high) / 2
        q = np.array([min(levels, key=lambda level: abs(x / alpha - level)) for x in v])
        if q.any():
            rest = v - q * (v @ q) / (q @ q)
            best = min(best, float(rest @ rest))
    return best


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_it_is_the_algorithm(bits: int) -> None:
    """From one scale, the halves of Algorithm 3 in their order; also from the paper's, 1."""
    rng = np.random.default_rng(bits)
    for start in (1.0, 0.3):
        v = rng.normal(0, 1.5, 40)
        found = quan(torch.from_numpy(v), bits, 3, start)
        np.testing.assert_allclose(found.weights, by_hand(v, bits, 3, start), rtol=1e-12)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_it_is_near_the_best(bits: int) -> None:
    rng = np.random.default_rng(10 + bits)
    ratios = []
    for _ in range(20):
        v = rng.normal(0, 0.05, 24)
        found = quan(torch.from_numpy(v), bits)
        rest = v - found.weights.numpy()
        ratios.append((rest @ rest) / least_error(v, bits))
    assert min(ratios) >= 1 - 1e-9  # the best is the best
    assert np.mean(ratios) < 1.05


def test_no_element_has_a_nearer_level() -> None:
    x = torch.linspace(-20, 20, 401, dtype=torch.float64)
    for bits in (1, 3, 8):
        distances = (x[:, None] - torch.tensor(levels_of(bits))).abs().min(1).values
        torch.testing.assert_close((x - nearest(x, bits)).abs(), distances)


def test_weights_are_alpha_times_powers_of_two_exactly() -> None:
    found = quan(torch.randn(500, generator=torch.Generator().manual_seed(0)) * 0.03, 4)
    living = found.weights[found.weights != 0]
    assert len(np.unique(np.abs(np.frexp(living.numpy())[0]))) == 1
    assert len(set(living.abs().tolist())) <= 4


def test_zeros_alone_and_one_weight() -> None:
    assert not quan(torch.zeros(3, 2), 2).weights.any()
    assert quan(torch.zeros(0), 2).weights.shape == (0,)
    torch.testing.assert_close(quan(torch.tensor([-0.7]), 1).weights, torch.tensor([-0.7]))
    # A scale that is far too large leaves nothing: another one is searched.
    assert quan(torch.tensor([0.01, -0.02]), 1, 3, 1.0).weights.any()


@pytest.mark.parametrize(
    ("bits", "iterations", "start"), [(0, 3, 0), (9, 3, 0), (1, 0, 0), (1, 1, -1)]
)
def test_numbers_out_of_range(bits: int, iterations: int, start: float) -> None:
    with pytest.raises(ValueError, match=r"at least 1|between 1 and 8"):
        quan(torch.ones(2), bits, iterations, start)
