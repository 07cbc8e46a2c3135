"""Checkpoint files, read with suspicion: whatever is wrong with one is a line that names it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evenspike_core.errors import EvenspikeError

Fields = Mapping[str, type | tuple[type, ...]]


def read(path: Path, fields: Fields, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Content of a checkpoint that holds these fields, each of its type; numbers are finite.

    Raises EvenspikeError, naming file and field.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
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
