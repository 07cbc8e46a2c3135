"""The pickles of CIFAR, read without running what they ask for.

A pickle may name any function of any module to be called.  Those of CIFAR, written by Python 2,
name three of numpy's: they make an array from its bytes.  These three are answered by stand-ins
that only remember their arguments; every other name is an error.  numpy's own functions are not
called either, since they trust a pickle's types and sizes.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError

_Unpickler = pickle._Unpickler  # noqa: SLF001 - the one in C makes room for any memo index it meets


class _DType:
    """In place of numpy.dtype: the name of the type."""

    def __init__(self, name: object = None, *_: object) -> None:
        self.name = name

    def __setstate__(self, _: object) -> None:
        """Byte order and alignment, which a byte has not."""


class _Array:
    """In place of numpy.ndarray: (version, shape, dtype, column-major, bytes)."""

    state: object = None

    def __init__(self, *_: object) -> None:
        """The type and an empty shape, which the state replaces."""

    def __setstate__(self, state: object) -> None:
        self.state = state


_STAND_INS: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
}


class _Restricted(_Unpickler):
    def find_class(self, module: str, name: str) -> type:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not run") from None


def read_pickle(path: Path, content: bytes, keys: tuple[str, ...]) -> dict[str, Any]:
    """The values of `keys` in a pickled dictionary; its text may be of either Python.

    Raises EvenspikeError, naming `path`, if it is no pickle of such a dictionary, is truncated, or
    asks for a function other than those that make an array.
    """
    try:
        loaded = _Restricted(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle fails in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EvenspikeError(f"{path}: not a readable pickle: {reason}") from error
    if not isinstance(loaded, dict):
        raise EvenspikeError(f"{path}: holds a {type(loaded).__name__}, not a dictionary")
    found = {_text(key): value for key, value in loaded.items()}
    for key in keys:
        if key not in found:
            raise EvenspikeError(f"{path}: holds no {key!r}")
    return {key: found[key] for key in keys}


def pickled_bytes(path: Path, field: str, value: object) -> npt.NDArray[np.uint8]:
    """The array that a stand-in remembers, uint8 of any shape.

    Raises EvenspikeError, naming `path` and `field`, if it is no array of bytes, or has others
    than its shape says.
    """
    state = value.state if isinstance(value, _Array) else None
    if not isinstance(state, tuple) or len(state) != 5:
        raise EvenspikeError(f"{path}: {field} is no array of numpy")
    _, shape, dtype, by_columns, raw = state
    name = _text(dtype.name) if isinstance(dtype, _DType) else None
    if name not in ("u1", "|u1", "uint8"):
        known = f"of type {name[:20]!r}" if isinstance(name, str) else "of no known type"
        raise EvenspikeError(f"{path}: {field} is {known}, not u1 (uint8)")
    sizes = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
    if not sizes or not isinstance(raw, bytes) or math.prod(shape) != len(raw):
        raise EvenspikeError(f"{path}: {field} has another number of bytes than its shape says")
    order: Any = "F" if by_columns else "C"
    return np.frombuffer(raw, np.uint8).reshape(shape, order=order)


def pickled_integers(path: Path, field: str, value: object) -> npt.NDArray[np.int64]:
    """A list of whole numbers as int64 [N]; raises EvenspikeError, naming `path` and `field`."""
    if not isinstance(value, list):
        raise EvenspikeError(f"{path}: {field} is of type {type(value).__name__}, not a list")
    for index, one in enumerate(value):
        if type(one) is not int or not -(1 << 63) <= one < 1 << 63:
            raise EvenspikeError(f"{path}: {field}: image {index} has no whole number as its label")
    return np.array(value, dtype=np.int64)


def _text(value: object) -> object:
    """Python 2's text comes as bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else value
