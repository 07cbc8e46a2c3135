"""The pickles of CIFAR, read without running what they ask for.

A pickle may name any function of any module to be called.  Those of CIFAR, written by Python 2,
name three of numpy's, which make an array from its bytes; written again by Python 3 they name a
fourth (protocol 5), or the one that makes bytes of a text (protocols 0 to 2).  These are answered
by stand-ins that only remember their arguments; every other name is an error.  numpy's own
functions are not called either, since they trust a pickle's types and sizes.

A few bytes may also ask for endless work: a tuple that holds the one before twice, forty times
over, takes years to hash.  So a key is a text or a number, there are no sets, and the opcodes are
counted.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
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


def _from_buffer(raw: object, dtype: object, shape: object, order: object) -> _Array:
    """In place of numpy's function of protocol 5."""
    made = _Array()
    content = bytes(raw) if isinstance(raw, bytes | bytearray) else None
    made.state = (1, shape, dtype, order == "F", content)
    return made


def _encoded(text: object, encoding: object) -> bytes:
    """In place of _codecs.encode, for the bytes that Python 3 writes as a text of Latin-1."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it encodes a text, which is not done")
    return text.encode("latin-1")


_STAND_INS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encoded,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
}


OPCODES_MAX = 2_000_000
"""CIFAR-100's train has a fifth of it at most; so many take two seconds."""

DIMENSIONS_MAX, SIZE_MAX = 8, 1 << 32

_KEYED = {pickle.DICT[0]: 0, pickle.SETITEMS[0]: 0, pickle.SETITEM[0]: -2}
"""Opcodes that hash every second value on the stack, and where the first of these lies."""

_REFUSED = {pickle.EMPTY_SET[0], pickle.ADDITEMS[0], pickle.FROZENSET[0]}


class _Dispatch(dict[int, Any]):
    """What each opcode does, until there are too many of them, or one would hash what may hang."""

    def __init__(self, unpickler: Any) -> None:
        super().__init__(_Unpickler.dispatch)
        # Python's own makes room for any size that is stated.
        self[pickle.BYTEARRAY8[0]] = _Unpickler.dispatch[pickle.BINBYTES8[0]]
        self.unpickler, self.left = unpickler, OPCODES_MAX

    def __getitem__(self, opcode: int) -> Any:
        self.left -= 1
        if not self.left:
            raise pickle.UnpicklingError(f"it has more than {OPCODES_MAX} opcodes")
        if opcode in _KEYED:
            for key in self.unpickler.stack[_KEYED[opcode] :: 2]:
                if type(key) not in (str, bytes, int):
                    raise pickle.UnpicklingError(f"a {type(key).__name__} is no key")
        if opcode in _REFUSED:
            raise pickle.UnpicklingError("it holds a set")
        return super().__getitem__(opcode)


class _Restricted(_Unpickler):
    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self.dispatch = _Dispatch(self)  # type: ignore[misc]  # one of its own, not the class's

    def find_class(self, module: str, name: str) -> Any:
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
        loaded = _Restricted(content).load()
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
    sizes = isinstance(shape, tuple) and len(shape) <= DIMENSIONS_MAX
    sizes = sizes and all(type(size) is int and 0 <= size <= SIZE_MAX for size in shape)
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
