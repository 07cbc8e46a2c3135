"""Network: a spiking network in real numbers, layer by layer, ready to be rounded.

Batch norm, input gain and pixel scale are in the weights and biases,

    w' = gain * w * gamma / sigma        b' = gain * ((b - mean) * gamma / sigma + beta)

A shortcut is a further segment of its layer: its own batch norm folds into its weights, and its
bias into the layer's. An identity is a diagonal. A mean over positions divides the weights behind
it by its area.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evenspike_core.program import Coding, Readout
from evenspike_train.lowering.forms import Pair
from evenspike_train.lowering.neurons import NeuronModel
from evenspike_train.lowering.segments import FloatArray, FloatSegment


@dataclass(frozen=True, eq=False)
class FloatLayer:
    """One layer in real numbers; all its segments share its neurons, and so its scale.

    name: of the layer in the Program. path: of the module of its neurons, or of its weights.
    bias: [filters].  size: (height, width) of the map in front of the pool.
    neuron: what its neurons do; of a sum of currents (`Readout.PSUM`), which has none, that of the
        layer before, and only its scale counts.
    pool, readout, coding, pool_first, seed: as in the Program's `Layer`.
    spikes, drives: what it did on the examples, [T, B, C, H, W]: the spikes as they leave it, and
        the drives of its neurons, with the gain. None where nothing was recorded.
    """

    name: str
    path: str
    segments: tuple[FloatSegment, ...]
    bias: FloatArray
    size: Pair
    neuron: NeuronModel
    pool: int = 1
    readout: Readout | None = None
    coding: Coding | None = None
    pool_first: bool = False
    seed: int = 0
    spikes: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    drives: FloatArray | None = field(default=None, repr=False)

    @property
    def last(self) -> bool:
        return self.readout is not None

    @property
    def filters(self) -> int:
        return int(self.bias.shape[0])

    @property
    def modules(self) -> tuple[str, ...]:
        """Paths of the modules whose weights it holds."""
        found = [path for segment in self.segments for path in segment.modules]
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in the order in which they run, and the examples on which the module was followed.

    shape: [C, H, W] of the input, in bytes.
    inputs: the examples as the Program takes them, uint8 [B, ...].
    outputs: what the module gave for them, [B, classes], as a sum over the timesteps, or as the
        last membrane. Behind a softmax (`ranks`) only their order counts.
    """

    name: str
    timesteps: int
    shape: tuple[int, int, int]
    layers: tuple[FloatLayer, ...]
    inputs: npt.NDArray[np.uint8] = field(repr=False)
    outputs: FloatArray = field(repr=False)
    ranks: bool = False

    def __repr__(self) -> str:
        return (
            f"<Network {self.name}: {len(self.layers)} layers, {self.timesteps} timesteps, input "
            f"{self.shape}>"
        )
