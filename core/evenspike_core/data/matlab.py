"""Numeric arrays of MATLAB files, version 5 (`save` before `-v7.3`), plain or compressed.

Format: "MAT-File Format", The MathWorks: a header of 128 bytes, then elements of a type, a size
and their bytes, padded to 8; an array is an element of elements: flags, dimensions, name, numbers.

A reader of our own, since scipy's crashes the interpreter on some damaged files.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError

HEADER_BYTES = 128
BYTES_MAX = 1 << 30
"""The largest element that is read, unpacked."""

MATRIX, COMPRESSED = 14, 15
NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
"""How the numbers of an element lie in the file."""

CLASSES = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
"""What an array is to MATLAB, which may store it in a smaller type."""


@dataclass(frozen=True)
class _Element:
    kind: int
    content: memoryview


def read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of these names, in MATLAB's shape; other variables are passed over.

    Raises EvenspikeError, naming the file, if it is no such file, is truncated or damaged, lacks
    one of the names, or holds something other than real numbers under it.
    """
    try:
        content = memoryview(path.read_bytes())
        found = dict(_arrays(content, names))
    except (OSError, ValueError, struct.error, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise EvenspikeError(f"{path}: not a readable MATLAB file: {reason}") from error
    for name in names:
        if name not in found:
            raise EvenspikeError(f"{path}: holds no array {name!r}")
    return found


def _arrays(content: memoryview, names: tuple[str, ...]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    ends = {b"IM": "<", b"MI": ">"}
    mark = bytes(content[HEADER_BYTES - 2 : HEADER_BYTES])
    if mark not in ends:
        raise ValueError("its header is not that of version 5")
    order = ends[mark]
    if struct.unpack(f"{order}H", content[HEADER_BYTES - 4 : HEADER_BYTES - 2])[0] != 0x0100:
        raise ValueError("its header is not that of version 5")
    for element in _elements(content[HEADER_BYTES:], order, padded=False):
        whole = element
        if element.kind == COMPRESSED:
            (whole,) = _elements(_unpacked(element.content), order, padded=True)
        if whole.kind == MATRIX:
            name, array = _array(whole.content, order, names)
            if array is not None:
                yield name, array


def _elements(content: memoryview, order: str, padded: bool) -> Iterator[_Element]:
    """The elements that lie in `content`, one after the other.

    A tag has type and size; a small element has both in four bytes, its content in the next four.
    Elements begin at multiples of 8, but for those after a compressed one, which is not padded.
    """
    at = 0
    while at < len(content):
        first, size = struct.unpack_from(f"{order}2I", content, at)
        kind, begin, length = first, at + 8, 8
        if first >> 16:
            kind, size, begin, length = first & 0xFFFF, first >> 16, at + 4, 4
            if size > length:
                raise ValueError(f"a small element has {size} bytes")
        if begin + size > len(content):
            raise ValueError(f"truncated: an element of {size} bytes has {len(content) - begin}")
        yield _Element(kind, content[begin : begin + size])
        at = at + 8 if first >> 16 else begin + size
        if padded or kind != COMPRESSED:
            at = -(-at // 8) * 8


def _unpacked(content: memoryview) -> memoryview:
    packer = zlib.decompressobj()
    unpacked = packer.decompress(content, BYTES_MAX)
    if not packer.eof:
        raise ValueError(f"truncated within compressed data, or more than {BYTES_MAX} bytes")
    return memoryview(unpacked)


def _array(
    content: memoryview, order: str, names: tuple[str, ...]
) -> tuple[str, npt.NDArray[Any] | None]:
    """Name and array of a matrix; None where the name is not asked for."""
    parts = _elements(content, order, padded=True)
    flags, sizes, title = (next(parts, _Element(0, content[:0])) for _ in range(3))
    name = bytes(title.content).decode("latin-1")
    if name not in names:
        return name, None
    kind = struct.unpack_from(f"{order}I", flags.content)[0]
    numbers = next(parts, None)
    if kind & 0xFF not in CLASSES or kind & 0x800 or numbers is None or numbers.kind not in NUMBERS:
        raise ValueError(f"{name} is no array of real numbers")
    shape = struct.unpack(f"{order}{len(sizes.content) // 4}i", sizes.content)
    dtype = np.dtype(order + NUMBERS[numbers.kind])
    if min(shape, default=-1) < 0 or math.prod(shape) * dtype.itemsize != len(numbers.content):
        raise ValueError(f"{name} has {len(numbers.content)} bytes for {shape} of {dtype.name}")
    stored = np.frombuffer(numbers.content, dtype).reshape(shape, order="F")
    return name, stored.astype(CLASSES[kind & 0xFF], copy=False)
