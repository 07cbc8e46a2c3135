"""MNIST and Fashion-MNIST as exact integers, and the hundred images that are shipped.

Files are read where they lie, in the idx format of the data sets' authors; nothing is downloaded.
The networks take 32x32 pixels: images are framed with two zeros, not resized, so that the pixels
stay those of the data set.

`python -m evenspike.dataset` writes the shipped images anew from an installed test set.
"""

from __future__ import annotations

import gzip
import math
import struct
import sys
import zlib
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from evenspike.errors import EvenspikeError

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

CLASSES: dict[str, tuple[str, ...]] = {
    "mnist": ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
    "fmnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
"""Names of the classes of each data set, in the order of the labels."""

SPLITS = {"train": "train", "test": "t10k"}
"""How the files of a split begin."""

INSTALLED = {"fmnist": (Path("/usr/share/datasets/fashion-mnist"), "dataset-fashion-mnist")}
"""Where a system package puts a data set, and which (of Debian and its descendants)."""

SHIPPED = Path(__file__).parent / "images"
SHIPPED_PER_CLASS = 10

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


def load(name: str, folder: Path | None, split: str) -> tuple[Images, Labels]:
    """One split of a data set.

    Each file is looked up, plain or `.gz`, in `folder/name` and `folder`; without a folder, where
    the system's package puts it.  A folder that is given is the only place: what is installed
    never stands in for files that are missing there.

    Parameters
    ----------
    name: "mnist" or "fmnist".
    folder: where the user keeps the data, or None for the system's.
    split: "train" or "test".

    Returns
    -------
    images uint8 [N, 1, 32, 32] (`pad_to_32`) and labels int64 [N], 0 to 9.

    Raises EvenspikeError for another name or split, for files that are nowhere (saying where they
    may lie), and for files that do not hold images and labels of this kind.
    """
    if name not in CLASSES or split not in SPLITS:
        raise EvenspikeError(
            f"no split {split!r} of data set {name!r}; there are {', '.join(SPLITS)} of "
            f"{', '.join(CLASSES)}"
        )
    places = [folder / name, folder] if folder is not None else []
    if folder is None and name in INSTALLED:
        places = [INSTALLED[name][0]]
    stems = (f"{SPLITS[split]}-images-idx3-ubyte", f"{SPLITS[split]}-labels-idx1-ubyte")
    for place in places:
        files = [_existing(place / stem) for stem in stems]
        if all(files):
            images, labels = (read_idx(cast("Path", file)) for file in files)
            return _checked(str(place), images, labels)
    package = ""
    if name in INSTALLED:
        alone = "" if folder is None else " and give no folder"
        package = f", or install the package {INSTALLED[name][1]} (Debian){alone}"
    looked = ", ".join(str(place) for place in places) or "nowhere: no folder was given"
    raise EvenspikeError(
        f"data set {name}: {stems[0]} and {stems[1]} (or the same with .gz) not found; "
        f"put them into the data folder{package}; looked in {looked}"
    )


def pad_to_32(images: Images) -> Images:
    """[..., 28, 28] in a frame of two zeros: uint8 [..., 32, 32], each pixel as it was."""
    if images.shape[-2:] != (SIDE, SIDE):
        raise EvenspikeError(f"images are {images.shape}, not [..., {SIDE}, {SIDE}]")
    frame = (PADDED_SIDE - SIDE) // 2
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + [(frame, frame)] * 2)


def shipped() -> tuple[Images, Labels]:
    """The shipped Fashion-MNIST test images: uint8 [100, 1, 32, 32] and labels int64 [100].

    The first ten of each class, in the order of the test set, as `shipped_indices` says.
    """
    images, labels, _ = (read_idx(path) for path in shipped_files())
    return _checked(str(SHIPPED), images, labels)


def shipped_indices() -> Labels:
    """int64 [100]: where the shipped images are in the Fashion-MNIST test set."""
    return read_idx(shipped_files()[2]).astype(np.int64)


def shipped_files(folder: Path = SHIPPED) -> tuple[Path, Path, Path]:
    """The files of the shipped images, their labels and their indices."""
    kinds = ("images-idx3", "labels-idx1", "indices-idx1")
    first, second, third = (folder / f"fmnist-test-100-{kind}.gz" for kind in kinds)
    return first, second, third


def first_of_each_class(labels: Labels, count: int) -> Labels:
    """Indices of the first `count` of each class, in increasing order, int64."""
    found = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(found)).astype(np.int64)


def write_shipped(folder: Path = SHIPPED, data: Path | None = None) -> None:
    """Make the shipped files from the Fashion-MNIST test set; the same bytes each time."""
    images, labels = load("fmnist", data, "test")
    chosen = first_of_each_class(labels, SHIPPED_PER_CLASS)
    frame = (PADDED_SIDE - SIDE) // 2
    inner = images[chosen, 0, frame:-frame, frame:-frame]
    arrays: list[tuple[int, npt.NDArray[Any]]] = [
        (0x08, inner),
        (0x08, labels[chosen]),
        (0x0C, chosen),
    ]
    for path, (code, array) in zip(shipped_files(folder), arrays, strict=True):
        path.write_bytes(gzip.compress(_idx_bytes(code, array), mtime=0))


def _idx_bytes(code: int, array: npt.NDArray[Any]) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(IDX_TYPES[code]).tobytes()


def _existing(stem: Path) -> Path | None:
    for path in (stem, stem.with_name(f"{stem.name}.gz")):
        if path.is_file():
            return path
    return None


def _checked(
    where: str, images: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> tuple[Images, Labels]:
    """Images and labels of ten classes that belong together, as `load` returns them."""
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise EvenspikeError(
            f"{where}: images are {images.dtype} {images.shape}, not uint8 [N, {SIDE}, {SIDE}]"
        )
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise EvenspikeError(
            f"{where}: labels are {labels.dtype} {labels.shape} for {images.shape[0]} images"
        )
    if labels.size and labels.max() > 9:
        raise EvenspikeError(f"{where}: label {labels.max()}, 0 to 9 are possible")
    return pad_to_32(images)[:, None], labels.astype(np.int64)


if __name__ == "__main__":
    try:
        write_shipped()
    except EvenspikeError as error:
        sys.exit(f"error: {error}")
