"""CIFAR-10 and CIFAR-100, in both versions of their authors: binary, and pickled by Python 2.

Format of both: https://www.cs.toronto.edu/~kriz/cifar.html.  An image is 3072 bytes: the red, the
green and the blue plane, 32 rows of 32 each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evenspike_core.data.checks import checked_images, checked_labels
from evenspike_core.data.pickled import pickled_bytes, pickled_integers, read_pickle
from evenspike_core.data.spec import Raw
from evenspike_core.errors import EvenspikeError
from evenspike_core.progress import Progress, silent

SHAPE = (3, 32, 32)

PIXELS = 3 * 32 * 32
BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
FILE_BYTES_MAX = 1 << 28
"""The largest file that is read; the largest of the family, CIFAR-100's train, has 154 MB."""


@dataclass(frozen=True)
class CifarFiles:
    """The files of each split, in `folder` or beside each other.

    Several files of one split must hold equally many images, as they do at the authors': a file
    that was cut off between two images shows in nothing else.  The labels of CIFAR-100 are the
    fine ones.
    """

    folder: str
    files: Mapping[str, tuple[str, ...]]
    classes: int
    pickled: bool = False

    def describe(self, split: str) -> str:
        names = self.files[split]
        text = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        return f"{text} in {self.folder}"

    def read(self, place: Path, split: str, progress: Progress = silent) -> Raw | None:
        paths = self._locate(place, split)
        if paths is None:
            return None
        parts = [self._pickled(path) if self.pickled else self._binary(path) for path in paths]
        counts = [len(images) for images, _ in parts]
        for path, count in zip(paths, counts, strict=True):
            if count != counts[0]:
                raise EvenspikeError(
                    f"{path}: holds {count} images and {paths[0].name} {counts[0]}: all files of "
                    "a split hold equally many"
                )
        return np.concatenate([images for images, _ in parts]), np.concatenate(
            [labels for _, labels in parts]
        )

    def _locate(self, place: Path, split: str) -> list[Path] | None:
        """All files of the split; raises EvenspikeError where only some are there."""
        for root in (place / self.folder, place):
            paths = [root / name for name in self.files[split]]
            missing = [path.name for path in paths if not path.is_file()]
            if not missing:
                return paths
            if len(missing) < len(paths):
                raise EvenspikeError(f"{root}: {', '.join(missing)} is missing")
        return None

    def _binary(self, path: Path) -> Raw:
        """Records of one label byte (CIFAR-100: two, coarse and fine) and the image."""
        label_bytes = 2 if self.classes == 100 else 1
        size = label_bytes + PIXELS
        content = _content(path)
        if not content or len(content) % size:
            raise EvenspikeError(
                f"{path}: truncated, or not CIFAR-{self.classes}: {len(content)} bytes are no "
                f"whole number of records of {size}"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, size)
        images = records[:, label_bytes:].reshape(-1, *SHAPE)
        return images, self._labels(path, records[:, label_bytes - 1], len(images))

    def _pickled(self, path: Path) -> Raw:
        """A dictionary with `data`, uint8 [N, 3072], and a list of labels."""
        key = "fine_labels" if self.classes == 100 else "labels"
        batch = read_pickle(path, _content(path), ("data", key))
        data = checked_images(path, pickled_bytes(path, "data", batch["data"]), (PIXELS,), "data")
        labels = pickled_integers(path, key, batch[key])
        return data.reshape(-1, *SHAPE), self._labels(path, labels, len(data), key)

    def _labels(
        self, path: Path, labels: np.ndarray, count: int, field: str = "labels"
    ) -> np.ndarray:
        return checked_labels(path, labels, count, (0, self.classes - 1), field)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise EvenspikeError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise EvenspikeError(f"{path}: is larger than the {FILE_BYTES_MAX} bytes that are read")
    return content
