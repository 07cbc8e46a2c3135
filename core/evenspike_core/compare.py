"""Compare: where two simulators part first.

The cycle model and the RTL must agree on every spike, counter and cycle. When they do not, this
says where first: the layer, the neuron and the timestep, or the PE and the cycle, and both values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.counters import LayerStatement

Neuron = tuple[int, int, int]
"""(filter, y, x) in the layer's output, in the program's filter order."""


@dataclass(frozen=True)
class Divergence:
    """The first item in which two results differ; `str` of it is the message for the user.

    item: `mask`, `logit`, `cycles`, `layer` or the name of a counter.
    neuron, timestep: of a mask; `neuron` is (class, 0, 0) for a logit.
    pe: of a counter that has one value for each PE, or of the neuron.
    cycle: of the inference, where a simulator knows it.
    image: of a batch, in which a mask or a logit differs; 0 without one.
    values: what each side has; None where a side lacks the item.
    """

    layer: str
    item: str
    values: tuple[object, object]
    message: str
    neuron: Neuron | None = None
    timestep: int | None = None
    pe: int | None = None
    cycle: int | None = None
    image: int = 0

    def __str__(self) -> str:
        return self.message


def first_divergence(
    a: Sequence[LayerStatement],
    b: Sequence[LayerStatement],
    names: tuple[str, str] = ("model", "rtl"),
) -> Divergence | None:
    """The first difference of two runs of one image, or one batch, or None if they are equal.

    Layers are compared in order; within a layer the spikes (image, filter, y, x, then timestep),
    the logits, the counters by name, and the cycles: a wrong spike explains a wrong count, so it
    comes first.
    """
    for one, two in zip_longest(a, b):
        if one is None or two is None or one.layer != two.layer:
            left, right = (None if side is None else side.layer for side in (one, two))
            at = str(left or right)
            text = f"{names[0]} has layer {left}, {names[1]} has layer {right}"
            return Divergence(at, "layer", (left, right), text)
        found = _masks(one, two, names) or _logits(one, two, names) or _counters(one, two, names)
        if found is None and one.cycles != two.cycles:
            found = _number(one.layer, "cycles", (one.cycles, two.cycles), names)
        if found is not None:
            return found
    return None


def _image(array: npt.NDArray[Any], axes: int, image: int) -> str:
    """Which image of a batch, for a message; nothing of an array with these axes alone."""
    return f"image {image} of the batch, " if array.ndim > axes else ""


def _place(neuron: Neuron) -> str:
    return f"filter {neuron[0]}, y {neuron[1]}, x {neuron[2]}"


def _shapes(
    layer: str, item: str, arrays: Sequence[npt.NDArray[Any] | None], names: tuple[str, str]
) -> Divergence | None:
    """A divergence where one side has no array or one of another shape."""
    left, right = (None if array is None else array.shape for array in arrays)
    if left == right:
        return None
    text = f"layer {layer}: {item} of shape {left} in {names[0]}, {right} in {names[1]}"
    return Divergence(layer, item, (left, right), text)


def _masks(one: LayerStatement, two: LayerStatement, names: tuple[str, str]) -> Divergence | None:
    a, b = one.masks, two.masks
    wrong = _shapes(one.layer, "mask", (a, b), names)
    if wrong is not None or a is None or b is None:
        return wrong
    different = np.argwhere(a != b)
    if not len(different):
        return None
    left, right = (int(array[tuple(different[0])]) for array in (a, b))
    image, f, y, x = (0, *map(int, different[0]))[-4:]
    t = ((left ^ right) & -(left ^ right)).bit_length() - 1
    text = (
        f"layer {one.layer}, {_image(a, 3, image)}{_place((f, y, x))}, timestep {t}: "
        f"spike {left >> t & 1} in {names[0]}, {right >> t & 1} in {names[1]} "
        f"(masks {left:#04x} and {right:#04x}; {len(different)} of {a.size} neurons differ)"
    )
    return Divergence(one.layer, "mask", (left, right), text, (f, y, x), t, image=image)


def _logits(one: LayerStatement, two: LayerStatement, names: tuple[str, str]) -> Divergence | None:
    a, b = one.logits, two.logits
    wrong = _shapes(one.layer, "logit", (a, b), names)
    if wrong is not None or a is None or b is None or bool((a == b).all()):
        return wrong
    different = np.argwhere(a != b)[0]
    values = int(a[tuple(different)]), int(b[tuple(different)])
    image, index = (0, *map(int, different))[-2:]
    text = (
        f"layer {one.layer}, {_image(a, 1, image)}class {index}: "
        f"logit {values[0]} in {names[0]}, {values[1]} in {names[1]}"
    )
    return Divergence(one.layer, "logit", values, text, (index, 0, 0), image=image)


def _counters(
    one: LayerStatement, two: LayerStatement, names: tuple[str, str]
) -> Divergence | None:
    for name in sorted(set(one.counters) | set(two.counters)):
        if name not in one.counters or name not in two.counters:
            values = one.counters.get(name), two.counters.get(name)
            return _number(one.layer, name, values, names)
        a, b = np.asarray(one.counters[name]), np.asarray(two.counters[name])
        wrong = _shapes(one.layer, name, (a, b), names)
        if wrong is not None:
            return wrong
        different = np.flatnonzero(a != b)
        if len(different):
            at = int(different[0])
            pair = a.reshape(-1)[at].item(), b.reshape(-1)[at].item()
            return _number(one.layer, name, pair, names, at if a.ndim else None)
    return None


def _number(
    layer: str,
    item: str,
    values: tuple[object, object],
    names: tuple[str, str],
    pe: int | None = None,
) -> Divergence:
    where = f"layer {layer}" if pe is None else f"layer {layer}, PE {pe}"
    text = f"{where}: {item} {values[0]} in {names[0]}, {values[1]} in {names[1]}"
    return Divergence(layer, item, values, text, pe=pe)
