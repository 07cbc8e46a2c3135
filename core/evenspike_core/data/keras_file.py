"""MNIST as Keras keeps it: one `mnist.npz` with both splits.

Format: `x_train`, `y_train`, `x_test`, `y_test` as numpy arrays, uint8 [N, 28, 28] and [N]
(https://keras.io/api/datasets/mnist).
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evenspike_core.data.checks import checked_images
from evenspike_core.data.idx import SIDE, pad_to_32
from evenspike_core.data.spec import Raw
from evenspike_core.errors import EvenspikeError
from evenspike_core.progress import Progress, silent

BYTES_MAX = 1 << 28
"""The largest array that is read; the largest of the file has 47 MB."""


@dataclass(frozen=True)
class KerasFile:
    """`mnist.npz`, whose arrays are read without unpickling anything."""

    file: str = "mnist.npz"

    def describe(self, split: str) -> str:
        return self.file

    def read(self, place: Path, split: str, progress: Progress = silent) -> Raw | None:
        """Images uint8 [N, 1, 32, 32] and labels; None where the file is missing."""
        path = place / self.file
        if not path.is_file():
            return None
        try:
            with zipfile.ZipFile(path) as archive:
                for name in (f"x_{split}", f"y_{split}"):
                    if archive.getinfo(f"{name}.npy").file_size > BYTES_MAX:
                        raise EvenspikeError(f"{path}: {name} has more than {BYTES_MAX} bytes")
            with np.load(path, allow_pickle=False) as arrays:
                images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise EvenspikeError(f"{path}: not a readable file of Keras: {reason}") from error
        return pad_to_32(checked_images(path, images, (SIDE, SIDE)))[:, None], labels
