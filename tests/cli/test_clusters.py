"""A sweep on a local cluster of two workers, of Dask and of Ray, one of which is killed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from tests.cli.test_sweep import RECIPE
from tests.helpers import clusters
from tests.helpers.training import write_set

LONGER = RECIPE.replace("[final]\n    images = 40", "[final]\n    images = 300")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a sweep of three runs, up to its folder."""
    folder = tmp_path_factory.mktemp("given")
    write_set(folder, train=60)
    (folder / "tiny.toml").write_text(LONGER)
    assert LONGER != RECIPE
    return [
        *(sys.executable, "-m", "evenspike", "sweep", "--recipe", str(folder / "tiny.toml")),
        *("--methods", "u-ticket", "--seeds", "1-3", "--jobs", "2", "--data", str(folder)),
        "--out",
    ]


@pytest.fixture(scope="module")
def alone(given: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the processes of one machine make of it."""
    out = tmp_path_factory.mktemp("alone")
    subprocess.run(
        [*given, str(out), "--backend", "loky"], check=True, capture_output=True, cwd=out,
        env=clusters.environment(), timeout=clusters.PATIENCE,
    )  # fmt: skip
    return rows(out)


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "sweep.json").read_text())["runs"]
    return found


def without_one(sweep: subprocess.Popen[str], runs: Path) -> str:
    """What a sweep says, one of whose two workers is killed when both train."""

    def begun() -> bool:
        two = len(clusters.training(runs)) == 2
        return (two and any(runs.glob("*/state.pt"))) or sweep.poll() is not None

    clusters.wait(begun, "the first two runs of the sweep")
    workers = clusters.training(runs)
    assert len(workers) == 2
    assert sweep.pid not in workers
    os.kill(workers[0], signal.SIGKILL)
    return sweep.communicate(timeout=clusters.PATIENCE)[0]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("backend", "package"),
    [
        pytest.param("dask", "distributed", id="dask"),
        pytest.param("ray", "ray", id="ray", marks=pytest.mark.long),
    ],
)
def test_a_sweep_survives_a_worker(
    backend: str, package: str, given: list[str], alone: list[dict[str, Any]], tmp_path: Path
) -> None:
    """What a dead worker was doing is done by another, or by the same command the next time."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")
    out = tmp_path / "out"
    command = [*given, str(out), "--backend", backend]
    with getattr(clusters, backend)(tmp_path) as environment:
        options: Any = {"env": environment, "cwd": tmp_path, "text": True}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        ) as sweep:
            try:
                said = without_one(sweep, out / "runs")
            finally:
                sweep.kill()
        if sweep.returncode:
            assert "again" in said  # it says what to do
            again = subprocess.run(
                command, check=False, capture_output=True, timeout=clusters.PATIENCE, **options
            )
            assert again.returncode == 0, again.stdout + again.stderr
    assert [row["state"] for row in rows(out)] == ["finished"] * 3
    for one, other in zip(rows(out), alone, strict=True):
        assert one["name"] == other["name"]  # in the order they were asked for
        assert one["layers"] == other["layers"], one["name"]
