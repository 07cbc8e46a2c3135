"""SVHN, format 2 (cropped digits): MATLAB files `train_32x32.mat` and `test_32x32.mat`.

Format: http://ufldl.stanford.edu/housenumbers.  X is [32, 32, 3, N] (row, column, colour, image),
y is [N, 1] with the digit; zero is written as 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evenspike_core.data.checks import checked_images, checked_labels
from evenspike_core.data.matlab import read_arrays
from evenspike_core.data.spec import Raw
from evenspike_core.errors import EvenspikeError
from evenspike_core.progress import Progress, silent

SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class SvhnFile:
    """One file a split; the `extra` file of the authors is not used."""

    def describe(self, split: str) -> str:
        return f"{split}_32x32.mat"

    def read(self, place: Path, split: str, progress: Progress = silent) -> Raw | None:
        """Images uint8 [N, 3, 32, 32] and labels 0 to 9; None where the file is missing."""
        path = place / self.describe(split)
        if not path.is_file():
            return None
        content = read_arrays(path, ("X", "y"))
        pixels, labels = content["X"], content["y"]
        if pixels.ndim != 4:
            raise EvenspikeError(f"{path}: X is {pixels.dtype} {pixels.shape}, not 4 dimensions")
        images = checked_images(path, pixels.transpose(3, 2, 0, 1), SHAPE, "X (transposed)")
        digits = checked_labels(path, labels.reshape(-1), len(images), (1, 10), "y")
        return np.ascontiguousarray(images), digits % 10
