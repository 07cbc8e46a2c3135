"""Clusters of two worker processes on this machine, for the tests of what runs on one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE = 300
"""Seconds that a cluster may take to begin or to end something."""


def wait(done: Callable[[], bool], what: str) -> None:
    """Until it is done; raises TimeoutError that says what is not."""
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)


def training(runs: Path) -> list[int]:
    """Processes that train now: they have the folder of a run open, which is its lock."""
    found = set()
    for handle in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it has ended, or is another user's
            if handle.readlink().is_relative_to(runs):
                found.add(int(handle.parts[2]))
    return sorted(found)


def environment(**more: str) -> dict[str, str]:
    """That of this process, with our packages on the path; one thread for each worker."""
    path = os.pathsep.join(p for p in sys.path if p)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


@contextmanager
def dask(folder: Path) -> Iterator[dict[str, str]]:
    """A scheduler and two workers, none of which is started again when it dies; the environment in
    which a process finds them.
    """
    told = folder / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    options = ["--port", "0", "--no-dashboard", "--scheduler-file", str(told)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment()}
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
        wait(lambda: bool(told.read_text()), "the scheduler's address")
        address = json.loads(told.read_text())["address"]
        yield environment(DASK_SCHEDULER_ADDRESS=address)
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


@contextmanager
def ray(folder: Path) -> Iterator[dict[str, str]]:
    """A head with two processors, which starts its workers itself; the environment in which a
    process finds it.
    """
    short = Path("/tmp") / f"ray-{os.getpid()}"  # noqa: S108 - a socket's path has 107 bytes
    given = environment(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
    port = str(20000 + os.getpid() % 10000)
    script = Path(sys.executable).with_name("ray")
    options = ["--head", "--num-cpus", "2", "--port", port, "--include-dashboard", "false"]
    head = subprocess.Popen(
        [script, "start", "--block", *options, "--temp-dir", str(short), "--disable-usage-stats"],
        env=given,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait((short / "ray_current_cluster").is_file, "the head")
        yield {**given, "RAY_ADDRESS": f"127.0.0.1:{port}"}
    finally:
        head.terminate()  # it ends all that it has started
        head.wait()
        shutil.rmtree(short, ignore_errors=True)
