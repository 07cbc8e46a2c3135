"""Images: labelled test images as exact integers, the shipped ones or a data set's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core import data
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program
from evenspike_core.progress import Progress, silent
from evenspike_core.reference import input_shapes

Pixels = npt.NDArray[np.uint8]

SHIPPED = "fmnist"
"""The data set of the hundred images that come with the package."""

SHIPPED_ONLY = " without a folder of the whole data set (--data)"


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Pictures, and what is on them.

    pixels: uint8 [N, channels, height, width], or with frames [N, T, channels, height, width].
    labels: int64 [N], or None where nobody knows.
    indices: of each image in its data set's test images, or 0, 1, ... where it has none.
    dataset: name of the data set; empty for images of your own.
    """

    pixels: Pixels
    labels: npt.NDArray[np.int64] | None = None
    indices: Sequence[int] | npt.NDArray[np.int64] = ()
    dataset: str = ""

    def __post_init__(self) -> None:
        pixels = self.pixels
        if (
            not isinstance(pixels, np.ndarray)
            or pixels.dtype != np.uint8
            or pixels.ndim not in (4, 5)
        ):
            kind = type(pixels).__name__
            if isinstance(pixels, np.ndarray):
                kind = f"{pixels.dtype} {pixels.shape}"
            raise EvenspikeError(f"images: {kind}, not uint8 [N, C, H, W] or [N, T, C, H, W]")
        if self.labels is not None and self.labels.shape != (len(pixels),):
            raise EvenspikeError(f"images: {self.labels.shape} labels for {len(pixels)} images")
        indices = self.indices if len(self.indices) else range(len(pixels))
        object.__setattr__(self, "indices", tuple(int(i) for i in indices))
        if len(self.indices) != len(pixels):
            raise EvenspikeError(f"images: {len(self.indices)} indices for {len(pixels)} images")

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, which: slice) -> Images:
        """Some of them: `images[:2]`."""
        if not isinstance(which, slice):
            raise EvenspikeError(f"images: take a slice, images[{which}:{which} + 1], not one")
        labels = None if self.labels is None else self.labels[which]
        return Images(self.pixels[which], labels, self.indices[which], self.dataset)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.pixels.shape[1:]))
        return f"<{len(self)} images of {shape}{' of ' * bool(self.dataset)}{self.dataset}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty where the data set is not known."""
        known = data.DATA_SETS.get(self.dataset)
        return () if known is None else tuple(known.class_names)


def images(
    count: int | None = None,
    of: Program | str = SHIPPED,
    folder: Path | str | None = None,
    progress: Progress = silent,
) -> Images:
    """Test images of a data set, or a file's.

    Parameters
    ----------
    count : how many, from the front; None for all there are.
    of : name of the data set, or a Program, which names the one it was trained on.
    folder : with the data set's files, or a .npy file of inputs, bytes. Without one, Fashion-MNIST
        gives the shipped hundred (one of each class in turn), any other data set what the system or
        the cache has of it.
    progress : told of downloading and decoding.

    Raises EvenspikeError for a data set that is not there, for more images than there are, and for
    images of another shape than the Program takes. Of a data set with more frames than the Program
    has timesteps, the first ones are taken.
    """
    name = of if isinstance(of, str) else str(of.provenance.get("dataset", SHIPPED))
    if folder is not None and Path(folder).suffix == ".npy":
        found = Images(examples(Path(folder)))
    elif not name:
        raise EvenspikeError(
            f"{of.name if isinstance(of, Program) else of}: names no data set; give a .npy file of "
            "inputs (--data)"
        )
    elif folder is None and name == SHIPPED:
        found = _shipped()
    else:
        pixels, labels = data.load(name, None if folder is None else Path(folder), "test", progress)
        found = Images(pixels, labels, range(len(labels)), name)
    if count is not None and (type(count) is not int or not 1 <= count <= len(found)):
        more = SHIPPED_ONLY if folder is None and name == SHIPPED else ""
        raise EvenspikeError(f"images: {count}; 1 to {len(found)} are possible{more}")
    if isinstance(of, Program):
        if found.pixels.ndim == 5:
            frames = found.pixels[:, : of.timesteps]
            found = Images(frames, found.labels, found.indices, found.dataset)
        check_shape(of, found.pixels)
    return found if count is None else found[:count]


def examples(path: Path) -> npt.NDArray[Any]:
    """An array of numbers in a file of numpy's; raises EvenspikeError for one that holds none."""
    if not path.is_file():
        raise EvenspikeError(f"{path}: no such file of examples")
    try:
        found: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise EvenspikeError(f"{path}: no array of numpy: {error}") from error
    check_numbers(found, str(path))
    return found


def check_numbers(found: object, where: str) -> None:
    """Raise EvenspikeError for what is no array of real numbers."""
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        kind = found.dtype if isinstance(found, np.ndarray) else "several arrays"
        raise EvenspikeError(f"{where}: holds {kind}, not one array of numbers")


def _shipped() -> Images:
    """They lie in the order of the test set: taken one a class in turn, so that a few show all."""
    pixels, labels = data.shipped()
    turn = [np.count_nonzero(labels[:at] == label) for at, label in enumerate(labels)]
    order = np.lexsort((labels, turn))
    return Images(pixels[order], labels[order], data.shipped_indices()[order], SHIPPED)


def as_images(given: Images | Pixels, program: Program) -> Images:
    """Images that a flow was given, or of bare pixels: several, or one as the Program takes it.

    Raises EvenspikeError for no image, and for another type or shape than the Program takes.
    """
    if isinstance(given, np.ndarray) and given.shape in input_shapes(program):
        given = given[None]
    found = given if isinstance(given, Images) else Images(given)
    if not len(found):
        raise EvenspikeError("no images; at least one is needed")
    check_shape(program, found.pixels)
    return found


def check_shape(program: Program, pixels: Pixels) -> None:
    """Raise EvenspikeError for images that the Program does not take."""
    possible = input_shapes(program)
    if pixels.shape[1:] not in possible:
        raise EvenspikeError(
            f"{program.name}: takes pixels {' or '.join(map(str, possible))}, the images are "
            f"{pixels.shape[1:]}"
        )
