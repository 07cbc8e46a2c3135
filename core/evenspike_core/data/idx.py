"""The idx format of MNIST and Fashion-MNIST, plain or gzip.

The networks take 32x32 pixels: images are framed with two zeros, not resized, so that the pixels
stay those of the data set.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from evenspike_core.data.checks import checked_images
from evenspike_core.data.spec import Images, Raw
from evenspike_core.errors import EvenspikeError
from evenspike_core.progress import Progress, silent

SIDE, PADDED_SIDE = 28, 32
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IDX_DIMENSIONS_MAX = 8
IDX_BYTES_MAX = 1 << 30
"""The largest idx payload that is read; the largest known file of the family has half of it."""


def read_idx(path: Path) -> npt.NDArray[Any]:
    """The array of an idx file, plain or gzip, in its own type and shape (native byte order).

    Format: two zero bytes, the type, the number of dimensions, each dimension as a big-endian
    uint32, then exactly as many elements (http://yann.lecun.com/exdb/mnist).

    Raises EvenspikeError, naming the file, if it is missing, no idx file, shorter or longer than
    its dimensions say, empty, or beyond `IDX_DIMENSIONS_MAX` and `IDX_BYTES_MAX`.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = cast("IO[bytes]", gzip.GzipFile(fileobj=raw) if packed else raw)
            return _idx(path, file)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise EvenspikeError(f"{path}: cannot be read: {reason}") from error


def _idx(path: Path, file: IO[bytes]) -> npt.NDArray[Any]:
    magic = file.read(4)
    if len(magic) != 4 or magic[:2] != b"\0\0" or magic[2] not in IDX_TYPES or not magic[3]:
        raise EvenspikeError(f"{path}: begins with {magic.hex(' ')!r}, which is no idx file")
    count = magic[3]
    header = file.read(4 * count)
    if len(header) != 4 * count:
        raise EvenspikeError(f"{path}: ends within its {count} dimensions")
    shape = struct.unpack(f">{count}I", header)
    dtype = np.dtype(IDX_TYPES[magic[2]])
    size = math.prod(shape) * dtype.itemsize
    if count > IDX_DIMENSIONS_MAX or not 0 < size <= IDX_BYTES_MAX:
        raise EvenspikeError(
            f"{path}: dimensions {shape} of {dtype.itemsize} bytes; at most {IDX_DIMENSIONS_MAX} "
            f"dimensions and 1 to {IDX_BYTES_MAX} bytes are read"
        )
    content = file.read(size + 1)
    if len(content) < size:
        raise EvenspikeError(f"{path}: truncated: {len(content)} bytes of {size} for {shape}")
    if len(content) > size:
        raise EvenspikeError(f"{path}: goes on after the {size} bytes for {shape}")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def idx_bytes(code: int, array: npt.NDArray[Any]) -> bytes:
    """An idx file of this type; `read_idx` gives the array back."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(IDX_TYPES[code]).tobytes()


def pad_to_32(images: Images) -> Images:
    """[..., 28, 28] in a frame of two zeros: uint8 [..., 32, 32], each pixel as it was."""
    if images.shape[-2:] != (SIDE, SIDE):
        raise EvenspikeError(f"images are {images.shape}, not [..., {SIDE}, {SIDE}]")
    frame = (PADDED_SIDE - SIDE) // 2
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + [(frame, frame)] * 2)


FIRST_LABELS = {
    "mnist": {"train": [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], "test": [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]},
    "fmnist": {"train": [9, 0, 0, 3, 0, 2, 7, 2, 5, 5], "test": [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]},
}
"""The first labels of each split, as both data sets have files of the same names and sizes."""


@dataclass(frozen=True)
class IdxPair:
    """`train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same for `t10k`, or with .gz.

    title : of the data set; files that are plainly the other's are an error.
    """

    title: str

    def stems(self, split: str) -> tuple[str, str]:
        start = {"train": "train", "test": "t10k"}[split]
        return f"{start}-images-idx3-ubyte", f"{start}-labels-idx1-ubyte"

    def describe(self, split: str) -> str:
        images, labels = self.stems(split)
        return f"{images} and {labels} (or the same with .gz)"

    def read(self, place: Path, split: str, progress: Progress = silent) -> Raw | None:
        """Images uint8 [N, 1, 32, 32] and labels; None where one of the two files is missing."""
        files = [_existing(place / stem) for stem in self.stems(split)]
        if not all(files):
            return None
        images, labels = (read_idx(cast("Path", file)) for file in files)
        for other, first in FIRST_LABELS.items():
            if other != self.title and labels[:10].tolist() == first[split]:
                raise EvenspikeError(f"{place}: holds {other}, not {self.title}, by its labels")
        return pad_to_32(checked_images(place, images, (SIDE, SIDE)))[:, None], labels


def _existing(stem: Path) -> Path | None:
    for path in (stem, stem.with_name(f"{stem.name}.gz")):
        if path.is_file():
            return path
    return None
