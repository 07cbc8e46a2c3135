"""Where a sweep's runs are computed: joblib's backends, made ready by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evenspike_core.errors import EvenspikeError

BACKENDS: dict[str, str] = {
    "loky": "",  # processes of this machine
    "threading": "",  # this process
    "dask": "distributed",
    "ray": "ray",
}
"""Each backend, and the package that it needs beside joblib."""


def check(name: str, jobs: int) -> None:
    """Raise EvenspikeError for a backend that is not known, not installed, or does not fit."""
    if name not in BACKENDS:
        raise EvenspikeError(f"backend: must be one of {', '.join(BACKENDS)}, not {name!r}")
    if name == "threading" and jobs > 1:
        raise EvenspikeError(
            f"backend: threading takes one job, not {jobs}: runs in one process would draw their "
            "first weights from the same random numbers"
        )
    for package in filter(None, ("joblib", BACKENDS[name])):
        if importlib.util.find_spec(package) is None:
            raise EvenspikeError(f"backend: {name} needs the package {package}: {install(package)}")


def install(package: str) -> str:
    """The command that installs it."""
    return "pip install 'evenspike[train]'" if package == "joblib" else f"pip install {package}"


@contextmanager
def parallel(name: str, jobs: int) -> Iterator[Any]:
    """A `joblib.Parallel` that gives results as they come, where the backend can.

    Dask's scheduler is the one that its configuration names (DASK_SCHEDULER_ADDRESS), Ray's
    cluster the one of RAY_ADDRESS; without, each starts workers on this machine.
    """
    import joblib  # noqa: PLC0415 - of the extra, and only a sweep needs it

    if name == "dask":
        from distributed import Client  # noqa: PLC0415 - may not be installed

        with Client(), joblib.parallel_config(backend="dask"):
            yield joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
        return
    if name == "ray":
        from ray.util.joblib import register_ray  # noqa: PLC0415 - may not be installed

        register_ray()
    with joblib.parallel_config(backend=name):
        # Ray's backend, as multiprocessing's, has its results at the end.
        yield joblib.Parallel(
            n_jobs=jobs, return_as="list" if name == "ray" else "generator_unordered"
        )
