"""What training needs: torch, not what the CPU's kernels and the command line are made with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.helpers.training import SHORT, write_set

PROGRAM = """
import sys
for name in ("numba", "rich", "joblib"):
    sys.modules[name] = None
from pathlib import Path
import evenspike as es
found = es.train("tiny.toml", "run", data=".", device="cpu", threads=1)
print(found.accuracy, len(found.program.layers), (Path("run") / "tiny.md").is_file())
"""


def test_it_trains_and_exports_without_numba_and_rich(tmp_path: Path) -> None:
    """As on a machine with a GPU where nothing can be installed; the cycle model is left out."""
    write_set(tmp_path)
    (tmp_path / "tiny.toml").write_text(SHORT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1:] == ["14", "True"]
    assert '"reason": "the cycle model needs ' in (tmp_path / "run" / "log.jsonl").read_text()
