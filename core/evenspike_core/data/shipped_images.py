"""The hundred Fashion-MNIST test images that come with the package.

`python -m evenspike_core.data` writes them anew from an installed test set.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.data.checks import checked_images, checked_labels
from evenspike_core.data.idx import PADDED_SIDE, SIDE, idx_bytes, pad_to_32, read_idx
from evenspike_core.data.loading import load
from evenspike_core.data.spec import Images, Labels

SHIPPED = Path(__file__).parents[1] / "images"
SHIPPED_PER_CLASS = 10


def shipped() -> tuple[Images, Labels]:
    """The shipped Fashion-MNIST test images: uint8 [100, 1, 32, 32] and labels int64 [100].

    The first ten of each class, in the order of the test set, as `shipped_indices` says.
    """
    pixels, labels, _ = (read_idx(path) for path in shipped_files())
    images = checked_images(SHIPPED, pixels, (SIDE, SIDE))
    return pad_to_32(images)[:, None], checked_labels(SHIPPED, labels, len(images), (0, 9))


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
        path.write_bytes(gzip.compress(idx_bytes(code, array), mtime=0))
