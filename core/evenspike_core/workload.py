"""Workloads for design exploration: spikes from a file or drawn, on masks drawn at a density.

A trace is an `.npz` with one uint8 array a layer, `<layer>_in` [channels, height, width]: the T-bit
spike masks that come into the layer. The layers are 3x3 convolutions (padding 1) whose filters are
the next array's channels, pooled by 2 where the next map is half the size; a one-dimensional array
is the input of a fully connected layer. Each layer runs on its own array, so the cycles are those
of the traced network whatever the drawn weights make of the spikes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import PIXELS, Layer, Program, Segment

Masks = npt.NDArray[np.uint8]

VGG16_SHAPES = (
    (64, 32, 32),
    (64, 16, 16),
    (128, 16, 16),
    (128, 8, 8),
    (256, 8, 8),
    (256, 8, 8),
    (256, 4, 4),
    (512, 4, 4),
    (512, 4, 4),
    (512, 2, 2),
    (512, 2, 2),
    (512, 2, 2),
)
"""Inputs of conv2 ... conv13 of VGG-16 on 32x32 images (LTH for SNNs, section 4)."""

FITTED_DENSITY = (40.9, 25.5, 16.0, 10.0, 6.25, 3.91, 2.44, 1.53, 0.96, 0.60, 0.37, 0.23)
"""Percent of conv2 ... conv13: reproduces the work of u-Ticket Table IV at 98.2 % sparsity."""

TIMESTEPS = 4
FULLY_CONNECTED_FILTERS = 10
LARGEST_WEIGHT = 127
"""Of the drawn weights: small enough that no range proof fails, whatever the layer."""
TRACE_BYTES_MAX = 1 << 26
WEIGHTS_MAX = 1 << 25
"""Limits of a trace's spikes and of all weights that it asks for: a VGG-16 takes 15 million. They
keep a small file from asking for more memory than there is."""


@dataclass(frozen=True)
class Workload:
    """A Program with drawn weights, and the spikes that come into each of its layers.

    inputs: masks [channels, height, width] for layers[1 : 1 + len(inputs)]; the layer before only
        stands for the source, those behind for the end that every Program has: they do not run.
    """

    program: Program
    inputs: tuple[Masks, ...]

    @property
    def outputs(self) -> tuple[Masks, ...]:
        """The same spikes as outputs of the layer before, for the mapper; the rest is silent."""
        rest = self.program.layers[len(self.inputs) :]
        return (*self.inputs, *(np.zeros(layer.output, dtype=np.uint8) for layer in rest))


def read_trace(path: Path) -> tuple[tuple[str, ...], tuple[Masks, ...]]:
    """Layer names and masks of a trace file, in the file's order.

    Raises EvenspikeError naming the file, or the array that is not what a trace holds.
    """
    if not path.is_file():
        raise EvenspikeError(f"{path}: no such trace file")
    names, arrays = [], []
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > TRACE_BYTES_MAX:
            raise EvenspikeError(f"{size} bytes of arrays, at most {TRACE_BYTES_MAX} are read")
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                names.append(key)
                arrays.append(np.asarray(file[key]))
    except Exception as error:  # damaged bytes make zipfile and numpy raise anything
        text = str(error) or repr(error)
        raise EvenspikeError(f"{path}: not a readable .npz trace: {text}") from error
    if not arrays:
        raise EvenspikeError(f"{path}: an empty trace")
    checked = []
    for key, array in zip(names, arrays, strict=True):
        if not key.endswith("_in") or len(key) == len("_in"):
            raise EvenspikeError(f"{path}: array {key!r} is not named <layer>_in")
        if array.dtype != np.uint8 or array.ndim not in (1, 3) or array.size == 0:
            raise EvenspikeError(
                f"{path}: array {key} is {array.dtype} {array.shape}, not uint8 [C, H, W] or [C]"
            )
        if int(array.max()) >= 1 << TIMESTEPS:
            raise EvenspikeError(
                f"{path}: array {key} has a mask of {array.max()}, "
                f"{TIMESTEPS} timesteps reach {(1 << TIMESTEPS) - 1}"
            )
        checked.append(array.reshape(array.shape[0], *(array.shape[1:] or (1, 1))))
    return tuple(key.removesuffix("_in") for key in names), tuple(checked)


def draw_spikes(
    shapes: Sequence[tuple[int, int, int]], rate: float, seed: int
) -> tuple[Masks, ...]:
    """Bernoulli spikes: each neuron fires at each timestep with probability `rate` (percent)."""
    if not 0 <= rate <= 100:
        raise EvenspikeError(f"--rate {rate} is outside 0 to 100 percent")
    rng = np.random.default_rng((seed, 1))
    drawn = []
    for shape in shapes:
        fired = rng.random((TIMESTEPS, *shape)) < rate / 100
        weights = (1 << np.arange(TIMESTEPS)).reshape(-1, 1, 1, 1)
        drawn.append((fired * weights).sum(axis=0).astype(np.uint8))
    return tuple(drawn)


def build(
    names: Sequence[str], inputs: Sequence[Masks], density: Sequence[float], seed: int
) -> Workload:
    """Draw weights for the layers that consume `inputs`.

    density: percent of living weights, one for each layer, or one for all; where the trace has one
        array more than there are densities, the last array only gives the last layer's shape.

    Raises EvenspikeError where shapes or densities do not fit.
    """
    shares = list(density) * (len(inputs) if len(density) == 1 else 1)
    if len(shares) not in (len(inputs), len(inputs) - 1):
        raise EvenspikeError(f"{len(shares)} densities for {len(inputs)} layers of the trace")
    for share in shares:
        if not 0 <= share <= 100:
            raise EvenspikeError(f"density {share} is outside 0 to 100 percent")
    rng = np.random.default_rng(seed)
    channels, height, width = inputs[0].shape
    layers = [
        Layer(
            "source",
            (Segment(PIXELS, np.zeros((channels, 1, 1, 1), dtype=np.int16)),),
            np.zeros(channels, dtype=np.int32),
            (height, width),
            threshold=1,
        )
    ]
    for index, (name, masks, share) in enumerate(zip(names, inputs, shares, strict=False)):
        following = inputs[index + 1].shape if index + 1 < len(inputs) else None
        layers.append(_layer(index, name, masks, following, share, rng))
        if sum(layer.weights for layer in layers) > WEIGHTS_MAX:
            raise EvenspikeError(f"layer {name}: the limit of {WEIGHTS_MAX} weights is exceeded")
    layers.extend(_sinks(layers[-1], len(shares)))
    program = Program("trace", TIMESTEPS, (1, height, width), tuple(layers), {"seed": seed})
    return Workload(program, tuple(inputs[: len(shares)]))


def _layer(
    index: int,
    name: str,
    masks: Masks,
    following: tuple[int, ...] | None,
    share: float,
    rng: np.random.Generator,
) -> Layer:
    channels, height, width = masks.shape
    flat = height == width == 1
    kernel = 1 if flat else 3
    filters, pool = FULLY_CONNECTED_FILTERS if flat else channels, 1
    if following is not None:
        filters = following[0]
        pool = height // following[1]
        if (following[1] * pool, following[2] * pool) != (height, width) or pool not in (1, 2):
            raise EvenspikeError(
                f"layer {name}: its map is {height}x{width} and the next layer's "
                f"{following[1]}x{following[2]}; equal or half is possible"
            )
    if filters * channels * kernel**2 > WEIGHTS_MAX:
        raise EvenspikeError(
            f"layer {name}: {filters} filters of {channels} channels, "
            f"the limit is {WEIGHTS_MAX} weights"
        )
    weights = rng.integers(1, LARGEST_WEIGHT + 1, (filters, channels, kernel, kernel))
    weights *= rng.choice((-1, 1), weights.shape)
    weights[rng.random(weights.shape) >= share / 100] = 0
    return Layer(
        name,
        (Segment(index, weights.astype(np.int16), 1, kernel // 2),),
        np.zeros(filters, dtype=np.int32),
        (height, width),
        threshold=LARGEST_WEIGHT,
        pool=pool,
    )


def _sinks(before: Layer, source: int) -> list[Layer]:
    """Layers that never run: they halve the map to the single position of a last layer."""
    sinks: list[Layer] = []
    channels, *size = before.output
    while not sinks or not sinks[-1].last:
        nothing = np.zeros((1, channels, 7, 7), dtype=np.int16)
        segment = Segment(source + len(sinks), nothing, stride=2, padding=3)
        size = [(n + 1) // 2 for n in size]
        last = max(size) == 1
        zero = np.zeros(1, dtype=np.int32)
        name = f"sink{len(sinks)}"
        sinks.append(Layer(name, (segment,), zero, (size[0], size[1]), int(not last), last=last))
        channels = 1
    return sinks


def active(masks: Masks) -> npt.NDArray[np.float64]:
    """Share of neurons with at least one spike, per channel; float64 [channels]."""
    share: npt.NDArray[np.float64] = (masks != 0).mean(axis=(1, 2))
    return share
