"""CIFAR's files as its authors write them, of any size: for tests."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))


def text(value: str) -> bytes:
    """A string of Python 2: SHORT_BINSTRING."""
    return b"U" + bytes([len(value)]) + value.encode()


def pickled(
    data: npt.NDArray[Any], labels: Sequence[int], key: str = "labels", dtype: str = "u1"
) -> bytes:
    """The pickle that Python 2 and numpy write for `{"data": data, key: labels}`, protocol 2."""
    raw = data.tobytes()
    shape = b"(" + b"".join(b"M" + struct.pack("<H", size) for size in data.shape) + b"t"
    kind = b"cnumpy\ndtype\n" + text(dtype) + b"K\0K\1\x87R(K\3" + text("|") + b"NNN"
    kind += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text("b")
    array += b"\x87R(K\1" + shape + kind + b"\x89T" + struct.pack("<I", len(raw)) + raw + b"tb"
    values = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text("data") + array + text(key) + values + b"u."


def binary(images: npt.NDArray[Any], labels: Sequence[int], coarse: bool = False) -> bytes:
    """Records of the binary version; with `coarse`, CIFAR-100's, whose first label is any."""
    start = b"\x07" if coarse else b""
    return b"".join(
        start + bytes([label]) + image.tobytes()
        for image, label in zip(images.astype(np.uint8), labels, strict=True)
    )


def write_cifar10(folder: Path, each: int = 8, test: int = 10) -> Path:
    """CIFAR-10 of noise in the binary version: five train files of `each` images, and a test."""
    rng = np.random.default_rng(0)
    place = folder / "cifar-10-batches-bin"
    place.mkdir(parents=True, exist_ok=True)
    for name, count in (*((name, each) for name in TRAIN), ("test_batch", test)):
        images = rng.integers(0, 256, (count, 3, 32, 32))
        (place / f"{name}.bin").write_bytes(binary(images, [i % 10 for i in range(count)]))
    return folder
