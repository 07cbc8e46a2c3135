"""Folding, scaling and the integer forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from evenspike_core import reference
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program
from evenspike_train import networks
from evenspike_train.export.integer import integer_accuracy, quantised_forward
from evenspike_train.export.programs import follow, to_program
from evenspike_train.export.quantize import quantise
from evenspike_train.kernels.neuron import LIFParameters
from evenspike_train.networks import NetworkConfig
from evenspike_train.tickets import masks


def sparse_model(width: int = 4, density: float = 0.4, **neuron: Any) -> networks.VGG16:
    """A network with plausible statistics: some batches have gone through it."""
    torch.manual_seed(0)
    model = networks.VGG16(NetworkConfig(width=width, neuron=LIFParameters(**neuron)))
    for layer in model.blocks():
        torch.nn.init.uniform_(layer.norm.weight, 0.8, 2.5)
        torch.nn.init.uniform_(layer.norm.bias, -0.2, 0.6)
        assert layer.conv.bias is not None
        torch.nn.init.uniform_(layer.conv.bias, -0.1, 0.1)
    masks.attach(model)
    masks.write(model, {k: torch.rand(v.shape) < density for k, v in masks.read(model).items()})
    for _ in range(20):
        model(images(16))
    return model.eval()


def images(count: int, seed: int | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed) if seed is not None else None
    return torch.randint(0, 256, (count, 1, 32, 32), dtype=torch.uint8, generator=generator)


def program_of(
    model: networks.SpikingNetwork, *, keep_living: bool = False
) -> tuple[Program, dict[str, int]]:
    network = follow(model, images(4, seed=3), "test")
    quantised = quantise(network, keep_living)
    program, _ = to_program(network, keep_living=keep_living)
    return program, quantised.lost


NEURONS: list[dict[str, Any]] = [
    {},
    {"leak": 0.5, "gain": 1.0, "reset": "soft"},
    {"leak": 0.75, "gain": 1.0, "threshold": 0.5},
    {"leak": 1.0, "gain": 0.75},
]


@pytest.mark.parametrize("neuron", NEURONS, ids=str)
def test_integer_forward_is_the_reference_spike_for_spike(neuron: dict[str, Any]) -> None:
    program, _ = program_of(sparse_model(**neuron))
    batch = images(3, seed=1)
    activity = quantised_forward(program, batch)
    total = 0
    for b in range(len(batch)):
        expected = reference.run(program, batch[b].numpy())
        for mine, theirs in zip(activity.masks(), expected.masks, strict=True):
            assert np.array_equal(mine[b].numpy(), theirs)
            total += int(np.count_nonzero(theirs))
        assert np.array_equal(activity.logits[b].numpy(), expected.logits)
        assert not any(expected.overflow)
    assert total > 1000  # silence would prove nothing


@pytest.mark.parametrize("neuron", NEURONS, ids=str)
def test_integers_follow_the_float_network(neuron: dict[str, Any]) -> None:
    model = sparse_model(**neuron).double()
    program, _ = program_of(model)
    spikes = quantised_forward(program, images(4, seed=2)).spikes
    # Layer by layer from the integer network's own spikes: a difference is a rounding that
    # met the threshold.  (Through 13 random layers a single one would spread.)
    for index in range(1, len(spikes)):
        block = model.blocks()[index]
        current = block.current(spikes[index - 1].flatten(0, 1).double())
        expected = block.pooled(block.spikes(current.view(model.timesteps, 4, *current.shape[1:])))
        different = expected.view(spikes[index].shape) != spikes[index]
        assert different.double().mean() < 2e-3
    first: list[torch.Tensor] = []
    model(images(4, seed=2), record=first)
    assert (first[0].view(spikes[0].shape) != spikes[0]).double().mean() < 2e-3


def test_fold_is_batch_norm_and_gain() -> None:
    model = sparse_model().double()
    folded = follow(model).layers
    x = torch.rand(2, 4, 32, 32, dtype=torch.float64)
    layer = model.blocks()[1]
    weight, bias = torch.from_numpy(folded[1].segments[0].weight), torch.from_numpy(folded[1].bias)
    mine = torch.nn.functional.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(mine, 0.75 * layer.current(x))
    pixels = images(2).double()
    first = torch.from_numpy(folded[0].segments[0].weight), torch.from_numpy(folded[0].bias)
    mine = torch.nn.functional.conv2d(pixels, *first, padding=1)
    torch.testing.assert_close(mine, 0.75 * model.blocks()[0].current(pixels / 256))


def test_zeros_stay_zeros_and_scales_are_powers_of_two() -> None:
    model = sparse_model()
    program, lost = program_of(model)
    alive = masks.read(model)
    names = [f"layers.{i}.conv" for i in range(13)] + ["classifier"]
    for name, layer in zip(names, program.layers, strict=True):
        weights = layer.segments[0].weights
        mask = alive[name].numpy().reshape(weights.shape)
        assert not weights[~mask].any()
        assert int((mask & (weights == 0)).sum()) == lost[layer.name]
        assert layer.threshold & (layer.threshold - 1) == 0


def test_rounding_error_is_half_a_step() -> None:
    model = sparse_model()
    program, _ = program_of(model)
    for real, layer in zip(follow(model).layers[1:], program.layers[1:], strict=True):
        error = np.abs(real.segments[0].weight * layer.threshold - layer.segments[0].weights)
        assert error.max() <= 0.5
        assert np.abs(real.bias * layer.threshold - layer.bias).max() <= 0.5


def test_scale_is_the_largest_that_fits() -> None:
    model = sparse_model()
    program, _ = program_of(model)
    for real, layer in zip(follow(model).layers[1:-1], program.layers[1:-1], strict=True):
        doubled = np.abs(np.rint(real.segments[0].weight * 2 * layer.threshold))
        total = doubled.sum(axis=(1, 2, 3)) + np.abs(real.bias * 2 * layer.threshold)
        too_wide = doubled.max() > 32767
        too_high = total.max() / (1 - 0.25) >= 2**23 * 0.999
        assert too_wide or too_high or 2 * layer.threshold >= 2**23


def test_first_layer_is_finer_than_its_neurons() -> None:
    program, _ = program_of(sparse_model())
    assert program.layers[0].shift > 0
    assert all(layer.shift == 0 for layer in program.layers[1:])


def test_tiny_weights_are_counted_or_kept() -> None:
    model = sparse_model()
    with torch.no_grad():
        original = masks.originals(model)["layers.4.conv"]
        alive = masks.read(model)["layers.4.conv"].nonzero()[:3]
        for sign, position in zip((1, -1, 1), alive, strict=True):
            original[tuple(position)] = sign * 1e-12
    program, lost = program_of(model)
    assert lost["conv5"] == 3
    kept, none = program_of(model, keep_living=True)
    assert none["conv5"] == 0
    values = [int(kept.layers[4].segments[0].weights[tuple(p)]) for p in alive]
    assert sorted(map(abs, values)) == [1, 1, 1]
    assert kept.nnz == program.nnz + sum(lost.values())


def test_empty_layer_is_possible() -> None:
    model = sparse_model()
    alive = masks.read(model)
    alive["layers.6.conv"][:] = False
    masks.write(model, alive)
    program, _ = program_of(model)
    assert program.layers[6].nnz == 0
    quantised_forward(program, images(1))


def test_range_proof_limits_the_scale() -> None:
    model = sparse_model()
    with torch.no_grad():
        model.blocks()[3].norm.bias.fill_(3000.0)
    program, _ = program_of(model)
    assert program.layers[3].threshold < program.layers[2].threshold


def test_impossible_ranges_are_named() -> None:
    model = sparse_model()
    with torch.no_grad():
        model.blocks()[3].norm.bias.fill_(1e30)
    with pytest.raises(
        EvenspikeError, match=r"layer conv4: no scale fits .*: the bias of filter 0"
    ):
        quantise(follow(model))
    model = sparse_model()
    weight = masks.originals(model)["layers.2.conv"]
    alive = masks.read(model)["layers.2.conv"].nonzero()[-1]
    with torch.no_grad():
        weight[tuple(alive)] = 1e30
    filter_, channel, *_ = alive.tolist()
    reason = (
        rf"layer conv3: no scale fits .*: a weight of filter {filter_}, of channel {channel}, is"
    )
    with pytest.raises(EvenspikeError, match=reason):
        quantise(follow(model))


def test_any_leak_is_a_number_of_4096ths() -> None:
    program, _ = program_of(sparse_model(leak=0.3, gain=1.0))
    assert {layer.leak for layer in program.layers} == {1229}


@pytest.mark.parametrize(
    ("name", "attribute"),
    [("layers.2.conv.bias", "bias"), ("layers.2.norm.running_var", "running_var")],
)
def test_nan_is_named(name: str, attribute: str) -> None:
    model = sparse_model()
    part = model.get_submodule(name.removesuffix(f".{attribute}"))
    with torch.no_grad():
        getattr(part, attribute)[0] = float("nan")
    with pytest.raises(EvenspikeError, match=rf"{name}: holds 1 values that are not finite"):
        quantise(follow(model))


def test_accuracy_takes_the_first_of_equal_logits() -> None:
    from evenspike_train.data import Split

    model = sparse_model()
    with torch.no_grad():
        model.classifier.bias.zero_()
        masks.originals(model)["classifier"].zero_()
    program, _ = program_of(model)
    split = Split(images(4), torch.tensor([0, 0, 1, 0]))
    assert integer_accuracy(program, split) == 75.0
