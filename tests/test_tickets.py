"""The shipped tickets: what their cards promise, and that three statements of them agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from evenspike.flows import models
from evenspike.flows.prepare import calibration
from evenspike_core import data as dataset
from evenspike_core import metrics, reference
from evenspike_core.arch import Arch
from evenspike_core.mapping import choose
from evenspike_core.pack import pack
from evenspike_core.program import Program
from evenspike_sim.accelerator import Accelerator

TICKETS = ("resnet19-small", "vgg16", "vgg16-small")
FULL_WEIGHTS = 14_715_584 - 2 * 64 * 9
"""Prunable weights of VGG-16 on three input channels, less those of the two that are not there."""


@pytest.fixture(params=TICKETS)
def ticket(request: pytest.FixtureRequest) -> Program:
    return models.load(request.param)


def path(name: str, suffix: str) -> Path:
    return models.checkpoints() / f"{name}{suffix}"


def test_vgg16_is_the_full_network_pruned() -> None:
    program = models.load("vgg16")
    assert program.weights == FULL_WEIGHTS
    assert program.sparsity >= 0.98
    assert program.timesteps == 4
    assert path("vgg16", ".safetensors").stat().st_size <= 3_000_000


def test_the_balance_survives_export(ticket: Program) -> None:
    """u-Ticket's promise: every PE of every group has the same number of weights."""
    paper = metrics.paper_metrics(ticket)
    assert paper.layer_mean == pytest.approx(1, abs=1e-3)
    assert (paper.work + paper.idle) == paper.pes * paper.latency


def test_the_card_says_what_the_file_holds(ticket: Program) -> None:
    card = path(ticket.name, ".md").read_text(encoding="utf-8")
    made = ticket.provenance
    for what in (
        ticket.digest(),
        made["dataset"],
        made["date"],
        made["command"],
        f"{made['integer_test_accuracy']:.2f} %",
        f"{made['float_test_accuracy']:.2f} %",
        f"seed {made['seed']}",
        f"{ticket.nnz:,}",
    ):
        assert str(what) in card


def test_torch_predicts_what_the_integers_predict(ticket: Program) -> None:
    """Argmax of the quantised torch forward and of the integer reference, on all shipped images."""
    torch = pytest.importorskip("torch")
    from evenspike_train.export.integer import quantised_forward

    images, _ = dataset.shipped()
    predicted = quantised_forward(ticket, torch.from_numpy(images)).logits.argmax(1).tolist()
    assert predicted == [reference.run(ticket, one).prediction for one in images]


def test_the_float_network_predicts_the_same() -> None:
    """The full ticket's float32 predictions, kept in the file, but for one: a spike that rounding
    turns moves the logits of the 66th image, which lie close together, past each other.
    """
    images, _ = dataset.shipped()
    ticket = models.load("vgg16")
    predictions = [reference.run(ticket, one).prediction for one in images]
    known = ticket.provenance["shipped_predictions"]
    pairs = enumerate(zip(predictions, known, strict=True))
    assert [at for at, (ours, theirs) in pairs if ours != theirs] == [66]


def test_torch_reference_and_cycle_model_agree(ticket: Program) -> None:
    """Every spike of every layer and timestep, and every logit, of three independent statements."""
    torch = pytest.importorskip("torch")
    from evenspike_train.export.integer import quantised_forward

    images = dataset.shipped()[0][::37]
    activity = quantised_forward(ticket, torch.from_numpy(images))
    masks = [part.numpy() for part in activity.masks()]
    mapping = choose(ticket, Arch(), None, calibration(ticket))
    accelerator = Accelerator(pack(ticket, mapping, Arch()))
    for number, pixels in enumerate(images):
        expected = reference.run(ticket, pixels)
        runs = accelerator.run(expected.masks[0])
        for layer, ours in enumerate(expected.masks):
            same: npt.NDArray[np.bool_] = masks[layer][number] == ours
            assert same.all(), f"image {number}, layer {layer}: torch differs from the reference"
            assert np.array_equal(runs[layer].masks, ours), f"image {number}, layer {layer}: model"
        assert np.array_equal(activity.logits[number].numpy(), expected.logits)
        logits = runs[-1].logits
        assert logits is not None
        assert np.array_equal(logits, expected.logits)
