"""Counters: what every simulator says about a layer, and what a PE does in a cycle.

The cycle model, the stepped model and the RTL each keep records of their own; what they have to
agree on is put into a `LayerStatement`, so that two of them can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

STATES = ("busy", "starved", "waiting", "loading", "draining")
"""What a PE does in a cycle: exactly one of these, so they add up to the layer's cycles."""

Value = int | float | Sequence[int] | npt.NDArray[np.integer]
"""A counter: one number, or one for each PE."""


@dataclass(frozen=True)
class LayerStatement:
    """What one simulator says about one layer of one image.

    masks: [filters, height, width], bit t = timestep t; None for the last layer.
    logits: int [classes] of the last layer; None for the others.
    counters: by name, one number or one for each PE.
    """

    layer: str
    cycles: int
    masks: npt.NDArray[np.unsignedinteger[Any]] | None = None
    logits: npt.NDArray[np.integer] | None = None
    counters: Mapping[str, Value] = field(default_factory=dict)
