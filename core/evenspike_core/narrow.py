"""Narrow: a Program's weights rounded to 8 bits in the layers whose spikes that leaves as they are.

A layer's weights, biases, threshold and reset are multiplied by one number, which changes no spike,
and rounded, which changes few. The number is searched: at the largest that saturates no weight the
others have few bits, where one weight is far larger than they.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core import reference
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import LEAK_ONE
from evenspike_core.program import Layer, Program
from evenspike_core.progress import Progress, silent

LIMIT = 0.01
"""Share of a layer's spikes that may differ: what is allowed between a module and its integers."""

JUDGED = 10
"""Images on whose spikes the layers are judged."""

FACTORS = (1.0, 1.1, 1.25, 1.5, 1.75, 2.0)
"""Scales that are tried, in those at which the largest weight is 127; beyond 1 weights saturate."""

_HIGH = 127

Pixels = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class NarrowedLayer:
    """What became of a layer.

    bits: of its weights in the stream. wrong, either: spikes that differ, and bits in which the
    layer fires before or after, at the best scale; 0 of one whose weights have fitted before. lost:
    living weights that this rounds to zero. scale: what it is multiplied by, 1 where it stays.
    """

    name: str
    bits: int
    wrong: int = 0
    either: int = 0
    lost: int = 0
    scale: float = 1.0

    @property
    def different(self) -> float:
        """Share of the spikes that differ."""
        return self.wrong / self.either if self.either else 0.0

    def __str__(self) -> str:
        if not self.either:
            return f"{self.name}: {self.bits} bits"
        return (
            f"{self.name}: {self.bits} bits; with 8, {self.wrong:,} of {self.either:,} spikes differ "
            f"({self.different:.2%}) and {self.lost:,} weights become zero"
        )


@dataclass(frozen=True)
class Narrowed:
    """A Program, what became of its layers, and what the whole network says on all images.

    layers: those between the encoder and the read-out, whose numbers stay what they are.
    changed: images that get another class. right: that get their own, before and after; None
    without labels.
    """

    program: Program
    layers: tuple[NarrowedLayer, ...]
    images: int
    changed: int
    right: tuple[int, int] | None

    def __str__(self) -> str:
        text = f"{self.changed} of {self.images} images get another class"
        if self.right is not None:
            text += f"; right are {self.right[1]}, before {self.right[0]}"
        return "\n".join([*map(str, self.layers), text])


def narrow(
    program: Program,
    images: Sequence[Pixels] | Pixels,
    labels: npt.NDArray[np.int64] | None = None,
    limit: float = LIMIT,
    progress: Progress = silent,
) -> Narrowed:
    """Round a Program's weights to 8 bits, layer by layer, where at most `limit` of the spikes differ.

    Each layer is judged on the Program's own spikes of the layers before, of the first `JUDGED`
    images. With labels, layers with most that differs go back to what they were until no fewer
    images are right.

    Raises EvenspikeError without images, and for a limit that is no share.
    """
    if not len(images):
        raise EvenspikeError(f"{program.name}: no images to round its weights on")
    if not 0 <= limit <= 1:
        raise EvenspikeError(f"a limit of {limit:g}; it is a share of the spikes, 0 to 1")
    before = []
    for number, pixels in enumerate(images):
        progress("the network as it is", number, len(images))
        before.append(reference.run(program, pixels))
    judged = [one.masks for one in before[:JUDGED]]
    layers, rows = list(program.layers), []
    for index in range(1, len(layers) - 1):
        progress("layers", index, len(layers))
        rows.append(_layer(program, index, judged, limit, layers))
    classes = np.array([one.prediction for one in before])
    while True:
        found = replace(program, layers=tuple(layers))
        after = np.array([reference.run(found, pixels).prediction for pixels in images])
        right = None
        if labels is not None:
            right = int((classes == labels).sum()), int((after == labels).sum())
        kept = [row for row in rows if row.scale != 1.0]
        if right is None or right[1] >= right[0] or not kept:
            break
        worst = max(kept, key=lambda row: row.different)
        at = rows.index(worst)
        layers[at + 1] = program.layers[at + 1]
        rows[at] = replace(worst, bits=16, scale=1.0)
    changed = int((after != classes).sum())
    return Narrowed(found, tuple(rows), len(images), changed, right)


def _layer(
    program: Program,
    index: int,
    judged: Sequence[tuple[Masks, ...]],
    limit: float,
    layers: list[Layer],
) -> NarrowedLayer:
    """Put the best rounding of a layer into `layers` if it is good enough."""
    layer = program.layers[index]
    bits = max(segment.weight_bits for segment in layer.segments)
    if bits == 8:
        return NarrowedLayer(layer.name, 8)
    best: tuple[NarrowedLayer, Layer] | None = None
    for factor in FACTORS:
        scale = factor * _HIGH / max(_largest(layer), 1)
        candidate = _rounded(layer, scale)
        changed = _with(program, index, candidate)
        if changed is None:
            continue
        wrong = either = 0
        for masks in judged:
            sources = {s.source: masks[s.source] for s in layer.segments}
            fired = reference.run_layer(changed, index, sources).masks
            assert fired is not None  # noqa: S101  (only a read-out gives none)
            wrong += int(np.bitwise_count(fired ^ masks[index]).sum())
            either += int(np.bitwise_count(fired | masks[index]).sum())
        lost = layer.nnz - candidate.nnz
        row = NarrowedLayer(layer.name, 8, wrong, either, lost, scale)
        if best is None or row.different < best[0].different:
            best = row, candidate
    if best is None:
        return NarrowedLayer(layer.name, bits)
    if best[0].different > limit:
        return replace(best[0], bits=bits, scale=1.0)
    layers[index] = best[1]
    return best[0]


def _largest(layer: Layer) -> int:
    return max(int(np.abs(s.weights.astype(np.int32)).max()) for s in layer.segments)


def _rounded(layer: Layer, scale: float) -> Layer:
    """The layer times a number, rounded half to even; weights saturate at 127 and -127."""
    segments = tuple(
        replace(one, weights=np.clip(np.rint(one.weights * scale), -_HIGH, _HIGH).astype(np.int16))
        for one in layer.segments
    )
    threshold = max(1, round(layer.threshold * scale))
    reset = round(layer.reset * scale)
    if layer.reset == layer.threshold:
        reset = threshold
    elif layer.reset == round(layer.leak * layer.threshold / LEAK_ONE):
        reset = round(layer.leak * threshold / LEAK_ONE)
    bias = np.rint(layer.bias * scale).astype(np.int32)
    return replace(layer, segments=segments, bias=bias, threshold=threshold, reset=reset)


def _with(program: Program, index: int, layer: Layer) -> Program | None:
    """The Program with another layer; None where it does not pass the range proof."""
    try:
        return replace(
            program, layers=(*program.layers[:index], layer, *program.layers[index + 1 :])
        )
    except EvenspikeError:
        return None
