"""What a GPU computes; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from evenspike_train.kernels import neuron
from evenspike_train.kernels.neuron import LIFParameters
from evenspike_train.runs import command
from tests.helpers.neurons import both
from tests.helpers.training import SHORT, write_set

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU for torch")


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_fused_neuron_equals_the_loop(reset: str) -> None:
    torch.manual_seed(0)
    current = 2 * torch.randn(4, 3, 8, 5, 5, dtype=torch.float64).cuda()
    (s, g), (fused_s, fused_g) = both(current, LIFParameters(reset=reset))
    assert torch.equal(s, fused_s)
    torch.testing.assert_close(g, fused_g)
    assert 0.05 < s.mean() < 0.95


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_triton_kernels_equal_the_tensor_operations(
    reset: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton")
    torch.manual_seed(0)
    current = (2 * torch.randn(4, 3, 8, 31, 31)).to(dtype).cuda()
    (s, g), (fused_s, fused_g) = both(current.float(), LIFParameters(reset=reset))
    assert torch.equal(s, fused_s)
    torch.testing.assert_close(g, fused_g)
    _, (kernel_s, kernel_g) = both(current, LIFParameters(reset=reset))
    monkeypatch.setattr(neuron, "_gpu_kernels", lambda _: None)
    _, (plain_s, plain_g) = both(current, LIFParameters(reset=reset))
    assert torch.equal(kernel_s, plain_s)
    torch.testing.assert_close(kernel_g.float(), plain_g.float(), rtol=2**-7, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_tiny_run_trains_resumes_and_exports(tmp_path: Path, precision: str) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(SHORT.replace('"fp32"', f'"{precision}"'))
    folder = write_set(tmp_path)
    command.train(str(path), tmp_path / "run", folder, device="cuda")
    command.train(str(path), tmp_path / "run", folder, device="cuda")  # resumes a finished run
    program, _, _ = command.export(tmp_path / "run", tmp_path, folder, device="cuda")
    assert 0 <= program.provenance["integer_test_accuracy"] <= 100
