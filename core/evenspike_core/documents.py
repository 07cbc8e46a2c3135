"""JSON and TOML, read with suspicion: whatever is wrong with a file is one line that names it."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from evenspike_core.errors import EvenspikeError

NESTING_MAX = 64
"""Levels of objects and lists: far more than any file of ours has, and safe to recurse into."""

_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}

Kind = TypeVar("Kind")


def read_text(path: Path) -> str:
    """A text file in UTF-8; its lines end in a line feed, however they end in the file.

    Raises EvenspikeError, naming the file, if it cannot be read, is not UTF-8, or begins with a
    byte order mark.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise EvenspikeError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise EvenspikeError(f"{path}: is not UTF-8: {error.reason} at {error.start}") from error
    if text.startswith("\ufeff"):
        raise EvenspikeError(
            f"{path}: begins with a byte order mark; save it as UTF-8 without one (no BOM)"
        )
    return text


def read_json(path: Path, what: str, kind: type[Kind]) -> Kind:
    """What a JSON file holds: an object (`dict`) or a list, of finite numbers.

    what : the file is meant to be, for the message.

    Raises EvenspikeError, naming the file, as `read_text` and `parse_json` do.
    """
    text = read_text(path)
    try:
        return parse_json(text, kind)
    except ValueError as error:
        raise EvenspikeError(f"{path}: not a readable {what}: {error}") from error


def read_toml(path: Path, bytes_max: int | None = None) -> dict[str, Any]:
    """The table that a TOML file holds.

    bytes_max : of the file, where a stranger may have written it: reading a key with many dots
        takes as long as the square of their number.

    Raises EvenspikeError, naming the file, as `read_text` and `parse_toml` do, and for a larger
    file.
    """
    text = read_text(path)
    if bytes_max is not None and len(text.encode()) > bytes_max:
        raise EvenspikeError(f"{path}: more than {bytes_max} bytes")
    try:
        return parse_toml(text)
    except ValueError as error:
        raise EvenspikeError(f"{path}: {error}") from error


def parse_json(text: str, kind: type[Kind], *, finite: bool = True) -> Kind:
    """What a JSON text holds.

    finite : refuse NaN and infinity, which JSON does not have, and numbers too large for a float.

    Raises ValueError, in one line, for what is no JSON, holds something other than `kind`, is
    nested deeper than `NESTING_MAX`, or has half a surrogate pair in a text.
    """
    if not text.strip():
        raise ValueError("it is empty")
    hooks: dict[str, Any] = {"parse_constant": _refused, "parse_float": _finite} if finite else {}
    try:
        value = json.loads(text, **hooks)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_nesting(value)
    if r"\ud" in text.casefold():
        json.dumps(value, ensure_ascii=False).encode()
    if not isinstance(value, kind):
        raise ValueError(  # noqa: TRY004 (what is wrong is the text)
            f"it is {_NAMES[type(value)]}, not {_NAMES[kind]}"
        )
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The table that a TOML text holds.

    Raises ValueError, in one line, for what is no TOML, is nested too deeply, or has no key.
    """
    try:
        values = tomllib.loads(text)
        _check_nesting(values)
    except RecursionError:
        raise ValueError(f"not valid TOML: {_TOO_DEEP}") from None
    except ValueError as error:  # tomllib's own, and int()'s of 5000 digits
        raise ValueError(f"not valid TOML: {error}") from error
    if not values:
        raise ValueError("is empty: it has no table and no key")
    return values


_TOO_DEEP = f"it is nested deeper than {NESTING_MAX} levels"


def _check_nesting(value: Any) -> None:
    level: list[Any] = [[value]]
    for _ in range(NESTING_MAX + 1):
        level = [
            item
            for one in level
            for item in (one.values() if isinstance(one, dict) else one)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a finite number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _refused(text[:20])
    return value
