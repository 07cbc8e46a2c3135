"""Lock: one process at a time trains in a run's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evenspike_core import files
from evenspike_core.errors import EvenspikeError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Have a run's folder for this process; raises EvenspikeError where another trains in it.

    The system lets go of it when the process ends, however it does.  Without locks (Windows, some
    file systems of networks) nothing is kept from anyone.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise EvenspikeError(f"{folder}: another process is training in it") from error
            files.clear(folder)
        yield
    finally:
        os.close(handle)
