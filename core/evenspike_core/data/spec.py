"""What a data set is: its name, its classes, the shape of an example, and who reads its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from evenspike_core.progress import Progress, silent

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Raw = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Images and labels as a file holds them, not yet checked against the data set."""

SPLITS = ("train", "test")


class Layout(Protocol):
    """One way in which the files of a data set lie in a folder."""

    def describe(self, split: str) -> str:
        """The files of a split, for the message that they are missing."""
        ...

    def read(self, place: Path, split: str, progress: Progress = silent) -> Raw | None:
        """Images and labels of a split, or None where this layout's files are not in `place`.

        Raises EvenspikeError, naming the file, for files that are there and cannot be used.
        """
        ...


@dataclass(frozen=True)
class Package:
    """A package of the operating system that brings a data set, and where it puts it."""

    name: str
    folder: Path


@dataclass(frozen=True)
class Download:
    """A file at the address of a data set's authors, with the MD5 that they or its users state.

    An archive (`.tar.gz`) is unpacked; any other file is kept as it is.
    """

    url: str
    md5: str

    @property
    def file(self) -> str:
        return self.url.rsplit("/", 1)[1]

    @property
    def packed(self) -> bool:
        """Return whether the file is an archive."""
        return self.file.endswith(".tar.gz")


@dataclass(frozen=True)
class DataSet:
    """A data set by name.

    Parameters
    ----------
    name : in recipes and Programs.  Data that are not what the name promises (other pixels, other
        images) have a name of their own, since accuracies on them are not comparable.
    classes : how many; labels are 0 to classes - 1.
    shape : of one example as `load` returns it: [C, H, W], or [T, C, H, W] for event data that
        were integrated into T frames.
    layouts : how its files may lie in a folder, tried in this order.
    class_names : in the order of the labels; empty where only the files say them.
    folders : in which common libraries put its files, below the folder that they are given.
    package : of the operating system, if there is one.
    downloads : files of each split at the authors' address; none where address or checksum is
        not certain.
    """

    name: str
    classes: int
    shape: tuple[int, ...]
    layouts: tuple[Layout, ...]
    class_names: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    package: Package | None = None
    downloads: Mapping[str, tuple[Download, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(f"{self.name}: {len(self.class_names)} names, {self.classes} classes")

    @property
    def channels(self) -> int:
        return self.shape[-3]

    @property
    def side(self) -> int:
        """Height and width in pixels."""
        return self.shape[-1]

    @property
    def frames(self) -> int:
        """T of event data; 0 for still images, which every timestep sees alike."""
        return self.shape[0] if len(self.shape) == 4 else 0
