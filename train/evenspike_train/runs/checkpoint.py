"""Checkpoint files: a hash inside, and read with suspicion.

A checkpoint is what `torch.save` writes, a ZIP archive, with the SHA-256 of all before it as the
archive's comment: `torch.load` reads it, too.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evenspike_core import files
from evenspike_core.errors import EvenspikeError

Fields = Mapping[str, type | tuple[type, ...]]

_SEAL_BYTES = 2 + 7 + 64
"""The comment's length, which ends an archive without one, `sha256:` and the digits."""


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file by what torch saves of the content, under its hash.

    Raises EvenspikeError where it cannot be written; the old file stays.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    seal = _seal(buffer.getbuffer()[:-2])  # but for the comment's length, 0
    buffer.seek(-2, io.SEEK_END)
    buffer.write(seal)
    files.write(path, buffer.getvalue())


def _seal(archive: memoryview) -> bytes:
    comment = b"sha256:" + hashlib.sha256(archive).hexdigest().encode()
    return len(comment).to_bytes(2, "little") + comment


def _checked(path: Path) -> bytes:
    """The file's bytes; raises EvenspikeError unless they have the hash that is among them."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EvenspikeError(f"{path}: not a readable checkpoint: {error.strerror}") from error
    if content[-_SEAL_BYTES:] == _seal(memoryview(content)[:-_SEAL_BYTES]):
        return content
    reason = "its content does not match its SHA-256"
    if b"sha256:" not in content[-_SEAL_BYTES:]:
        reason = "it is truncated"
        if zipfile.is_zipfile(io.BytesIO(content)):
            reason = "it has no SHA-256: it is damaged, or of an earlier version"
    raise EvenspikeError(f"{path}: not a readable checkpoint: {reason}")


def read(path: Path, fields: Fields, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Content of a checkpoint that holds these fields, each of its type; numbers are finite.

    Raises EvenspikeError, naming file and field.
    """
    archive = io.BytesIO(_checked(path))
    try:
        content = torch.load(archive, map_location=device, weights_only=True)
    except Exception as error:  # what is no checkpoint under a right hash can raise anything
        reason = first_line(error)
        raise EvenspikeError(f"{path}: not a readable checkpoint: {reason}") from error
    if not isinstance(content, dict):
        raise EvenspikeError(f"{path}: holds a {type(content).__name__}, not a dict")
    check_fields(str(path), content, fields)
    return content


def check_fields(where: str, content: Mapping[str, Any], fields: Fields) -> None:
    """Raise EvenspikeError for a field that is missing, of another type, or not a finite number."""
    for name, wanted in fields.items():
        if name not in content:
            raise EvenspikeError(f"{where}: holds no {name!r}")
        value = content[name]
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise EvenspikeError(f"{where}: {name} is of type {type(value).__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            raise EvenspikeError(f"{where}: {name} is {value}")


def check_tensors(
    where: str, given: Any, expected: Mapping[str, Tensor], network: str = ""
) -> None:
    """Raise EvenspikeError unless these are the expected tensors by name, shape and kind.

    network : what is expected, in words, for the message that the tensors are another network's.
    """
    hint = f"; this is no checkpoint of a {network}" if network else ""
    if not isinstance(given, Mapping):
        raise EvenspikeError(f"{where}: is of type {type(given).__name__}")
    for key in expected:
        if key not in given:
            raise EvenspikeError(f"{where}: {key} is missing{hint}")
    for key, tensor in given.items():
        if key not in expected:
            raise EvenspikeError(f"{where}: {key} is unknown{hint}")
        like = expected[key]
        if not isinstance(tensor, Tensor) or tensor.is_complex():
            raise EvenspikeError(f"{where}: {key} is not a tensor of real numbers")
        if tensor.shape != like.shape:
            shapes = f"{tuple(tensor.shape)}, the network {tuple(like.shape)}"
            raise EvenspikeError(f"{where}: {key} has shape {shapes}{hint}")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise EvenspikeError(f"{where}: {key} holds values that are not finite")


def first_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
