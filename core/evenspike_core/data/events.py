"""Recordings of event cameras as frames: N-MNIST, N-Caltech101 and CIFAR10-DVS.

A recording is a list of events (t, x, y, polarity).  It becomes `FRAMES` frames of two channels
(polarity 0, polarity 1) and 48x48 pixels, uint8 [10, 2, 48, 48], as the papers use them (u-Ticket,
Sec. V): the events in the order of time are cut into ten parts of equal number, and a pixel of a
frame counts the events of its part and polarity that fell on it, 255 at most.  A larger sensor is
scaled down (x' = floor(48 x / width)); a smaller one is framed with zeros, not scaled, since that
would leave gaps.  The cut by number rather than by time is our reading: the papers do not say.

Frame t is what a network sees at timestep t: direct encoding with another input each timestep, so
the first convolution is computed for every frame, and T is the number of frames.

N-MNIST has a test set of its own.  The other two have none; there every tenth recording of a
class, in the order of the files' names and beginning with the first, is the test split, which is
the papers' 9:1.  The split is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.data.aedat4 import EVENT, Decoder
from evenspike_core.data.cache import decoded
from evenspike_core.data.spec import Images, Raw
from evenspike_core.errors import EvenspikeError
from evenspike_core.progress import Progress, silent

FRAMES, SIDE = 10, 48
SHAPE = (FRAMES, 2, SIDE, SIDE)
HELD_OUT = 10
"""One recording of so many is a test's, where the data set has no test split of its own."""

BIN_EVENT_BYTES = 5
BIN_OVERFLOW, BIN_OVERFLOW_MICROSECONDS = 240, 1 << 13
"""The y that no pixel has: the clock of the events from here on has run over once more."""


@dataclass(frozen=True)
class EventFolder:
    """Class folders of recordings, one file each.

    Parameters
    ----------
    title : of the data set.
    folder : where Tonic or the archive puts the class folders; the place itself is looked at, too,
        where the names of the classes are known.
    sensor : width and height of the camera, in pixels.
    suffix : of the files: `.bin` (N-MNIST, N-Caltech101) or `.aedat4` (CIFAR10-DVS).
    classes, class_names : as in `DataSet`; names that are not known are the folders', in order.
    splits : the folder of each split, if the data set has splits of its own.
    """

    title: str
    folder: str
    sensor: tuple[int, int]
    suffix: str
    classes: int
    class_names: tuple[str, ...] = ()
    splits: Mapping[str, str] = field(default_factory=dict)

    def describe(self, split: str) -> str:
        place = Path(self.folder, self.splits.get(split, ""))
        return f"{place} with {self.classes} folders of {self.suffix} files"

    def read(self, place: Path, split: str, progress: Progress = silent) -> Raw | None:
        """Frames uint8 [N, 10, 2, 48, 48], mapped from the cache, and labels."""
        for root in (place / self.folder, place) if self.class_names else (place / self.folder,):
            there = root / self.splits.get(split, "")
            names = self._classes(there)
            if names:
                files, labels = self._recordings(there, names, split)
                title = f"{self.title}-{split}"
                recipe = f"equal number of events, 1: {self.sensor}"
                with Decoder() as decoder:
                    decode = partial(_frames, self.sensor, decoder)
                    frames = decoded(title, recipe, files, SHAPE, decode, progress)
                return frames, np.array(labels)
        return None

    def _classes(self, folder: Path) -> list[str]:
        """Names of the classes in `folder`; none where it has no recordings at all."""
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
        found = [one.name for one in inside if any(one.glob(f"*{self.suffix}"))]
        known = [name for name in self.class_names if name in found]
        if not found or (self.class_names and not known):
            return []
        if len(known or found) != self.classes:
            missing = [name for name in self.class_names if name not in found]
            named = f"; {missing[0]!r} is missing" if missing else ""
            raise EvenspikeError(
                f"{folder}: has {len(known or found)} folders of {self.suffix} files, but "
                f"{self.title} has {self.classes} classes{named}"
            )
        return known or found

    def _recordings(
        self, folder: Path, names: list[str], split: str
    ) -> tuple[list[Path], list[int]]:
        files, labels = [], []
        for label, name in enumerate(names):
            found = sorted((folder / name).glob(f"*{self.suffix}"), key=_number)
            if not self.splits:
                if len(found) < 2:
                    raise EvenspikeError(
                        f"{folder / name}: holds {len(found)} {self.suffix} file, too few for a "
                        "train and a test split"
                    )
                wanted = split == "test"
                found = [file for i, file in enumerate(found) if (i % HELD_OUT == 0) == wanted]
            files += found
            labels += [label] * len(found)
        return files, labels


def _number(file: Path) -> tuple[int, str]:
    """The order of recordings: `cifar10_cat_2` before `cifar10_cat_10`, on every machine."""
    digits = file.stem.rsplit("_", 1)[-1]
    return (int(digits) if digits.isdecimal() else 0, file.name)


def integrate(
    events: npt.NDArray[Any], sensor: tuple[int, int], frames: int = FRAMES, side: int = SIDE
) -> Images:
    """Events with fields t, x, y and p (0 or 1) as frames, uint8 [frames, 2, side, side].

    The k-th of n events, in the order of t, belongs to frame floor(k * frames / n).
    """
    count = len(events)
    ordered = events[np.argsort(events["t"], kind="stable")]
    at = np.arange(count, dtype=np.int64) * frames // max(count, 1)
    x, y = (_scaled(ordered[axis], size, side) for axis, size in zip("xy", sensor, strict=True))
    flat = ((at * 2 + ordered["p"].astype(np.int64)) * side + y) * side + x
    counts = np.bincount(flat, minlength=frames * 2 * side * side)
    return np.minimum(counts, 255).astype(np.uint8).reshape(frames, 2, side, side)


def _scaled(values: npt.NDArray[Any], size: int, side: int) -> npt.NDArray[np.int64]:
    """Coordinates on a sensor of `size` pixels as coordinates on `side` pixels."""
    whole = values.astype(np.int64)
    return whole * side // size if size > side else whole + (side - size) // 2


def _bin_events(file: Path) -> npt.NDArray[Any]:
    """Five bytes an event: x, y, then polarity and 23 bits of time in microseconds."""
    try:
        raw = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise EvenspikeError(f"{file}: not a readable recording: {error.strerror}") from error
    if not raw.size or raw.size % BIN_EVENT_BYTES:
        raise EvenspikeError(
            f"{file}: truncated: {raw.size} bytes are no whole number of events of "
            f"{BIN_EVENT_BYTES}"
        )
    x, y, high, middle, low = raw.reshape(-1, BIN_EVENT_BYTES).T.astype(np.int64)
    over = y == BIN_OVERFLOW
    events = np.empty(len(x), EVENT)
    events["x"], events["y"], events["p"] = x, y, high >> 7
    events["t"] = (high & 127) << 16 | middle << 8 | low
    events["t"] += BIN_OVERFLOW_MICROSECONDS * np.cumsum(over)
    found: npt.NDArray[Any] = events[~over]
    return found


def _frames(sensor: tuple[int, int], decoder: Decoder, file: Path) -> Images:
    """Frames of one recording; raises EvenspikeError, naming the file."""
    events = _bin_events(file) if file.suffix == ".bin" else decoder.events(file)
    if not len(events):
        raise EvenspikeError(f"{file}: holds no event")
    for axis, size in zip("xy", sensor, strict=True):
        if events[axis].min() < 0 or events[axis].max() >= size:
            raise EvenspikeError(
                f"{file}: has an event at {axis} = {events[axis].max()}; the sensor has 0 to "
                f"{size - 1}"
            )
    return integrate(events, sensor)
