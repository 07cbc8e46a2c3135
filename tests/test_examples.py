"""The examples run as a newcomer runs them, in a folder of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SLOW = "from_training_to_rtl.py"


def run(name: str, folder: Path, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.glob("*.py") if p.name != SLOW))
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    said = run(name, tmp_path)
    assert len(said.splitlines()) > 2


def test_a_report_s_numbers_are_plotted(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert "states.png" in run("read_a_report.py", tmp_path)
    assert (tmp_path / "build/examples/report/states.png").stat().st_size > 10_000


def test_from_training_to_the_rtl(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from evenspike_hw.engine import compiled
    from tests.helpers.training import LADDER, write_set

    compiled.find_tools()
    (tmp_path / "ladder.toml").write_text(LADDER, encoding="utf-8")
    (tmp_path / "data").mkdir()
    write_set(tmp_path / "data")
    said = run(SLOW, tmp_path, "ladder.toml", "data")
    assert "0 of its images differ" in said
    assert "bit-exact" in said
