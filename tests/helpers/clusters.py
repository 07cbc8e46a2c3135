"""Clusters of two worker processes on this machine, for the tests of what runs on one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 300
"""Seconds that a cluster may take to begin or to end something."""


@dataclass(frozen=True)
class Cluster:
    """environment: in which a process finds it. workers: says which processes compute now."""

    environment: dict[str, str]
    workers: Callable[[], Sequence[int]]


def wait(done: Callable[[], bool], what: str) -> None:
    """Until it is done; raises TimeoutError that says what is not."""
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)


def _environment(**more: str) -> dict[str, str]:
    """That of this process, with our packages on the path; one thread for each worker."""
    path = os.pathsep.join(p for p in sys.path if p)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


@contextmanager
def dask(folder: Path) -> Iterator[Cluster]:
    """A scheduler and two workers, none of which is started again when it dies."""
    told = folder / "scheduler.json"
    environment = _environment()
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    options = ["--port", "0", "--no-dashboard", "--scheduler-file", str(told)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    processes = [subprocess.Popen([*command, *options], **quiet)]  # type: ignore[call-overload]
    try:
        wait(told.is_file, "the scheduler")
        for _ in range(2):
            command = [sys.executable, "-m", "distributed.cli.dask_worker"]
            options = [
                "--no-nanny",
                "--nthreads",
                "1",
                "--no-dashboard",
                "--scheduler-file",
                str(told),
            ]
            processes.append(subprocess.Popen([*command, *options], cwd=folder, **quiet))  # type: ignore[call-overload]
        import json

        wait(lambda: bool(told.read_text()), "the scheduler's address")
        address = json.loads(told.read_text())["address"]
        yield Cluster(
            _environment(DASK_SCHEDULER_ADDRESS=address),
            lambda: [process.pid for process in processes[1:] if process.poll() is None],
        )
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()
