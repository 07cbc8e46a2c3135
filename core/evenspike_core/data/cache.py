"""Decoded examples on disk: what takes minutes to decode is decoded once, then mapped.

They lie in the user's cache folder (`$XDG_CACHE_HOME` or `~/.cache`, there `evenspike/data`), not
beside the data, which may be read-only.  A file's name has a digest of everything its content
depends on; it appears whole or not at all.  Any of them may be deleted.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from evenspike_core.data.spec import Images
from evenspike_core.errors import EvenspikeError

Decode = Callable[[Path], Images]


def folder() -> Path:
    """Where decoded examples are kept, and what was downloaded without a folder being given."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "evenspike" / "data"


def digest(recipe: str, files: Sequence[Path]) -> str:
    """Of `recipe`, how the files are decoded, and of each file's path, size and time of change."""
    sha = hashlib.sha256(recipe.encode())
    for file in files:
        about = file.stat()
        sha.update(f"\n{file.resolve()} {about.st_size} {about.st_mtime_ns}".encode())
    return sha.hexdigest()[:24]


def decoded(
    title: str, recipe: str, files: Sequence[Path], shape: tuple[int, ...], decode: Decode
) -> Images:
    """`decode` of each file, uint8 [N, *shape], mapped read-only from the cache.

    Parameters
    ----------
    title : for the progress bar and the name of the cache's file.
    recipe : everything but the files that the result depends on; another one is decoded anew.
    decode : of one file, uint8 of `shape`; its EvenspikeError ends the whole, and leaves no trace.

    Raises EvenspikeError, too, where the cache cannot be written.
    """
    try:
        path = folder() / f"{title}-{digest(f'{recipe} {shape}', files)}.npy"
        kept = _kept(path, (len(files), *shape))
        if kept is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, title, files, shape, decode)
            kept = np.load(path, mmap_mode="r")
    except OSError as error:
        raise EvenspikeError(
            f"{error.filename or folder()}: cannot keep {title} there: {error.strerror}; "
            "XDG_CACHE_HOME names another folder"
        ) from error
    return kept


def _kept(path: Path, shape: tuple[int, ...]) -> Images | None:
    """The array of a file that is there and whole."""
    if not path.is_file():
        return None
    try:
        found = np.load(path, mmap_mode="r")
    except (ValueError, EOFError):
        return None
    return found if found.dtype == np.uint8 and found.shape == shape else None


def _write(
    path: Path, title: str, files: Sequence[Path], shape: tuple[int, ...], decode: Decode
) -> None:
    """Into a file of its own, which then takes the name: several processes may do it at a time."""
    console = Console(stderr=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
    os.close(handle)
    try:
        made = np.lib.format.open_memmap(name, "w+", np.uint8, (len(files), *shape))
        steps = track(files, f"decoding {title}", console=console, disable=not sys.stderr.isatty())
        for index, file in enumerate(steps):
            made[index] = decode(file)
        made.flush()
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
