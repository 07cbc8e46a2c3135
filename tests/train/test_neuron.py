"""The fused neuron is the plain loop, in values and in gradients."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from evenspike_train.kernels import neuron, neuron_cpu
from evenspike_train.kernels.neuron import LIFParameters, fused_lif, lif_loop, surrogate
from tests.helpers.neurons import both

CASES = list(itertools.product(("hard", "soft"), (True, False), (0.25, 0.75, 1.0)))


@pytest.mark.parametrize(("reset", "detach", "leak"), CASES)
def test_fused_equals_loop(reset: str, detach: bool, leak: float) -> None:
    torch.manual_seed(0)
    current = 2 * torch.randn(4, 3, 8, 5, 5, dtype=torch.float64)
    parameters = LIFParameters(leak=leak, reset=reset, detach_reset=detach)
    (s, g), (fused_s, fused_g) = both(current, parameters)
    assert torch.equal(s, fused_s)
    torch.testing.assert_close(g, fused_g, rtol=1e-12, atol=1e-12)
    assert 0.05 < s.mean() < 0.95


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_fused_equals_loop_in_channels_last_memory(reset: str) -> None:
    torch.manual_seed(0)
    current = 2 * torch.randn(4 * 3, 8, 5, 5).to(memory_format=torch.channels_last)
    (s, g), (fused_s, fused_g) = both(current.view(4, 3, 8, 5, 5), LIFParameters(reset=reset))
    assert torch.equal(s, fused_s)
    torch.testing.assert_close(g, fused_g)


def test_constant_current_needs_no_copies_and_sums_gradients() -> None:
    torch.manual_seed(0)
    once = torch.randn(2, 3, 4, 4, requires_grad=True)
    results = []
    for step in (lif_loop, fused_lif):
        spikes = step(once.unsqueeze(0).expand(4, *once.shape), LIFParameters())
        (gradient,) = torch.autograd.grad(spikes.sum(), once)
        results.append((spikes.detach(), gradient))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


@pytest.mark.parametrize(("reset", "detach", "leak"), CASES)
def test_compiled_kernel_equals_loop_in_float32(reset: str, detach: bool, leak: float) -> None:
    torch.manual_seed(0)
    current = 2 * torch.randn(4, 3, 8, 31, 31)  # more than a chunk of the kernel
    parameters = LIFParameters(leak=leak, reset=reset, detach_reset=detach)
    (s, g), (fused_s, fused_g) = both(current, parameters)
    assert current[0].numel() > neuron_cpu.CHUNK
    assert torch.equal(s, fused_s)
    torch.testing.assert_close(g, fused_g, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_compiled_kernel_equals_tensor_operations(
    reset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    current = (2 * torch.randn(4, 3, 8, 5, 5)).bfloat16()
    parameters = LIFParameters(reset=reset, alpha=1.0)
    compiled = both(current, parameters)[1]
    monkeypatch.setattr(neuron, "neuron_cpu", None)
    plain = both(current, parameters)[1]
    assert torch.equal(compiled[0], plain[0])
    # Both round to bfloat16 at the end; they may differ by one unit in the last place.
    torch.testing.assert_close(compiled[1].float(), plain[1].float(), rtol=2**-7, atol=1e-6)
    assert neuron_cpu is not None


def test_first_values_are_the_authors() -> None:
    # v <- 0.25 v + 0.75 x with x = 1: 0.75, 0.9375, ... never fires; with 4/3 it fires each time.
    spikes = fused_lif(torch.ones(4, 1), LIFParameters())
    assert spikes.sum() == 0
    spikes = fused_lif(torch.full((4, 1), 4 / 3 + 1e-6), LIFParameters())
    assert spikes.sum() == 4


def test_threshold_is_inclusive() -> None:
    exact = LIFParameters(leak=0.5, gain=1.0)
    assert fused_lif(torch.ones(1, 1), exact).item() == 1
    below = torch.full((1, 1), math.nextafter(1.0, 0.0), dtype=torch.float64)
    assert fused_lif(below, exact).item() == 0


def test_surrogate_is_the_derivative_of_arctan() -> None:
    x = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    for alpha in (1.0, 2.0):
        smooth = torch.atan(math.pi / 2 * alpha * x) / math.pi + 0.5
        (expected,) = torch.autograd.grad(smooth.sum(), x)
        found = surrogate(x.detach(), LIFParameters(alpha=alpha))
        torch.testing.assert_close(found, expected)


def test_boxcar_and_triangle_are_those_of_their_papers() -> None:
    distance = torch.tensor([-0.3, -0.25, 0.0, 0.2, 0.25], dtype=torch.float64)
    boxcar = LIFParameters(surrogate="boxcar", alpha=0.5)
    assert surrogate(distance, boxcar).tolist() == [0, 2, 2, 2, 0]  # closed below, open above
    triangle = LIFParameters(threshold=0.5, surrogate="triangle", alpha=0.3)
    found = surrogate(torch.tensor([-0.6, -0.25, 0.0, 0.5], dtype=torch.float64), triangle)
    torch.testing.assert_close(found, torch.tensor([0, 0.15, 0.3, 0], dtype=torch.float64))


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("kind", ["boxcar", "triangle"])
def test_compiled_surrogates_equal_the_loop(kind: str, reset: str) -> None:
    torch.manual_seed(0)
    parameters = LIFParameters(threshold=0.5, reset=reset, surrogate=kind, alpha=0.5)
    (s, g), (fused_s, fused_g) = both(2 * torch.randn(4, 3, 8, 31, 31), parameters)
    assert torch.equal(s, fused_s)
    torch.testing.assert_close(g, fused_g, rtol=1e-5, atol=1e-6)
    assert 0 < (g != 0).float().mean() < 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("leak", 1.5), ("leak", -0.1), ("gain", 0.0), ("threshold", 0.0), ("alpha", 0.0),
     ("reset", "none"), ("surrogate", "step")],
)  # fmt: skip
def test_bad_parameters_are_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"neuron: {field} must"):
        LIFParameters(**{field: value})
