"""Decoded examples on disk: what takes minutes to decode is decoded once, then mapped.

They lie in the user's cache folder (`$XDG_CACHE_HOME` or `~/.cache`, there `evenspike/data`), not
beside the data, which may be read-only.  A file's name has a digest of everything its content
depends on; it appears whole or not at all.  Any of them may be deleted.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from evenspike_core.data.spec import Images
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import UnwritableError, check_folder, replacing
from evenspike_core.progress import Progress, silent

Decode = Callable[[Path], Images]


def folder() -> Path:
    """Where decoded examples are kept, and what was downloaded without a folder being given."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "evenspike" / "data"


def digest(recipe: str, files: Sequence[Path]) -> str:
    """A digest of `recipe` (how files are decoded) and each file's path, size, time of change."""
    sha = hashlib.sha256(recipe.encode())
    for file in files:
        try:
            about = file.stat()
        except OSError as error:
            raise EvenspikeError(f"{file}: cannot be read: {error.strerror}") from error
        sha.update(f"\n{file.resolve()} {about.st_size} {about.st_mtime_ns}".encode())
    return sha.hexdigest()[:24]


def decoded(
    title: str,
    recipe: str,
    files: Sequence[Path],
    shape: tuple[int, ...],
    decode: Decode,
    progress: Progress = silent,
) -> Images:
    """`decode` of each file, uint8 [N, *shape], mapped read-only from the cache.

    Parameters
    ----------
    title : of the files, in the name of the cache's file and in what `progress` is told.
    recipe : everything but the files that the result depends on; another one is decoded anew.
    decode : of one file, uint8 of `shape`; its EvenspikeError ends the whole, and leaves no trace.

    Raises EvenspikeError, too, where the cache cannot be written.
    """
    try:
        path = folder() / f"{title}-{digest(f'{recipe} {shape}', files)}.npy"
        kept = _kept(path, (len(files), *shape))
        if kept is None:
            check_folder(path.parent)
            _write(path, title, files, shape, decode, progress)
            kept = np.load(path, mmap_mode="r")
    except UnwritableError as error:
        raise EvenspikeError(
            f"{error}; {title} is kept there, XDG_CACHE_HOME names another folder"
        ) from error
    return kept


def _kept(path: Path, shape: tuple[int, ...]) -> Images | None:
    """The array of a file that is there and whole."""
    if not path.is_file():
        return None
    try:
        found = np.load(path, mmap_mode="r")
    except Exception:  # noqa: BLE001 - a damaged file fails in any way, and is made anew
        return None
    return found if found.dtype == np.uint8 and found.shape == shape else None


def _write(
    path: Path,
    title: str,
    files: Sequence[Path],
    shape: tuple[int, ...],
    decode: Decode,
    progress: Progress,
) -> None:
    """Written and not mapped: on a full disk, a write to a mapped page ends the process."""
    with replacing(path) as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), *shape)}
        np.lib.format.write_array_header_1_0(stream, header)
        for index, file in enumerate(files):
            progress(f"decoding {title}", index, len(files))
            stream.write(decode(file).tobytes())
