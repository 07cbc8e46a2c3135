"""What all tests share: no windows, no network, no deadline while kernels compile.

In CI the examples are the same each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.error import URLError

import pytest
from hypothesis import settings

os.environ["MPLBACKEND"] = "Agg"

# The first example of a property may compile a numba kernel, so time says nothing about it.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session", autouse=True)
def without_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No data set is downloaded, and none is found in the user's cache folder or in Keras's."""

    def refuse(*_: object, **__: object) -> None:
        raise URLError("no network in tests")

    empty = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("evenspike_core.data.download.urlopen", refuse)
        patched.setattr("evenspike_core.data.cache.folder", lambda: empty)
        patched.setenv("KERAS_HOME", str(empty))
        yield
