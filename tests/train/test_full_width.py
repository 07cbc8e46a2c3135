"""u-Ticket at the papers' widths and sparsity: utilization 1.00 in the paper's convention."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from evenspike_core.metrics import paper_metrics
from evenspike_train import networks, tickets
from evenspike_train.export.programs import follow, noise, to_program
from evenspike_train.networks import NetworkConfig
from evenspike_train.tickets import MethodConfig, masks
from tests.helpers.pruning import PROBE, generator

PES = 16
RATE = 0.982  # what 14 rounds of 0.75 leave: in one pruning, as nothing is trained here
COUNTED = {"vgg16": 12, "resnet19": 19}


@pytest.mark.parametrize("name", ["vgg16", "resnet19"])
def test_utilization_is_one_at_98_percent(name: str) -> None:
    """From the pruning to the integers; the weights are untrained."""
    torch.manual_seed(5)
    model = networks.build(NetworkConfig(name)).eval()
    masks.attach(model)
    found = {}
    for method in ("imp", "u-ticket"):
        config = MethodConfig(name=method, rounds=1, rate=RATE, scope="local", pes=PES)
        dense = {key: torch.ones_like(mask) for key, mask in masks.read(model).items()}
        weights, drawn = masks.originals(model), generator()
        alive = tickets.build(config).update(weights, dense, dense, drawn, True, PROBE).masks
        assert masks.sparsity(alive) >= 0.98
        masks.write(model, alive)
        program, _ = to_program(follow(model), keep_living=True, may_be_silent=True)
        found[method] = paper_metrics(program, PES)
    for cycles in found.values():
        assert len(cycles.convolutions) == COUNTED[name]
        for layer in cycles.convolutions:
            assert layer.work + layer.idle == PES * layer.latency  # u-Ticket, Section III
    even, uneven = found["u-ticket"], found["imp"]
    for value in (even.layer_mean, even.parameter_weighted, even.pooled):
        assert value == pytest.approx(1.0, abs=0.001)
    assert uneven.layer_mean is not None
    assert uneven.layer_mean < 0.9


def test_the_published_vgg16_is_followed_and_proved() -> None:
    """Dense, and with batch norms by which every layer fires."""
    torch.manual_seed(5)
    model = networks.build(NetworkConfig("vgg16", in_channels=3))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(noise(model))
    program, proof = to_program(follow(model.eval()))
    assert not proof.silent
    assert max(one.different for one in proof.layers) < 0.002
    assert program.weights == 14_715_584
