"""The ladder of LTH and u-Ticket against a statement of it in numpy, for thirteen rounds.

The statement is written from the papers and from what their code does, and shares nothing with the
package. What is drawn at random is the package's choice; everything else follows from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")

import torch

from evenspike_core.metrics import paper_metrics
from evenspike_core.program import PIXELS, Coding, Layer, Program, Readout, Segment
from evenspike_train import tickets
from evenspike_train.tickets import MethodConfig
from evenspike_train.tickets.figures import paper_utilization
from tests.helpers.pruning import PROBE, full

ROUNDS, RATE, PES, TIMESTEPS, SIDE = 13, 0.25, 16, 4, 2
UNITS = (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8)
"""Filters of VGG-16's convolutions, in units of the base width."""

Flags = dict[str, npt.NDArray[np.bool_]]
Floats = dict[str, npt.NDArray[np.float32]]
Counts = npt.NDArray[np.int64]


# --- the statement ----------------------------------------------------------------


def filter_counts(mask: npt.NDArray[np.bool_]) -> Counts:
    """Living weights of each filter."""
    counts: Counts = mask.reshape(len(mask), -1).sum(1)
    return counts


def waves(counts: Counts) -> list[Counts]:
    """Sixteen filters in their order run side by side, one a PE."""
    return [counts[start : start + PES] for start in range(0, len(counts), PES)]


def state_pruning(weights: Floats, trained: Flags, carried: Flags) -> Flags:
    """Of the weights that were trained the smallest quarter goes, and what is not carried goes too.

    The quarter is counted over all layers together and rounded down.
    """
    living = np.concatenate([np.abs(weights[name][mask]) for name, mask in trained.items()])
    threshold = np.sort(living)[int(len(living) * RATE)]
    return {
        name: mask & carried[name] & (np.abs(weights[name]) >= threshold)
        for name, mask in trained.items()
    }


def state_balance(counts: Counts) -> Counts:
    """Every filter gets the mean of its wave, rounded up."""
    means = [ceil(Fraction(int(wave.sum()), len(wave))) for wave in waves(counts)]
    return np.repeat(means, PES)[: len(counts)]


def state_ladder(runs: Iterator[Floats], carry: str, rng: np.random.Generator) -> list[int]:
    """Living weights that are carried on after each round, with draws of its own."""
    trained: Flags = {}
    carried: Flags = {}
    found = []
    for weights in runs:
        whole = {name: np.ones(weight.shape, np.bool_) for name, weight in weights.items()}
        pruned = state_pruning(weights, trained or whole, carried or whole)
        trained = {name: mask.copy() for name, mask in pruned.items()}
        for name in balanced(pruned):
            rows = trained[name].reshape(len(pruned[name]), -1)
            counts = filter_counts(pruned[name])
            for row, has, wanted in zip(rows, counts, state_balance(counts), strict=True):
                gains = wanted > has
                row[rng.choice(np.flatnonzero(row != gains), abs(wanted - has), False)] = gains
        carried = trained if carry == "paper" else pruned
        found.append(sum(int(mask.sum()) for mask in carried.values()))
    return found


def balanced(masks: Flags) -> list[str]:
    """All convolutions but the first, which reads pixels."""
    return [name for name in masks if name not in ("conv0", "fc")]


@dataclass(frozen=True)
class Stated:
    """What the paper counts of one layer, from the weights alone."""

    work: int
    idle: int
    latency: int
    utilization: Fraction | None


def state_cycles(counts: Counts) -> Stated:
    """Eq. 2 and the cycles: a weight takes one at each position and timestep; a wave waits."""
    times, work, idle, latency, used = SIDE * SIDE * TIMESTEPS, 0, 0, 0, []
    for wave in waves(counts):
        loads = [int(count) for count in wave] + [0] * (PES - len(wave))
        slowest = max(loads)
        work += sum(loads)
        idle += sum(slowest - load for load in loads)
        latency += slowest
        if slowest:
            mean = ceil(Fraction(sum(loads), PES))
            used.append(1 - Fraction(slowest - mean, slowest) * Fraction(PES, PES - 1))
    mean_used = sum(used, Fraction(0)) / len(used) if used else None
    return Stated(work * times, idle * times, latency * times, mean_used)


# --- what it is held against -----------------------------------------------------


def shapes(width: int) -> dict[str, tuple[int, ...]]:
    """A VGG-16 of so many filters in its first layer, for images of three channels."""
    found: dict[str, tuple[int, ...]] = {}
    channels = 3
    for index, unit in enumerate(UNITS):
        found[f"conv{index}"] = (unit * width, channels, 3, 3)
        channels = unit * width
    return {**found, "fc": (10, channels)}


def trainings(seed: int, width: int) -> Iterator[dict[str, torch.Tensor]]:
    """What thirteen trainings from the same weights might end in: half of a weight's size is new.

    So a weight that was small mostly stays small, as it does when rounds rewind.
    """
    drawn = torch.Generator().manual_seed(seed)
    start = {
        name: torch.randn(shape, generator=drawn) * (2 / (shape[0] * 9)) ** 0.5
        for name, shape in shapes(width).items()
    }
    for _ in range(ROUNDS):
        yield {
            name: weight + weight.std() / 2 * torch.randn(weight.shape, generator=drawn)
            for name, weight in start.items()
        }


def arrays(tensors: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def program_of(masks: Flags) -> Program:
    """A Program with these weights, each of its convolutions on a map of 2x2."""
    layers: list[Layer] = []
    *convolutions, last = masks.items()
    for index, (name, mask) in enumerate(convolutions):
        segment = Segment(index - 1 if index else PIXELS, mask.astype(np.int16), 1, (-1, -1))
        bias = np.zeros(len(mask), np.int32)
        final = index == len(convolutions) - 1
        pool, coding = SIDE if final else 1, None if index else Coding.DIRECT
        layers.append(Layer(name, (segment,), bias, (SIDE, SIDE), 1, pool=pool, coding=coding))
    name, mask = last
    read = Segment(len(layers) - 1, mask.astype(np.int16)[:, :, None, None])
    layers.append(Layer(name, (read,), np.zeros(10, np.int32), (1, 1), 0, readout=Readout.PSUM))
    return Program("ladder", TIMESTEPS, (3, SIDE, SIDE), tuple(layers))


def check_cycles(masks: Flags, utilization: float | None) -> None:
    """Work, idle, latency and Eq. 2 of every layer, to the last cycle."""
    metrics = paper_metrics(program_of(masks), PES)
    stated = {name: state_cycles(filter_counts(masks[name])) for name in balanced(masks)}
    assert [one.layer for one in metrics.convolutions] == list(stated)
    for one in metrics.convolutions:
        wanted = stated[one.layer]
        assert (one.work, one.idle, one.latency) == (wanted.work, wanted.idle, wanted.latency)
        assert wanted.utilization is not None
        assert one.utilization == pytest.approx(float(wanted.utilization), abs=1e-12)
        assert wanted.work + wanted.idle == PES * wanted.latency
    used = [one.utilization for one in stated.values() if one.utilization is not None]
    assert utilization == pytest.approx(float(sum(used) / len(used)), abs=1e-12)


def climb(
    name: str, seed: int, *, carry: str = "paper", width: int = 16, cycles: bool = False
) -> list[int]:
    """Hold each round of the package's ladder against the statement; what it carries on of each."""
    config = MethodConfig(name=name, rounds=ROUNDS, rate=RATE, pes=PES, carry=carry)
    method = tickets.build(config)
    draws = torch.Generator().manual_seed(100 + seed)
    trained: dict[str, torch.Tensor] = {}
    carried: dict[str, torch.Tensor] = {}
    found = []
    for number, weights in enumerate(trainings(seed, width), 1):
        trained, carried = trained or full(weights), carried or full(weights)
        pruned = state_pruning(arrays(weights), arrays(trained), arrays(carried))
        report = method.update(weights, trained, carried, draws, number == ROUNDS, PROBE)
        trained, carried = report.masks, report.carried
        after, kept = arrays(trained), arrays(carried)
        for layer, before in pruned.items():
            counts, wanted = filter_counts(before), filter_counts(before)
            if name == "u-ticket" and layer in balanced(pruned):
                wanted = state_balance(counts)
            assert np.array_equal(filter_counts(after[layer]), wanted), (number, layer)
            # A filter that lacks weights loses none of its own, and one with too many gets none.
            both = filter_counts(before & after[layer])
            assert np.array_equal(both, np.minimum(counts, wanted)), (number, layer)
            expected = before if carry == "code" else after[layer]
            assert np.array_equal(kept[layer], expected), (number, layer)
        if cycles:
            check_cycles(after, paper_utilization(trained, PES))
        found.append(sum(int(mask.sum()) for mask in kept.values()))
    return found


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("name", "carry"), [("imp", "paper"), ("u-ticket", "paper"), ("u-ticket", "code")]
)
def test_every_round_has_the_living_weights_that_are_stated(
    name: str, carry: str, seed: int
) -> None:
    climb(name, seed, carry=carry)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_codes_ladder_stays_on_its_powers(seed: int) -> None:
    """What a balance recovers takes the place of other weights in the next pruning.

    Were it dropped before the quarter is counted, 19 % fewer weights would live in the end.
    """
    found = climb("u-ticket", seed, carry="code")
    total = sum(int(np.prod(shape)) for shape in shapes(16).values())
    for number, alive in enumerate(found, 1):
        assert alive == pytest.approx(total * (1 - RATE) ** number, rel=0.03), number
    assert found[-1] == pytest.approx(total * (1 - RATE) ** ROUNDS, rel=0.01)
    stated = state_ladder(
        (arrays(one) for one in trainings(seed, 16)), "code", np.random.default_rng(seed)
    )
    assert found == pytest.approx(stated, rel=0.01)


@pytest.mark.parametrize("name", ["imp", "u-ticket"])
def test_work_idle_latency_and_utilization_are_exact_in_every_round(name: str) -> None:
    """Of a width that leaves the last wave of some layers half empty."""
    climb(name, 1, carry="paper", width=12, cycles=True)
