"""What a GPU computes; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from evenspike_train import command
from evenspike_train.neuron import LIFParameters
from tests.train.test_damage import RECIPE
from tests.train.test_data import write_set
from tests.train.test_neuron import both

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU for torch")


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_fused_neuron_equals_the_loop(reset: str) -> None:
    torch.manual_seed(0)
    current = 2 * torch.randn(4, 3, 8, 5, 5, dtype=torch.float64).cuda()
    (s, g), (fused_s, fused_g) = both(current, LIFParameters(reset=reset))
    assert torch.equal(s, fused_s)
    torch.testing.assert_close(g, fused_g)
    assert 0.05 < s.mean() < 0.95


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_tiny_run_trains_resumes_and_exports(tmp_path: Path, precision: str) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.replace('"fp32"', f'"{precision}"'))
    folder = write_set(tmp_path)
    command.train(str(path), tmp_path / "run", folder, device="cuda")
    command.train(str(path), tmp_path / "run", folder, device="cuda")  # resumes a finished run
    program, _ = command.export(tmp_path / "run", tmp_path, folder, device="cuda")
    assert 0 <= program.provenance["integer_test_accuracy"] <= 100
