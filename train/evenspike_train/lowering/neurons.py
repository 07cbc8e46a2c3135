"""What a layer's neurons do, in real numbers: the form to which every framework's are brought.

u[t] = leak * v[t-1] + gain * x[t]          (no leak at the first timestep: v starts at 0)
s[t] = u[t] >= threshold                    (> where strict)
v[t] = u[t], reset where s[t] = 1
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import LEAK_ONE


class Reset(StrEnum):
    """What a spike does to the membrane.

    HARD: clears it; a reset to zero that comes one timestep late is the same, as the drive of that
    timestep is added behind it. SOFT: takes the threshold off at once, so that it leaks, too.
    DELAYED: takes the threshold off at the next timestep, where it does not leak. NONE: nothing.
    """

    HARD = "hard"
    SOFT = "soft"
    DELAYED = "delayed"
    NONE = "none"


@dataclass(frozen=True)
class NeuronModel:
    """The neurons of one layer.

    leak : share of the membrane that a timestep leaves, 0 to 1.
    gain : factor on the drive; goes into weights and bias.
    threshold : above 0; infinite for neurons that never fire, of which the membrane is read.
    strict : whether a membrane at the threshold stays silent.
    """

    leak: float
    threshold: float = 1.0
    gain: float = 1.0
    strict: bool = False
    reset: Reset = Reset.HARD

    def check(self, where: str) -> None:
        """Raise EvenspikeError, naming the neuron, for what no integer neuron can do."""
        if not 0.0 <= self.leak <= 1.0:
            raise EvenspikeError(f"{where}: leak {self.leak} is outside 0 to 1")
        if not self.threshold > 0.0:
            raise EvenspikeError(f"{where}: threshold {self.threshold}; one above 0 is possible")
        if not self.gain > 0.0 or not math.isfinite(self.gain):
            raise EvenspikeError(f"{where}: gain {self.gain}; one above 0 is possible")

    @property
    def n(self) -> int:
        """The leak in 4096ths, as the integers have it."""
        return round(self.leak * LEAK_ONE)

    def run(self, drive: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Spikes [T, ...] of drives [T, ...] that hold the gain already."""
        v = np.zeros(drive.shape[1:])
        spikes = np.zeros(drive.shape, dtype=np.bool_)
        late = np.zeros(drive.shape[1:])
        for t in range(len(drive)):
            u = self.leak * v - late + drive[t]
            fired = u > self.threshold if self.strict else u >= self.threshold
            spikes[t] = fired
            if self.reset is Reset.HARD:
                v = np.where(fired, 0.0, u)
            elif self.reset is Reset.SOFT:
                v = u - np.where(fired, self.threshold, 0.0)
            else:
                v = u
            if self.reset is Reset.DELAYED:
                late = np.where(fired, self.threshold, 0.0)
        return spikes
