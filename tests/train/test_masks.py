"""Masks are parametrizations: the pruned weight is zero and stays zero."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from torch.nn.utils import prune

from evenspike_train import networks
from evenspike_train.networks import NetworkConfig
from evenspike_train.runs.export import load_model
from evenspike_train.tickets import masks
from evenspike_train.tickets.base import WeightMasks

SMALL = NetworkConfig(width=2)


def random_masks(model: networks.SpikingNetwork, density: float = 0.5) -> WeightMasks:
    generator = torch.Generator().manual_seed(0)
    return {
        k: torch.rand(v.shape, generator=generator) < density for k, v in masks.read(model).items()
    }


def test_weight_is_masked_and_gradient_too() -> None:
    model = networks.build(SMALL)
    masks.attach(model)
    wanted = random_masks(model)
    masks.write(model, wanted)
    for name, original in masks.originals(model).items():
        weight = model.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        assert (weight[~wanted[name]] == 0).all()
        (gradient,) = torch.autograd.grad(weight.sum(), original)
        assert (gradient[~wanted[name]] == 0).all()
        assert (gradient[wanted[name]] == 1).all()
    assert all(torch.equal(a, wanted[k]) for k, a in masks.read(model).items())


def test_a_mask_that_was_loaded_survives_another_memory_format() -> None:
    """Nothing is computed in between: what moves the module is all that could tell."""
    model = networks.build(SMALL)
    masks.attach(model)
    other = networks.build(SMALL)
    masks.attach(other)
    wanted = random_masks(model)
    masks.write(other, wanted)
    model.load_state_dict(other.state_dict())
    networks.channels_last(model)
    for name, mask in wanted.items():
        weight = model.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        assert (weight[~mask] == 0).all(), name


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_any_optimiser_leaves_pruned_weights_at_zero(name: str) -> None:
    model = networks.build(SMALL)
    masks.attach(model)
    wanted = random_masks(model)
    masks.write(model, wanted)
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    optimizer = kinds[name](model.parameters(), lr=0.1)
    for _ in range(2):
        logits = model(torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8))
        logits.square().sum().backward()
        optimizer.step()
    for key, module in networks.prunable(model):
        assert isinstance(module.weight, torch.Tensor)
        assert (module.weight[~wanted[key]] == 0).all()


def test_sparsity_counts_every_layer() -> None:
    given = {"a": torch.tensor([True, False]), "b": torch.tensor([False] * 6)}
    assert masks.sparsity(given) == 1 - 1 / 8


def test_detach_makes_zeros_permanent() -> None:
    model = networks.build(SMALL)
    masks.attach(model)
    wanted = random_masks(model)
    masks.write(model, wanted)
    masks.detach(model)
    assert not any("parametrizations" in key for key in model.state_dict())
    assert all(torch.equal(a, wanted[k]) for k, a in masks.read(model).items())


def test_wrong_masks_are_named() -> None:
    model = networks.build(SMALL)
    masks.attach(model)
    given = masks.read(model)
    shape = given["classifier"].shape
    with pytest.raises(ValueError, match="disagree about classifier"):
        masks.write(model, {k: v for k, v in given.items() if k != "classifier"})
    with pytest.raises(ValueError, match=r"masks: classifier has shape \(10, 16\)"):
        masks.write(model, {**given, "classifier": torch.ones(3, 3)})
    assert shape == (10, 16)


def test_torch_prune_checkpoint_is_read() -> None:
    model = networks.build(SMALL)
    for index, (_, module) in enumerate(networks.prunable(model)):
        if index != 3:  # one layer that was left alone
            prune.random_unstructured(module, "weight", amount=0.5)  # type: ignore[no-untyped-call]
    loaded = load_model(SMALL, model.state_dict())
    for (_, a), (_, b) in zip(networks.prunable(model), networks.prunable(loaded), strict=True):
        assert torch.equal(torch.as_tensor(a.weight), torch.as_tensor(b.weight))
    assert masks.sparsity(masks.read(loaded)) == pytest.approx(0.5, abs=0.1)


def test_broken_prune_checkpoint_is_named() -> None:
    module = torch.nn.Linear(4, 4)
    prune.random_unstructured(module, "weight", amount=0.5)  # type: ignore[no-untyped-call]
    state = {f"fc.{k}": v for k, v in module.state_dict().items()}
    with pytest.raises(ValueError, match=r"fc\.weight_mask holds values other than 0 and 1"):
        masks.from_torch_prune({**state, "fc.weight_mask": torch.full((4, 4), 0.5)})
    del state["fc.weight_mask"]
    with pytest.raises(ValueError, match=r"fc\.weight_orig has no weight_mask beside it"):
        masks.from_torch_prune(state)


def test_a_mask_is_noticed_however_it_came() -> None:
    model = networks.build(NetworkConfig(width=2))
    masks.attach(model)
    name, convolution = next(iter(networks.prunable(model)))
    original = masks.originals(model)[name]
    assert convolution.weight is original  # nothing is pruned: no product
    state = {key: value.clone() for key, value in model.state_dict().items()}
    pruned = masks.read(model)
    pruned[name][0] = False
    masks.write(model, pruned)
    assert torch.equal(convolution.weight, original * pruned[name])
    assert not bool(convolution.weight[0].any())
    model.load_state_dict(state)
    assert torch.equal(convolution.weight, original)
    state[f"{name}.parametrizations.weight.0.mask"][1] = False
    model.load_state_dict(state)
    assert not bool(convolution.weight[1].any())


def test_channels_are_what_is_pruned_where_nothing_else_is() -> None:
    whole = torch.ones(4, 3, 2, 2, dtype=torch.bool)
    channel, weight = whole.clone(), whole.clone()
    channel[:, 1] = False
    weight[0, 1] = False  # of one filter only
    linear = torch.ones(5, 4, dtype=torch.bool)
    assert masks.of_channels({"a": whole, "b": channel, "c": linear})
    assert not masks.of_channels({"a": whole, "c": linear})
    assert not masks.of_channels({"a": weight, "b": channel})
    linear[:, 2] = False
    assert not masks.of_channels({"b": channel, "c": linear})
