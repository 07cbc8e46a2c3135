"""ResNet-19 has the published shape, and its graph, folded, is the same network."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

pytest.importorskip("torch")

import numpy as np
import torch

from evenspike_core import reference
from evenspike_core.errors import EvenspikeError
from evenspike_train import networks
from evenspike_train.export.integer import quantised_forward
from evenspike_train.export.programs import follow
from evenspike_train.kernels.neuron import LIFParameters, lif_loop
from evenspike_train.lowering import FloatLayer, Network
from evenspike_train.lowering.evaluate import currents
from evenspike_train.networks import NetworkConfig
from evenspike_train.runs import sparse_cpu
from evenspike_train.tickets import masks
from tests.helpers.residual import calibrated, images, program_of

LAYERS = 1 + 2 * 8 + 2
SIZES = [32] + [16] * 6 + [8] * 6 + [4] * 4 + [1, 1]


def test_full_width_counts_are_the_papers() -> None:
    model = networks.build(NetworkConfig("resnet19", in_channels=3))
    assert sum(w.numel() for w in masks.originals(model).values()) == 12_619_968
    assert sum(p.numel() for p in model.parameters()) == 12_630_858
    convolutions = [n for n, w in masks.originals(model).items() if w.dim() == 4]
    assert len(convolutions) == 1 + 19
    assert sum(".shortcut." in name for name in convolutions) == 3


def test_logits_and_spikes_per_timestep() -> None:
    model = networks.build(NetworkConfig("resnet19", width=2, timesteps=3, classes=7))
    record: list[torch.Tensor] = []
    assert model(images(5, 0), record=record).shape == (3, 5, 7)
    layers = follow(model).layers
    assert [layer.size[0] for layer in layers] == SIZES
    filters = [2] + [4] * 6 + [8] * 6 + [16] * 4 + [8]
    assert [tuple(r.shape) for r in record] == [
        (15, f, *layer.size) for f, layer in zip(filters, layers[:-1], strict=True)
    ]
    assert all(((r == 0) | (r == 1)).all() for r in record)


def test_fewer_timesteps_are_a_prefix() -> None:
    model = calibrated(2)
    full = model(images(2, 5))
    model.timesteps = 2
    torch.testing.assert_close(model(images(2, 5)), full[:2])


def test_an_image_is_the_same_frame_at_every_timestep() -> None:
    model = calibrated(2)
    still = images(2, 5)
    frames = still.unsqueeze(1).repeat(1, model.timesteps, 1, 1, 1)
    torch.testing.assert_close(model(frames), model(still))
    frames[:, 2:] = images(4, 6).view(2, 2, 1, 32, 32)
    records: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    model(frames, record=records[0])
    model(still, record=records[1])
    for one, two in zip(*records, strict=True):
        assert torch.equal(one[:4], two[:4])  # two images, the first two timesteps
    assert not torch.equal(records[0][0][4:], records[1][0][4:])
    with pytest.raises(EvenspikeError, match="3 frames for 4 timesteps"):
        model(frames[:, :3])


def folded_forward(network: Network, neuron: LIFParameters) -> list[torch.Tensor]:
    """Spikes [T, B, F, H, W] of each layer, from nothing but the folded layers; last the logits."""
    plain = LIFParameters(neuron.leak, 1.0, neuron.threshold, neuron.reset)
    done: list[FloatLayer] = []
    found: list[torch.Tensor] = []
    for index, layer in enumerate(network.layers):
        own = dataclasses.replace(network, layers=(*done, *network.layers[index:]))
        current = torch.from_numpy(currents(own, index).copy())
        found.append(current if layer.last else lif_loop(current, plain))
        done.append(dataclasses.replace(layer, spikes=found[-1].numpy() != 0))
    return found


@pytest.mark.parametrize(("side", "average"), [(32, (4, 1)), (48, (2, 3)), (8, (1, 1))])
def test_folded_graph_is_the_network(side: int, average: tuple[int, int]) -> None:
    model = calibrated(2, side=side).double()
    pixels = images(2, 7, side)
    record: list[torch.Tensor] = []
    with torch.no_grad():
        logits = model(pixels, record=record)
    network = follow(model, pixels)
    fc1 = network.layers[-2].segments[0]
    assert (fc1.average, fc1.weight.shape[-1]) == average
    folded = folded_forward(network, model.config.neuron)
    assert len(folded) == LAYERS
    for theirs, mine in zip(record, folded, strict=False):
        assert torch.equal(theirs.view(mine.shape), mine)
        assert mine.any()
    torch.testing.assert_close(folded[-1].flatten(2), logits)


def test_shortcuts_are_segments() -> None:
    model = calibrated(2)
    layers = follow(model).layers
    for number in range(1, 9):
        first, second = layers[2 * number - 1 : 2 * number + 1]
        assert (first.name, second.name) == (f"block{number}.conv1", f"block{number}.conv2")
        main, shortcut = second.segments
        assert (main.source, shortcut.source) == (2 * number - 1, 2 * number - 2)
        assert shortcut.weight.shape[2:] == (1, 1)
        if number in (1, 4, 7):
            assert (first.segments[0].stride, shortcut.stride) == (2, 2)
        else:
            assert shortcut.stride == 1
            assert np.array_equal(shortcut.weight[:, :, 0, 0], 0.75 * np.eye(len(second.bias)))


def test_a_mean_that_no_pool_covers_is_a_kernel_in_parts() -> None:
    model = calibrated(2, side=72)
    fc1 = follow(model, images(2, 7, 72)).layers[-2]
    assert [(s.average, s.offset, s.weight.shape[-1]) for s in fc1.segments] == [
        (1, (0, 0), 5),
        (1, (0, 5), 5),
        (1, (5, 0), 5),
        (1, (5, 5), 5),
    ]


NEURONS: list[dict[str, Any]] = [{}, {"leak": 0.5, "gain": 1.0, "reset": "soft"}]


@pytest.mark.parametrize("neuron", NEURONS, ids=str)
def test_integer_forward_is_the_reference_spike_for_spike(neuron: dict[str, Any]) -> None:
    program = program_of(calibrated(2, **neuron))
    batch = images(2, 9)
    activity = quantised_forward(program, batch)
    for b in range(len(batch)):
        expected = reference.run(program, batch[b].numpy())
        for mine, theirs in zip(activity.masks(), expected.masks, strict=True):
            assert np.array_equal(mine[b].numpy(), theirs)
            assert theirs.any()
        assert np.array_equal(activity.logits[b].numpy(), expected.logits)
        assert not any(expected.overflow)


def test_segments_of_a_layer_share_one_scale() -> None:
    model = calibrated(2)
    program = program_of(model)
    alive = masks.read(model)
    assert program.weights == sum(mask.numel() for mask in alive.values())
    assert program.nnz == sum(int(mask.sum()) for mask in alive.values())  # none was rounded away
    identities = 0
    for real, layer in zip(follow(model).layers[1:], program.layers[1:], strict=True):
        assert layer.threshold & (layer.threshold - 1) == 0
        for number, part in enumerate(real.segments):
            error = np.abs(part.weight * layer.threshold - layer.segments[number].weights).max()
            identity = layer.is_identity(number)
            assert error <= (0 if identity else 0.5)  # a shortcut's gain is exact
            identities += identity
        assert np.abs(real.bias * layer.threshold - layer.bias).max() <= 0.5
    assert identities == 5


def test_work_share_counts_shortcuts_and_positions() -> None:
    model = networks.build(NetworkConfig("resnet19", width=1))
    masks.attach(model)
    assert sparse_cpu.work_share(model) == 1.0
    kept = ("blocks.0.shortcut.conv", "blocks.7.second.conv")
    emptied = {k: v & (k in kept) for k, v in masks.read(model).items()}
    masks.write(model, emptied)
    dense = (2 + 2 * 2 * 5) * 9 * 256 + 2 * 256
    dense += (2 * 4 + 4 * 4 * 5) * 9 * 64 + 8 * 64 + (4 * 8 + 8 * 8 * 3) * 9 * 16 + 32 * 16
    left = 2 * 256 + 8 * 8 * 9 * 16
    assert sparse_cpu.work_share(model) == pytest.approx(left / dense)
