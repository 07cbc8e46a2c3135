"""Pooling: the 2x2 max-pool of maps in numpy; of spikes it is an OR."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_Number = TypeVar("_Number", bound=np.generic)


def pooled(maps: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """The largest of each 2x2 window of maps [..., height, width]; an odd last line is left out."""
    *front, height, width = maps.shape
    rows, columns = height // 2, width // 2
    windows: npt.NDArray[Any] = maps[..., : rows * 2, : columns * 2]
    found: npt.NDArray[_Number] = windows.reshape(*front, rows, 2, columns, 2).max(axis=(-3, -1))
    return found
