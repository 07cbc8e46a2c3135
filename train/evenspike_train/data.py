"""Data sets on the device: train/validation split, batches, augmentation.

Examples are uint8 from file (`evenspike_core.data`) to network, images [N, C, H, W] or frames of
events [N, T, C, H, W]: nothing is resized or normalised.  Augmentation works on a whole batch where
the data lies, so that a GPU is never kept waiting for the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evenspike_core import data as dataset
from evenspike_core.data.checks import checked_labels
from evenspike_core.errors import EvenspikeError
from evenspike_core.progress import Progress, silent


@dataclass(frozen=True)
class Split:
    """Images [N, C, H, W] or frames [N, T, C, H, W], uint8, and labels [N] int64 on one device."""

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


def check_fits(data: Dataset, spec: dataset.DataSet) -> None:
    """Raise EvenspikeError for images of another shape or labels of no class, naming the first."""
    for name in ("train", "validation", "test"):
        split: Split = getattr(data, name)
        where, count = f"{spec.name}, {name} images", len(split.images)
        if split.images.dtype != torch.uint8 or split.images.shape[1:] != spec.shape or not count:
            raise EvenspikeError(
                f"{where}: are {split.images.dtype} {tuple(split.images.shape)}, not uint8 "
                f"{('N', *spec.shape)}"
            )
        checked_labels(where, split.labels.cpu().numpy(), count, (0, spec.classes - 1))


def to_split(images: np.ndarray, labels: np.ndarray, device: torch.device) -> Split:
    """Images uint8 [N, ...] and labels [N] of numpy, on the device; what is read-only is copied."""
    return Split(
        torch.from_numpy(np.require(images, np.uint8, ("C", "W"))).to(device),
        torch.from_numpy(labels.astype(np.int64)).to(device),
    )


def load_dataset(
    name: str,
    folder: Path | None,
    validation: int,
    device: torch.device,
    train: int = 0,
    progress: Progress = silent,
) -> Dataset:
    """All splits on the device; `validation` training images, drawn evenly, are held out.

    Of the others `train` are kept, drawn evenly too; 0 keeps all.
    """
    images, labels = dataset.load(name, folder, "train", progress)
    if not 0 < validation < len(labels):
        raise EvenspikeError(
            f"{name}: cannot hold out {validation} of {len(labels)} training images"
        )
    if validation + train > len(labels):
        raise EvenspikeError(
            f"{name}: has {len(labels)} training images; {train} to train with and {validation} "
            "held out are more"
        )
    # A fixed permutation: the split does not depend on the seed of a run, so that
    # runs with different seeds can be compared on the same validation images.
    order = np.random.default_rng(0).permutation(len(labels))
    end = validation + train if train else len(labels)
    held, kept = np.sort(order[:validation]), np.sort(order[validation:end])
    test = dataset.load(name, folder, "test", progress)
    return Dataset(
        train=to_split(images[kept], labels[kept], device),
        validation=to_split(images[held], labels[held], device),
        test=to_split(*test, device),
    )


@dataclass(frozen=True)
class Augmentation:
    """In-batch augmentation: mirror, shift by up to `shift` pixels, zero a square of `cutout`.

    All frames of a recording are moved alike.
    """

    flip: bool = True
    shift: int = 2
    cutout: int = 0

    def __post_init__(self) -> None:
        for field in ("shift", "cutout"):
            if getattr(self, field) < 0:
                raise ValueError(
                    f"augmentation: {field} must not be negative: {getattr(self, field)}"
                )

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 [B, C, H, W] or [B, T, C, H, W] -> the same shape; drawn on the host."""
        if images.ndim == 5:
            return self(images.flatten(1, 2), generator).unflatten(1, images.shape[1:3])
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
            corner = self.cutout // 2
            near_y, near_x = (
                (at >= centre - corner) & (at < centre - corner + self.cutout)
                for at, centre in (
                    (torch.arange(height, device=device), centre_y),
                    (torch.arange(width, device=device), centre_x),
                )
            )
            blank = blank | (near_y[:, :, None] & near_x[:, None, :])
        each = torch.arange(batch, device=device)[:, None, None]
        moved = images[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        return moved.masked_fill(blank[:, None], 0)


class Stream(IntEnum):
    """What a run draws random numbers for; each has its own, so that none depends on another's."""

    ORDER = 1
    AUGMENT = 2
    MASK = 3
    PROBE = 4
    INPUT = 5
    DROPOUT = 6


def generator_for(*key: int) -> torch.Generator:
    """A generator that depends on the key alone.

    Every epoch's order and every step's augmentation has its own, so a run resumed
    in the middle draws what the uninterrupted one would have drawn.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator().manual_seed(seed)
