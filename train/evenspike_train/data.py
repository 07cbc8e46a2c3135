"""Data sets as bytes: idx readers, look-up, train/validation split, batches on the device.

Images are uint8 [N, C, 32, 32] from file to network: 28x28 images are padded with
two zero pixels on every side, which is exact (a resize would round), and nothing
is normalised.  Augmentation works on a whole batch where the data lies, so that a
GPU is never kept waiting for the host.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evenspike.errors import EvenspikeError

IMAGE_SIZE = 32

_IDX_UBYTE = 0x08
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
#: Where a system package puts each data set (Debian: dataset-fashion-mnist).
SYSTEM_FOLDERS = {
    "mnist": Path("/usr/share/datasets/mnist"),
    "fmnist": Path("/usr/share/datasets/fashion-mnist"),
}
CLASSES = {"mnist": 10, "fmnist": 10}


class DataError(EvenspikeError):
    """A data set that is missing, truncated or not what it says it is."""


def read_idx(path: Path) -> np.ndarray:
    """Array of an idx file (plain or gzip), uint8, in the shape its header gives."""
    path = Path(path)
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if len(raw) < 4 or raw[0] != 0 or raw[1] != 0:
        raise DataError(f"{path}: not an idx file (it must start with two zero bytes)")
    if raw[2] != _IDX_UBYTE:
        raise DataError(f"{path}: idx element type 0x{raw[2]:02x}; only unsigned bytes (0x08)")
    dimensions = raw[3]
    start = 4 + 4 * dimensions
    if len(raw) < start:
        raise DataError(f"{path}: the header is cut off after {len(raw)} bytes")
    shape = struct.unpack(f">{dimensions}I", raw[4:start])
    expected = int(np.prod(shape, dtype=np.int64))
    if len(raw) - start != expected:
        raise DataError(
            f"{path}: shape {shape} needs {expected} bytes, the file holds {len(raw) - start}"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def pad_to_32(images: np.ndarray) -> np.ndarray:
    """[N, H, W] uint8 with H, W <= 32 -> [N, 32, 32], the image centred in zeros."""
    _, height, width = images.shape
    if height > IMAGE_SIZE or width > IMAGE_SIZE:
        raise DataError(f"images of {height}x{width} pixels do not fit into 32x32")
    top, left = (IMAGE_SIZE - height) // 2, (IMAGE_SIZE - width) // 2
    bottom, right = IMAGE_SIZE - height - top, IMAGE_SIZE - width - left
    return np.pad(images, ((0, 0), (top, bottom), (left, right)))


def find_folder(name: str, folder: Path | None = None) -> Path:
    """Folder that holds the data set: the one given, else the system's package."""
    if name not in SYSTEM_FOLDERS:
        raise DataError(f"data set {name!r} is not known; known: {sorted(SYSTEM_FOLDERS)}")
    candidates = [Path(folder)] if folder is not None else [SYSTEM_FOLDERS[name]]
    for candidate in candidates:
        if any(_existing(candidate, stem) for stem in _FILES["train"] + _FILES["test"]):
            return candidate
    wanted = ", ".join(f"{stem}[.gz]" for stem in _FILES["train"] + _FILES["test"])
    raise DataError(
        f"{name}: no data in {candidates[0]}. Put {wanted} there, or name their folder with --data"
    )


def _existing(folder: Path, stem: str) -> Path | None:
    for name in (stem, stem + ".gz"):
        if (folder / name).is_file():
            return folder / name
    return None


def load(name: str, folder: Path | None, split: str) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [N, 32, 32], labels uint8 [N]) of the "train" or "test" split."""
    where = find_folder(name, folder)
    arrays = []
    for stem, dimensions in zip(_FILES[split], (3, 1), strict=True):
        path = _existing(where, stem)
        if path is None:
            raise DataError(f"{name}: {where / stem}[.gz] is missing")
        array = read_idx(path)
        if array.ndim != dimensions:
            raise DataError(f"{path}: {array.ndim} dimensions, expected {dimensions}")
        arrays.append(array)
    images, labels = arrays
    if len(images) != len(labels):
        raise DataError(f"{where}: {len(images)} {split} images but {len(labels)} labels")
    if len(labels) and labels.max() >= CLASSES[name]:
        raise DataError(f"{where}: label {labels.max()}, but {name} has {CLASSES[name]} classes")
    return pad_to_32(images), labels


@dataclass(frozen=True)
class Split:
    """Images [N, C, 32, 32] uint8 and labels [N] int64 on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Split:
        return Split(self.images[:count], self.labels[:count])

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self), size):
            yield self.images[start : start + size], self.labels[start : start + size]


@dataclass(frozen=True)
class Dataset:
    """What a training run sees: `test` is touched once, after everything is chosen."""

    train: Split
    validation: Split
    test: Split


def to_split(images: np.ndarray, labels: np.ndarray, device: torch.device) -> Split:
    if images.ndim == 3:
        images = images[:, None]
    return Split(
        torch.from_numpy(np.ascontiguousarray(images)).to(device),
        torch.from_numpy(labels.astype(np.int64)).to(device),
    )


def load_dataset(name: str, folder: Path | None, validation: int, device: torch.device) -> Dataset:
    """All splits on the device; `validation` training images, drawn evenly, are held out."""
    images, labels = load(name, folder, "train")
    if not 0 < validation < len(labels):
        raise DataError(f"{name}: cannot hold out {validation} of {len(labels)} training images")
    # A fixed permutation: the split does not depend on the seed of a run, so that
    # runs with different seeds can be compared on the same validation images.
    order = np.random.default_rng(0).permutation(len(labels))
    held, kept = np.sort(order[:validation]), np.sort(order[validation:])
    test = load(name, folder, "test")
    return Dataset(
        train=to_split(images[kept], labels[kept], device),
        validation=to_split(images[held], labels[held], device),
        test=to_split(*test, device),
    )


@dataclass(frozen=True)
class Augmentation:
    """In-batch augmentation: mirror, shift by up to `shift` pixels, zero a square of `cutout`."""

    flip: bool = True
    shift: int = 2
    cutout: int = 0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """[B, C, H, W] uint8 -> the same shape; random numbers drawn on the host."""
        batch, _, height, width = images.shape
        device = images.device
        rows = torch.arange(height, device=device).expand(batch, height)
        columns = torch.arange(width, device=device).expand(batch, width)
        if self.flip:
            mirror = torch.rand(batch, 1, generator=generator).to(device) < 0.5
            columns = torch.where(mirror, width - 1 - columns, columns)
        blank = torch.zeros(batch, height, width, dtype=torch.bool, device=device)
        if self.shift:
            span = (2 * self.shift + 1,)
            offset = torch.randint(*span, (2, batch, 1), generator=generator) - self.shift
            down, right = offset.to(device)
            rows, columns = rows + down, columns + right
            outside_y = (rows < 0) | (rows >= height)
            outside_x = (columns < 0) | (columns >= width)
            blank = outside_y[:, :, None] | outside_x[:, None, :]
            rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        if self.cutout:
            centre_y, centre_x = torch.randint(height, (2, batch, 1), generator=generator).to(
                device
            )
            near_y = (torch.arange(height, device=device) - centre_y).abs() * 2 <= self.cutout
            near_x = (torch.arange(width, device=device) - centre_x).abs() * 2 <= self.cutout
            blank = blank | (near_y[:, :, None] & near_x[:, None, :])
        each = torch.arange(batch, device=device)[:, None, None]
        moved = images[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        return moved.masked_fill(blank[:, None], 0)


def generator_for(*key: int) -> torch.Generator:
    """A generator that depends on the key alone.

    Every epoch's order and every step's augmentation has its own, so a run resumed
    in the middle draws what the uninterrupted one would have drawn.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator().manual_seed(seed)
