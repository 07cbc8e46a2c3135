"""Narrow: a Program's weights rounded to 8 bits in the layers whose spikes that leaves as they are.

A layer's weights, biases, threshold and reset are halved some times, which changes no spike, and
rounded, which changes few. How often is searched: where one weight is far larger than the others,
these keep more bits if it saturates.
"""

from __future__ import annotations

import math
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

BITS = 8
"""Of a rounded weight. Those that are codes of 4 bits as they are stay so."""

LIMIT = 0.01
"""Share of a layer's spikes that may differ: what is allowed between a module and its integers."""

JUDGED = 10
"""Images on whose spikes the layers are judged."""

TRIED = 3
"""Numbers of halvings that are tried: the one with which the largest weight fits, and the ones
below it, with which weights saturate.
"""

_HIGH = 127

Pixels = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class NarrowedLayer:
    """What became of a layer.

    bits: of its weights in the stream. wrong, either: spikes that differ, and bits in which the
    layer fires before or after, with 8 bits; 0 of one whose weights have fitted before. lost:
    living weights that 8 bits round to zero. halved: how many times it was; 0 where it stays.
    """

    name: str
    bits: int
    wrong: int = 0
    either: int = 0
    lost: int = 0
    halved: int = 0

    @property
    def different(self) -> float:
        """Share of the spikes that differ."""
        return self.wrong / self.either if self.either else 0.0

    def __str__(self) -> str:
        if not self.either:
            return f"{self.name}: {self.bits} bits"
        return (
            f"{self.name}: {self.bits} bits; with 8, {self.wrong:,} of {self.either:,} spikes "
            f"differ ({self.different:.2%}) and {self.lost:,} weights become zero"
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
    keep_living: bool = False,
    progress: Progress = silent,
) -> Narrowed:
    """Round a Program's weights to 8 bits in each layer of which at most `limit` spikes differ.

    Each layer is judged on the Program's own spikes of the layers before, of the first `JUDGED`
    images; one that never spikes on them stays as it is. With labels, the layers with most that
    differs go back to what they were until no fewer images are right. With `keep_living` a weight
    that would round to zero becomes 1 or -1, so that a balanced network stays balanced.

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
        rows.append(_layer(program, index, judged, limit, layers, keep_living=keep_living))
    classes = np.array([one.prediction for one in before])
    while True:
        found = replace(program, layers=tuple(layers))
        after = np.array([reference.run(found, pixels).prediction for pixels in images])
        right = None
        if labels is not None:
            right = int((classes == labels).sum()), int((after == labels).sum())
        kept = [row for row in rows if row.halved]
        if right is None or right[1] >= right[0] or not kept:
            break
        worst = max(kept, key=lambda row: row.different)
        at = rows.index(worst)
        layers[at + 1] = program.layers[at + 1]
        rows[at] = replace(worst, bits=16, halved=0)
    changed = int((after != classes).sum())
    return Narrowed(found, tuple(rows), len(images), changed, right)


def _layer(
    program: Program,
    index: int,
    judged: Sequence[tuple[Masks, ...]],
    limit: float,
    layers: list[Layer],
    *,
    keep_living: bool,
) -> NarrowedLayer:
    """Put the best rounding of a layer into `layers` if it is good enough."""
    layer = program.layers[index]
    bits = max(segment.weight_bits for segment in layer.segments)
    if bits <= BITS:
        return NarrowedLayer(layer.name, bits)
    best: tuple[NarrowedLayer, Layer] | None = None
    fits = math.ceil(math.log2(_largest(layer) / _HIGH))
    for halved in range(fits, max(0, fits - TRIED), -1):
        candidate = _rounded(layer, halved, keep_living=keep_living)
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
        row = NarrowedLayer(layer.name, BITS, wrong, either, lost, halved)
        if best is None or row.different < best[0].different:
            best = row, candidate
    if best is None or not best[0].either:
        return NarrowedLayer(layer.name, bits)
    if best[0].different > limit:
        return replace(best[0], bits=bits, halved=0)
    layers[index] = best[1]
    return best[0]


def _largest(layer: Layer) -> int:
    return max(int(np.abs(s.weights.astype(np.int32)).max()) for s in layer.segments)


def _rounded(layer: Layer, halved: int, *, keep_living: bool) -> Layer:
    """The layer halved, rounded half to even; weights saturate at 127 and -127."""
    segments = []
    for one in layer.segments:
        weights = np.clip(np.rint(np.ldexp(one.weights, -halved)), -_HIGH, _HIGH).astype(np.int16)
        if keep_living:
            weights = np.where(weights == 0, np.sign(one.weights), weights)
        segments.append(replace(one, weights=weights))
    threshold = max(1, round(math.ldexp(layer.threshold, -halved)))
    reset = round(math.ldexp(layer.reset, -halved))
    if layer.reset == layer.threshold:
        reset = threshold
    elif layer.reset == round(layer.leak * layer.threshold / LEAK_ONE):
        reset = round(layer.leak * threshold / LEAK_ONE)
    bias = np.rint(np.ldexp(layer.bias, -halved)).astype(np.int32)
    return replace(layer, segments=tuple(segments), bias=bias, threshold=threshold, reset=reset)


def _with(program: Program, index: int, layer: Layer) -> Program | None:
    """The Program with another layer; None where it does not pass the range proof."""
    try:
        return replace(
            program, layers=(*program.layers[:index], layer, *program.layers[index + 1 :])
        )
    except EvenspikeError:
        return None
