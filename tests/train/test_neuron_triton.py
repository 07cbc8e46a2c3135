"""The kernels for a GPU, run by Triton's interpreter where there is none."""

from __future__ import annotations

import importlib
import itertools
import os
from types import ModuleType

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton", reason="needs Triton, which comes with torch's CUDA builds")

import torch

from evenspike_train.kernels import neuron
from evenspike_train.kernels.neuron import LIFParameters
from tests.helpers.neurons import both

CASES = list(itertools.product(("hard", "soft"), (True, False), (0.25, 0.75, 1.0)))


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Whatever the device, `fused_lif` computes with these."""
    if torch.cuda.is_available():
        pytest.skip("tests/train/test_cuda.py runs the kernels themselves")
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined
    try:
        module = importlib.import_module("evenspike_train.kernels.neuron_cuda")
    finally:
        del os.environ["TRITON_INTERPRET"]
    monkeypatch.setattr(neuron, "neuron_cpu", None)
    monkeypatch.setattr(neuron, "_gpu_kernels", lambda _: module)
    return module


@pytest.mark.parametrize(("reset", "detach", "leak"), CASES)
def test_equals_loop(kernels: ModuleType, reset: str, detach: bool, leak: float) -> None:
    torch.manual_seed(0)
    current = 2 * torch.randn(4, 3, 8, 9, 9)
    assert current[0].numel() > kernels.BLOCK
    (s, g), (fused_s, fused_g) = both(
        current, LIFParameters(leak=leak, reset=reset, detach_reset=detach)
    )
    assert torch.equal(s, fused_s)
    torch.testing.assert_close(g, fused_g, rtol=1e-5, atol=1e-6)
    assert 0.05 < s.mean() < 0.95


@pytest.mark.parametrize("kind", ["boxcar", "triangle"])
@pytest.mark.usefixtures("kernels")
def test_surrogates_equal_the_loop(kind: str) -> None:
    torch.manual_seed(0)
    parameters = LIFParameters(threshold=0.5, surrogate=kind, alpha=0.5)
    (s, g), (fused_s, fused_g) = both(2 * torch.randn(4, 2, 8, 5, 5), parameters)
    assert torch.equal(s, fused_s)
    torch.testing.assert_close(g, fused_g, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.usefixtures("kernels")
def test_bfloat16_equals_tensor_operations(reset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    current = (2 * torch.randn(4, 2, 8, 5, 5)).bfloat16()
    parameters = LIFParameters(reset=reset, alpha=1.0)
    _, (s, g) = both(current, parameters)
    monkeypatch.setattr(neuron, "_gpu_kernels", lambda _: None)
    _, (plain_s, plain_g) = both(current, parameters)
    assert torch.equal(s, plain_s)
    # The interpreter cuts a float32 off to bfloat16 where a GPU rounds: a membrane and what
    # follows from it may be off by a unit in the last place.
    torch.testing.assert_close(g.float(), plain_g.float(), rtol=2**-6, atol=2**-6)


@pytest.mark.usefixtures("kernels")
def test_constant_current_is_read_without_copies() -> None:
    torch.manual_seed(0)
    once = torch.randn(2, 3, 4, 4)
    current = once.unsqueeze(0).expand(4, *once.shape)
    (s, g), (fused_s, fused_g) = both(current, LIFParameters())
    assert torch.equal(s, fused_s)
    torch.testing.assert_close(g, fused_g)
