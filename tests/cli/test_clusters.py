"""A sweep on a local cluster of two workers of Dask, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("distributed")

from tests.cli.test_sweep import RECIPE
from tests.helpers import clusters
from tests.helpers.training import write_set

LONGER = RECIPE.replace("[final]\n    images = 40", "[final]\n    images = 800")


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """The command of a sweep of four runs."""
    write_set(tmp_path, train=60)
    (tmp_path / "tiny.toml").write_text(LONGER)
    assert LONGER != RECIPE
    return [
        *(sys.executable, "-m", "evenspike", "sweep", "--recipe", str(tmp_path / "tiny.toml")),
        *("--methods", "imp,u-ticket", "--seeds", "1-2", "--jobs", "2", "--data", str(tmp_path)),
        *("--out", str(tmp_path / "out")),
    ]


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "sweep.json").read_text())["runs"]
    return found


def test_a_sweep_survives_a_worker(given: list[str], tmp_path: Path) -> None:
    """What a dead worker was doing is done by another, or by the same command the next time."""
    out, command = tmp_path / "out", [*given, "--backend", "dask"]
    with clusters.dask(tmp_path) as cluster:
        options: Any = {"env": cluster.environment, "cwd": tmp_path, "text": True}
        sweep = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )

        def begun() -> bool:
            return any(out.glob("runs/*/state.pt")) or sweep.poll() is not None

        clusters.wait(begun, "the first run of the sweep")
        workers = cluster.workers()
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        said, _ = sweep.communicate(timeout=clusters.PATIENCE)
        if sweep.returncode:
            assert "again" in said  # it says what to do
            again = subprocess.run(
                command, check=False, capture_output=True, timeout=clusters.PATIENCE, **options
            )
            assert again.returncode == 0, again.stdout + again.stderr
    assert [row["state"] for row in rows(out)] == ["finished"] * 4
    # The runs are those that one process makes.
    alone = [one if one != str(out) else str(tmp_path / "alone") for one in given]
    subprocess.run(
        [*alone, "--backend", "loky"], check=True, capture_output=True, cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": cluster.environment["PYTHONPATH"]},
        timeout=clusters.PATIENCE,
    )  # fmt: skip
    for one, other in zip(rows(out), rows(tmp_path / "alone"), strict=True):
        assert one["name"] == other["name"]  # in the order they were asked for
        assert one["layers"] == other["layers"], one["name"]
