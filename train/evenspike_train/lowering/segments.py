"""Segments: a term as kernels that the machine has: square, odd, of at most 7x7."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from evenspike_core.program import AVERAGES, KERNELS, PIXEL_MAX, PIXELS, STRIDES
from evenspike_train.lowering.forms import Impossible, Pair, Term

FloatArray = npt.NDArray[np.float64]

_T = TypeVar("_T", bound=np.generic)
_LARGEST = max(KERNELS)


@dataclass(frozen=True, eq=False)
class FloatSegment:
    """One input of a layer in real numbers, everything folded in.

    source: index of the layer whose spikes come in, or `PIXELS`, whose weights take 0...255.
    weight: [filters, channels, K, K]; an average pool in front has divided it by its area.
    mask: of its shape; True where the weight lives.
    stride, offset, average, dense: as in the Program's `Segment`.
    modules: paths of the modules whose weights it holds; empty for an identity.
    """

    source: int
    weight: FloatArray
    mask: npt.NDArray[np.bool_]
    stride: int = 1
    offset: Pair = (0, 0)
    average: int = 1
    dense: int = -1
    modules: tuple[str, ...] = ()

    @property
    def largest_input(self) -> int:
        """Largest value that a weight meets."""
        return PIXEL_MAX if self.source == PIXELS else self.average**2


def segments_of(
    term: Term, source: int, size: Pair, gain: float, *, first: bool
) -> Iterator[FloatSegment]:
    """The segments of a term on a map of `size`; raises `Impossible` for a stride beyond 2.

    first: whether it is its layer's first term; any other identity is a shortcut, not weights.

    A kernel that is smaller than the square in which it lies, or has gaps, has zeros there; one
    that is larger is cut into parts.
    """
    weight, alive, real = term.dense()
    stride = _stride(term, size)
    offset, sides = term.offset, weight.shape[2:]
    shortcut = term.weight is None and term.window == (1, 1) and not first
    if max(sides) > _LARGEST:
        rows, columns = (_read(term, axis, size[axis], stride, sides[axis]) for axis in (0, 1))
        at = (slice(None), slice(None), rows, columns)
        weight, alive, real = weight[at], alive[at], real[at]
        offset = (offset[0] + rows.start, offset[1] + columns.start)
    for top, height in _parts(weight.shape[2]):
        for left, width in _parts(weight.shape[3]):
            at = (slice(None), slice(None), slice(top, top + height), slice(left, left + width))
            structure = real[at]
            if not structure.any():
                continue
            yield FloatSegment(
                source,
                gain * _square(weight[at]),
                _square(alive[at] & structure),
                stride,
                (offset[0] + top, offset[1] + left),
                term.average,
                -1 if shortcut else int(structure.sum()),
                term.modules,
            )


def _stride(term: Term, size: Pair) -> int:
    """The one stride of both axes; along an axis of one output there is none."""
    stride = term.stride
    if stride[0] == stride[1] and stride[0] in STRIDES:
        return stride[0]
    found = {step for step, outputs in zip(stride, size, strict=True) if outputs > 1}
    if len(found) > 1 or not found <= set(STRIDES):
        own = ", ".join(f"{n}x{n}" for n in AVERAGES if n > 1)
        pools = f"; average pools of {own} that divide the spikes' map have none"
        raise Impossible(
            f"stride {stride[0]} of rows and {stride[1]} of columns; {STRIDES[0]} and "
            f"{STRIDES[1]}, the same for both, are possible{pools if term.pools else ''}"
        )
    return found.pop() if found else 1


def _read(term: Term, axis: int, outputs: int, stride: int, side: int) -> slice:
    """Kernel positions along an axis that meet the map at all."""
    extent = term.source.shape[1 + axis] // term.average
    first, last = term.offset[axis], term.offset[axis] + (outputs - 1) * stride
    start = max(0, -last)
    return slice(start, max(start + 1, min(side, extent - first)))


def _parts(side: int) -> list[tuple[int, int]]:
    """(first, length) of the parts of a side, of nearly the same length."""
    count = -(-side // _LARGEST)
    length = -(-side // count)
    return [(first, min(length, side - first)) for first in range(0, side, length)]


def _square(array: npt.NDArray[_T]) -> npt.NDArray[_T]:
    rows, columns = array.shape[2:]
    side = next(kernel for kernel in KERNELS if kernel >= max(rows, columns))
    if (rows, columns) == (side, side):
        return array
    out = np.zeros((*array.shape[:2], side, side), dtype=array.dtype)
    out[:, :, :rows, :columns] = array
    return out
