"""Images in a folder for each class: JPEG CIFAR-10, Tiny ImageNet, and what is laid out like them.

The classes are the names of the folders, in alphabetical order, and so are the images of a class:
`SPLIT/CLASS/**/*.jpg` (or .jpeg, .png, in any case).  Tiny ImageNet's own `val` has all its images
in one folder and a table, `val_annotations.txt`, that names their classes; it is its test split,
since its authors keep the labels of `test`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from evenspike_core.data.cache import decoded
from evenspike_core.data.optional import needs
from evenspike_core.data.spec import Images, Raw
from evenspike_core.errors import EvenspikeError
from evenspike_core.progress import Progress, silent

SUFFIXES = {".jpg", ".jpeg", ".png"}
TABLE = "val_annotations.txt"
TABLE_BYTES_MAX = 1 << 24


@dataclass(frozen=True)
class ImageFolder:
    """Class folders of RGB images of `side` x `side` pixels, in `folder` or directly in the place.

    Parameters
    ----------
    title : of the data set.
    splits : the folder of each split; `train` says what the classes are.
    classes : how many class folders there must be.
    class_names : their names, where they are known.
    """

    title: str
    folder: str
    splits: Mapping[str, str]
    classes: int
    side: int
    class_names: tuple[str, ...] = ()

    def describe(self, split: str) -> str:
        return f"{self.folder}/{self.splits[split]} with {self.classes} folders of images"

    def read(self, place: Path, split: str, progress: Progress = silent) -> Raw | None:
        """Images uint8 [N, 3, side, side], mapped from the cache, and labels."""
        for root in (place / self.folder, place):
            there = root / self.splits[split]
            names = _folders(there)
            if (there / TABLE).is_file():
                return self._decoded(split, _by_table(there, self._classes(root)), progress)
            if names and (not self.class_names or set(names) & set(self.class_names)):
                return self._decoded(split, _by_folder(there, self._classes(root)), progress)
        return None

    def _classes(self, root: Path) -> Sequence[str]:
        """Names of the classes; where they are not known, the folders of the train split."""
        if self.class_names:
            return self.class_names
        folder = root / self.splits["train"]
        names = _folders(folder)
        if len(names) != self.classes:
            raise EvenspikeError(
                f"{folder}: has {len(names)} folders, but {self.title} has {self.classes} classes"
            )
        return names

    def _decoded(self, split: str, found: tuple[list[Path], list[int]], progress: Progress) -> Raw:
        files, labels = found
        shape = (3, self.side, self.side)
        decode = partial(_decode, self.side)
        title = f"{self.title}-{split}"
        images = decoded(title, "RGB planes, 1", files, shape, decode, progress)
        return images, np.array(labels)


def _folders(folder: Path) -> list[str]:
    """Names of the folders in it, in order; none where it is not there."""
    return sorted(one.name for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []


def _by_folder(folder: Path, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """Images and labels, class by class."""
    files, labels = [], []
    for label, name in enumerate(classes):
        found = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise EvenspikeError(f"{folder / name}: holds no image ({', '.join(sorted(SUFFIXES))})")
        files += found
        labels += [label] * len(found)
    return files, labels


def _by_table(folder: Path, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """Images and labels in the order of the table: file, class and more, with tabs between."""
    path = folder / TABLE
    if path.stat().st_size > TABLE_BYTES_MAX:
        raise EvenspikeError(f"{path}: is larger than the {TABLE_BYTES_MAX} bytes that are read")
    label_of = {name: label for label, name in enumerate(classes)}
    files, labels = [], []
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        name, _, rest = line.partition("\t")
        label = label_of.get(rest.split("\t")[0])
        file = folder / "images" / name
        if label is None:
            raise EvenspikeError(f"{path}: line {number} names no class of the train split")
        if not file.is_file():
            raise EvenspikeError(f"{path}: line {number}: {file.name} is missing in images")
        files.append(file)
        labels.append(label)
    if not files:
        raise EvenspikeError(f"{path}: names no image")
    return files, labels


def _decode(side: int, file: Path) -> Images:
    """RGB planes of one image, uint8 [3, side, side]; grey images get three equal ones."""
    with needs("data", f"{file}: decoding an image"):
        from PIL import Image  # noqa: PLC0415 - an extra
    try:
        with Image.open(file) as image:
            size = image.size
            pixels = np.asarray(image.convert("RGB")) if size == (side, side) else None
    except Exception as error:  # a damaged image fails in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EvenspikeError(f"{file}: not a readable image: {reason}") from error
    if pixels is None:
        raise EvenspikeError(f"{file}: has {size[0]}x{size[1]} pixels, not {side}x{side}")
    return pixels.transpose(2, 0, 1)
