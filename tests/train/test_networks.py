"""VGG-16 has the published shape, and its sparse forward pass is the same network."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from evenspike_train import networks
from evenspike_train.kernels import sparse_kernels
from evenspike_train.kernels.neuron import LIFParameters
from evenspike_train.networks import NetworkConfig
from evenspike_train.runs import sparse_cpu, sparse_networks
from evenspike_train.tickets import masks


def test_full_width_counts_are_the_papers() -> None:
    model = networks.build(NetworkConfig(in_channels=3))
    weights = sum(w.numel() for w in masks.originals(model).values())
    assert weights == 14_715_584
    assert sum(p.numel() for p in model.parameters()) == 14_728_266


def test_logits_and_spikes_per_timestep() -> None:
    model = networks.build(NetworkConfig(width=2, timesteps=3))
    record: list[torch.Tensor] = []
    logits = model(torch.randint(0, 256, (5, 1, 32, 32), dtype=torch.uint8), record=record)
    assert logits.shape == (3, 5, 10)
    assert [tuple(r.shape[1:]) for r in record[:3]] == [(2, 32, 32), (2, 32, 32), (4, 16, 16)]
    assert all(r.shape[0] == 15 and ((r == 0) | (r == 1)).all() for r in record)


def test_fewer_timesteps_are_a_prefix() -> None:
    torch.manual_seed(0)
    model = networks.build(NetworkConfig(width=4)).eval()
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    full = model(images)
    model.timesteps = 2
    torch.testing.assert_close(model(images), full[:2])


@pytest.mark.parametrize("field", ["width", "in_channels", "classes", "timesteps"])
def test_bad_configuration_is_named(field: str) -> None:
    wrong: dict[str, Any] = {field: 0}
    with pytest.raises(ValueError, match=f"network: {field} must"):
        NetworkConfig(**wrong)


def reference_convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, grad: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Output and gradients by torch in float32; maps are [H, W, C, N]."""
    x = x.detach().float().requires_grad_()
    out = torch.nn.functional.conv2d(x.permute(3, 2, 0, 1), weight, bias, padding=1)
    out = out.permute(2, 3, 1, 0)
    return out, torch.autograd.grad(out, (x, weight, bias), grad.float())


@pytest.mark.parametrize("compiler", [True, False])
@pytest.mark.parametrize(
    ("channels", "filters", "side", "images"), [(5, 7, 4, 32), (3, 6, 2, 160), (4, 4, 1, 8)]
)
def test_sparse_convolution(
    compiler: bool,
    channels: int,
    filters: int,
    side: int,
    images: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not compiler:
        monkeypatch.setattr(sparse_kernels, "compiled", lambda: None)
    torch.manual_seed(0)
    mask = torch.rand(filters, channels, 3, 3) < 0.3
    mask[1] = False  # an empty filter
    weight = (torch.randn(mask.shape) * mask).requires_grad_()
    bias = torch.randn(filters, requires_grad=True)
    x = (torch.rand(side, side, channels, images) < 0.3).bfloat16().requires_grad_()  # spikes
    out = sparse_cpu.convolve(x, weight, bias, sparse_cpu.Structure(mask))
    grad = torch.randn_like(out)
    of_x, of_weight, of_bias = torch.autograd.grad(out, (x, weight, bias), grad)
    expected, (ex, ew, eb) = reference_convolution(x, weight, bias, grad)
    torch.testing.assert_close(out.float(), expected, rtol=2**-7, atol=2**-7)
    torch.testing.assert_close(of_x.float(), ex, rtol=2**-7, atol=2**-7)
    torch.testing.assert_close(of_weight, ew * mask, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(of_bias, eb, rtol=1e-4, atol=1e-3)


def test_sparse_forward_is_the_same_network() -> None:
    torch.manual_seed(0)
    model = networks.VGG16(NetworkConfig(width=4, timesteps=2))
    networks.channels_last(model)
    masks.attach(model)
    masks.write(model, {k: torch.rand(v.shape) < 0.2 for k, v in masks.read(model).items()})
    images = torch.randint(0, 256, (16, 1, 32, 32), dtype=torch.uint8)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16):
        dense = model(images)
    after_dense = {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(before)
    with torch.autocast("cpu", torch.bfloat16):
        sparse = sparse_networks.sparse_forward(model)(images)
    assert sparse.shape == dense.shape
    # bfloat16 rounds differently, flips a few spikes, and each layer adds to that: the first
    # statistics agree closely, and every parameter is reached by a gradient.
    for name, value in model.state_dict().items():
        if "norm.running" in name and int(name.split(".")[1]) < 3:
            torch.testing.assert_close(value, after_dense[name], rtol=0.02, atol=2e-3)
    torch.autograd.backward(sparse.float().square().sum())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
    for name, original in masks.originals(model).items():
        assert original.grad is not None
        assert original.grad[~masks.read(model)[name]].count_nonzero() == 0


@pytest.mark.parametrize("name", ["vgg16", "resnet19"])
def test_sparse_forward_is_exact_where_nothing_rounds(name: str) -> None:
    """With weights of quarters all sums fit bfloat16: spikes and logits are the same."""
    torch.manual_seed(0)
    neuron = LIFParameters(gain=1.0, threshold=0.25)
    model = networks.build(NetworkConfig(name, width=4, timesteps=2, neuron=neuron)).eval()
    masks.attach(model)
    masks.write(model, {k: torch.rand(v.shape) < 0.3 for k, v in masks.read(model).items()})
    with torch.no_grad():
        for weight in masks.originals(model).values():
            weight.copy_(torch.randint(-2, 3, weight.shape) / 4)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0  # with the statistics of its beginning: it gives what it takes
            elif isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                module.bias.zero_()
    images = torch.randint(0, 3, (16, 1, 32, 32), dtype=torch.uint8) * 64
    found = []
    for forward in (model, sparse_networks.sparse_forward(model)):
        logits = forward(images)
        weights = masks.originals(model)
        values = torch.autograd.grad(logits.square().mean(), list(weights.values()))
        found.append((logits, dict(zip(weights, values, strict=True))))
    (dense, expected), (sparse, gradients) = found
    assert dense.unique(dim=1).shape[1] > 4, "the images differ"
    assert torch.equal(sparse, dense)
    for layer, gradient in gradients.items():
        assert expected[layer].count_nonzero() > 0, layer
        error = (gradient - expected[layer]).norm() / expected[layer].norm()
        assert error < 0.03, (layer, error)  # sums of gradients do round


def test_work_share_counts_positions() -> None:
    model = networks.build(NetworkConfig(width=2))
    masks.attach(model)
    assert sparse_cpu.work_share(model) == 1.0
    emptied = {k: v & (k == "layers.1.conv") for k, v in masks.read(model).items()}
    masks.write(model, emptied)
    work = [2 * 2 * 1024, 2 * 4 * 256, 4 * 4 * 256, 4 * 8 * 64, 8 * 8 * 64, 8 * 8 * 64]
    work += [8 * 16 * 16, 16 * 16 * 16, 16 * 16 * 16, *[16 * 16 * 4] * 3]
    assert sparse_cpu.work_share(model) == pytest.approx(work[0] / sum(work))
