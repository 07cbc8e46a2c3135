"""Where many tasks are computed: joblib's backends, made ready by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
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


def check(name: str) -> None:
    """Raise EvenspikeError for a backend that is not known or not installed."""
    if name not in BACKENDS:
        raise EvenspikeError(f"backend: must be one of {', '.join(BACKENDS)}, not {name!r}")
    package = BACKENDS[name]
    if package and importlib.util.find_spec(package) is None:
        raise EvenspikeError(f"backend: {name} needs the package {package}: pip install {package}")


@contextmanager
def parallel(name: str, jobs: int, *, ordered: bool = False) -> Iterator[Any]:
    """A `joblib.Parallel` that gives results as they come, or in the order of the tasks.

    Dask's scheduler is the one that its configuration names (DASK_SCHEDULER_ADDRESS), Ray's
    cluster the one of RAY_ADDRESS; without, each starts workers on this machine.
    """
    import joblib  # noqa: PLC0415 - 0.2 s that a run on one machine's threads need not pay

    way = "generator" if ordered else "generator_unordered"
    if name == "dask":
        from distributed import Client  # noqa: PLC0415 - may not be installed

        with Client(), joblib.parallel_config(backend="dask"):
            yield joblib.Parallel(n_jobs=jobs, return_as=way)
        return
    if name == "ray":
        from ray.util.joblib import register_ray  # noqa: PLC0415 - may not be installed

        register_ray()
    with joblib.parallel_config(backend=name):
        # Ray's backend, as multiprocessing's, has its results at the end.
        yield joblib.Parallel(n_jobs=jobs, return_as="list" if name == "ray" else way)


def ordered(
    name: str, jobs: int, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]
) -> Iterator[Any]:
    """function(*task) of every task, in the tasks' order; few are waiting at a time."""
    import joblib  # noqa: PLC0415 - see `parallel`

    with parallel(name, jobs, ordered=True) as run:
        # A backend that gives a list at its end is asked for one part after the other.
        size = 4 * jobs if name == "ray" else len(tasks)
        for first in range(0, len(tasks), max(1, size)):
            yield from run(joblib.delayed(function)(*t) for t in tasks[first : first + size])
