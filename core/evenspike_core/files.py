"""Files that appear whole: each takes its name when all of it is on the disk, or the old one stays.

Everything that is written for a user or for a later run is written here.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from evenspike_core.errors import EvenspikeError

PART = ".part"
"""How the name of a file ends that is still being written; it begins with a dot."""


class UnwritableError(EvenspikeError):
    """A file or folder that cannot be written, with the system's reason."""


def check_folder(folder: Path) -> None:
    """Create the folder if there is none, and make sure that a file can be written to it.

    To be called before a long run too. Raises UnwritableError naming the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        raise _unwritable(folder, error) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the name `path` at the end of the block.

    Until then, and for good where the block or the disk fails, what lies there stays as it is, and
    nothing else is left. Several processes may write one path at a time: the last to end wins. The
    file's mode is that of any new file (0666 but for the umask).

    Raises UnwritableError, naming `path`, for an OSError of the system's or the block's.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        part = path.with_name(f".{path.name[:48]}.{secrets.token_hex(4)}{PART}")
        try:
            with part.open("x+b") as stream:
                yield cast("BinaryIO", stream)
                _sync(stream)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    _sync_folder(path.parent)


def write(path: Path, content: str | bytes) -> None:
    """Write one file as a whole; raises UnwritableError."""
    with replacing(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def write_files(contents: Mapping[str, str | bytes], folder: Path) -> list[Path]:
    """Write files under their names, all of them, or none where one cannot be written.

    Raises UnwritableError naming the file, or the folder, which is created.
    """
    check_folder(folder)
    with ExitStack() as stack:
        for name, content in contents.items():
            stream = stack.enter_context(replacing(folder / name))
            stream.write(content.encode() if isinstance(content, str) else content)
            _sync(stream)  # before the first takes its name
    return [folder / name for name in contents]


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write one JSON file, and its folder if there is none; raises UnwritableError."""
    write_files({path.name: dump(plain(content))}, path.parent)


def discard(path: Path) -> None:
    """Remove a file, if there is one; raises UnwritableError for what is no file."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def clear(folder: Path) -> None:
    """Drop what processes that were killed have left half-written.

    Only for a folder in which no other process writes.
    """
    for left in folder.glob(f".*{PART}"):
        left.unlink(missing_ok=True)


def plain(value: Any, where: str = "report") -> Any:
    """The same value in JSON's own types: numpy numbers and arrays become numbers and lists.

    Raises EvenspikeError naming the key of a value that JSON cannot hold (NaN included).
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise EvenspikeError(f"{where}: key {key!r} is not text")
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise EvenspikeError(f"{where} is {value}, not a finite number")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise EvenspikeError(f"{where} is a {type(value).__name__}, which JSON cannot hold")


def dump(value: Any) -> str:
    """The text of a JSON file: one key a line, lists of numbers or texts on one line."""
    return _dump(value) + "\n"


def _dump(value: Any, indent: str = "") -> str:
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{json.dumps(key)}: {_dump(item, inner)}" for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        lines = [_dump(item, inner) for item in value]
    else:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    left, right = ("{", "}") if isinstance(value, dict) else ("[", "]")
    return f"{left}\n{inner}" + f",\n{inner}".join(lines) + f"\n{indent}{right}"


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can say so: Windows opens none."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unwritable(path: Path, error: OSError) -> UnwritableError:
    return UnwritableError(f"{path}: cannot be written: {error.strerror or error}")
