"""Forms: what a tensor in front of neurons is, as a linear function of spikes.

A form is a sum of terms and a bias. A term is a kernel over the spikes of one layer (or the
pixels): output (y, x) of filter f sums

    weight[f, c, r, s] * map[c, y * stride[0] + r + offset[0], x * stride[1] + s + offset[1]]

where `map` is the source, in blocks of average x average positions added up, and 0 outside.
Whatever is linear (convolution, batch norm, average pool, sum, concatenation) makes a form of a
form, exactly, or raises `Impossible` with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from evenspike_core.program import AVERAGES, KERNELS

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Pair = tuple[int, int]
_T = TypeVar("_T", bound=np.generic)


class Impossible(Exception):  # noqa: N818 - it becomes part of a message, not an error of its own
    """Why something has no form, and what would do."""


@dataclass(frozen=True, eq=False)
class Source:
    """Where spikes (or pixels) come from. shape: [C, H, W] of one timestep.

    changes : whether its values differ from timestep to timestep; a still image's do not.
    whole : the source of which this is the 2x2 max-pool.
    pixels : whether it holds bytes, not spikes; the host has no average pool for them.
    """

    name: str
    shape: tuple[int, int, int]
    changes: bool = True
    whole: Source | None = None
    pixels: bool = False


@dataclass(frozen=True, eq=False)
class Term:
    """One kernel over one source.

    weight : [F, C, KH, KW]; None for the identity, channel c into filter c, times `scale`, summed
        over a `window` of positions.
    alive : of its shape; False where the weight is pruned.
    real : of its shape; False where the network has no weight (other groups, gaps of a dilation).
    modules : paths of the modules whose weights it holds.
    pools : paths of the modules that average what the machine's own average pools cannot.
    """

    source: Source
    weight: Float | None
    alive: Bool | None = None
    real: Bool | None = None
    scale: float = 1.0
    window: Pair = (1, 1)
    stride: Pair = (1, 1)
    offset: Pair = (0, 0)
    average: int = 1
    modules: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()

    @property
    def pointwise(self) -> bool:
        """Whether each output reads the one position (or block) of its own coordinates."""
        sides = self.window if self.weight is None else self.weight.shape[2:]
        return tuple(sides) == (1, 1) and self.stride == (1, 1)

    def dense(self) -> tuple[Float, Bool, Bool]:
        """(weight, alive, real) as arrays, of an identity, too."""
        if self.weight is None:
            eye = np.eye(self.source.shape[0])[:, :, None, None]
            eye = np.tile(eye, (1, 1, *self.window))
            return self.scale * eye, eye != 0, eye != 0
        alive = self.weight != 0 if self.alive is None else self.alive
        real = np.ones(self.weight.shape, dtype=np.bool_) if self.real is None else self.real
        return self.weight, alive, real

    def bounded(self, size: Pair) -> bool:
        """Whether outputs beyond a map of `size` would read nothing of the source: zeros, then."""
        sides = self.window if self.weight is None else self.weight.shape[2:]
        extents = (n // self.average for n in self.source.shape[1:])
        axes = zip(self.offset, self.stride, sides, size, extents, strict=True)
        return all(
            at - step + side - 1 < 0 and at + n * step >= extent
            for at, step, side, n, extent in axes
        )


@dataclass(frozen=True, eq=False)
class Form:
    """A sum of terms and a bias [F], on a map of `size`."""

    terms: tuple[Term, ...]
    bias: Float
    size: Pair

    @property
    def channels(self) -> int:
        return int(self.bias.shape[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, *self.size)

    @property
    def changes(self) -> bool:
        return any(term.source.changes for term in self.terms)

    @property
    def spikes(self) -> Source | None:
        """The source, where the form is its spikes as they are, times a number above 0."""
        if len(self.terms) != 1 or self.bias.any():
            return None
        (term,) = self.terms
        plain = term.weight is None and term.scale > 0 and term.average == 1
        return term.source if plain and term.offset == (0, 0) and term.pointwise else None


@dataclass(frozen=True, eq=False)
class Pooled:
    """The largest of each 2x2 window of a form; only an encoder can have it in front of neurons."""

    form: Form

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width = self.form.size
        return self.form.channels, height // 2, width // 2

    @property
    def changes(self) -> bool:
        return self.form.changes


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution to apply. weight: [F, C, KH, KW] without gaps; `real` as in `Term`."""

    weight: Float
    alive: Bool
    real: Bool | None
    bias: Float
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    size: Pair = (1, 1)
    modules: tuple[str, ...] = field(default=())


def identity(source: Source, scale: float = 1.0) -> Form:
    term = Term(source, None, scale=scale)
    return Form((term,), np.zeros(source.shape[0]), source.shape[1:])


def dilated(array: npt.NDArray[Any], dilation: Pair) -> npt.NDArray[Any]:
    """A kernel [F, C, KH, KW] with gaps of zeros."""
    if dilation == (1, 1):
        return array
    filters, channels, *sides = array.shape
    reach = [(n - 1) * d + 1 for n, d in zip(sides, dilation, strict=True)]
    out = np.zeros((filters, channels, *reach), dtype=array.dtype)
    out[:, :, :: dilation[0], :: dilation[1]] = array
    return out


def grouped(array: npt.NDArray[Any], groups: int) -> npt.NDArray[Any]:
    """A kernel [F, C / groups, KH, KW] as [F, C, KH, KW] with zeros for the other groups."""
    if groups == 1:
        return array
    filters, channels, *sides = array.shape
    out = np.zeros((filters, channels * groups, *sides), dtype=array.dtype)
    each = filters // groups
    for g in range(groups):
        rows = slice(g * each, (g + 1) * each)
        out[rows, g * channels : (g + 1) * channels] = array[rows]
    return out


def convolve(form: Form, kernel: Kernel, share: float = 1.0) -> Form:
    """A convolution of a form. share: of its bias that a timestep gets."""
    padded = _beyond(form.size, kernel)
    if padded and form.bias.any():
        raise Impossible(
            "a convolution with padding behind a shift (a bias or a mean that is taken off): at "
            "the border the shift would be missing; give the first of the two its padding, or put "
            "the shift behind"
        )
    bias = share * kernel.bias
    if form.bias.any():
        bias = bias + kernel.weight.sum(axis=(2, 3)) @ form.bias
    terms = tuple(_composed(term, form.size, kernel, padded) for term in form.terms)
    return Form(terms, bias, kernel.size)


def _beyond(size: Pair, kernel: Kernel) -> bool:
    """Whether any output reads beyond a map; an even kernel with padding "same" does at its end."""
    sides = kernel.weight.shape[2:]
    axes = zip(size, kernel.padding, kernel.stride, sides, kernel.size, strict=True)
    return any(pad > 0 or (n - 1) * step + side > m for m, pad, step, side, n in axes)


def _composed(term: Term, size: Pair, kernel: Kernel, padded: bool) -> Term:
    offset = tuple(
        at - pad * step
        for at, pad, step in zip(term.offset, kernel.padding, term.stride, strict=True)
    )
    stride = tuple(one * two for one, two in zip(term.stride, kernel.stride, strict=True))
    if padded and not term.bounded(size):
        if term.weight is None and term.pools:
            height, width = (n // term.average for n in term.source.shape[1:])
            raise Impossible(
                f"a convolution with padding behind the average pool {', '.join(term.pools)} over "
                f"a map of {height}x{width}, whose windows of {term.window[0]}x{term.window[1]} "
                "overlap or leave a rest over: beyond the border there would be more of the map, "
                "not zeros; let the windows divide the map, put neurons between, or give the "
                "convolution padding 0"
            )
        raise Impossible(
            "a convolution with padding behind another convolution, without neurons between them: "
            "at the border the two are not one; put neurons between, or give it padding 0"
        )
    changed = replace(
        term,
        stride=(stride[0], stride[1]),
        offset=(offset[0], offset[1]),
        modules=term.modules + kernel.modules,
    )
    if term.weight is None:
        weight = kernel.weight if term.scale == 1.0 else kernel.weight * term.scale
        alive, real = kernel.alive, kernel.real
        if term.window != (1, 1):
            weight = _blurred(dilated(weight, term.stride), term.window)
            alive = _spread(dilated(alive, term.stride), term.window)
            real = None if real is None else _spread(dilated(real, term.stride), term.window)
        return replace(changed, weight=weight, alive=alive, real=real, scale=1.0, window=(1, 1))
    weight, _, real = term.dense()
    second = np.ones(kernel.weight.shape) if kernel.real is None else kernel.real
    joined = _through(kernel.weight, weight, term.stride)
    structure = _through(second.astype(np.float64), real.astype(np.float64), term.stride) > 0
    return replace(changed, weight=joined, alive=joined != 0, real=structure)


def _through(second: Float, first: Float, step: Pair) -> Float:
    """The kernel of two convolutions, the second reading every `step`th position of the first."""
    rows, columns = first.shape[2:]
    over, across = second.shape[2:]
    size = (rows + (over - 1) * step[0], columns + (across - 1) * step[1])
    out = np.zeros((second.shape[0], first.shape[1], *size))
    flat = first.reshape(first.shape[0], -1)
    for r in range(over):
        for s in range(across):
            part = (second[:, :, r, s] @ flat).reshape(-1, *first.shape[1:])
            y, x = r * step[0], s * step[1]
            out[:, :, y : y + rows, x : x + columns] += part
    return out


def scaled(form: Form, factor: Float, shift: Float) -> Form:
    """factor * form + shift, both [F]."""
    terms = []
    for term in form.terms:
        if term.weight is None and (factor == factor[0]).all():
            terms.append(replace(term, scale=term.scale * float(factor[0])))
            continue
        weight, alive, real = term.dense()
        terms.append(
            replace(term, weight=weight * factor[:, None, None, None], alive=alive, real=real)
        )
    return Form(tuple(terms), form.bias * factor + shift, form.size)


def added(one: Form, two: Form) -> Form:
    if one.shape != two.shape:
        raise Impossible(f"a sum of maps of {one.shape} and {two.shape}")
    return Form(one.terms + two.terms, one.bias + two.bias, one.size)


def joined(forms: list[Form]) -> Form:
    """Concatenation along the channels."""
    if len({form.size for form in forms}) != 1:
        raise Impossible("maps of different sizes cannot be concatenated")
    filters = sum(form.channels for form in forms)
    terms, first = [], 0
    for form in forms:
        rows = slice(first, first + form.channels)
        for term in form.terms:
            weight, alive, real = term.dense()
            terms.append(
                replace(
                    term,
                    weight=_among(weight, rows, filters),
                    alive=_among(alive, rows, filters),
                    real=_among(real, rows, filters),
                )
            )
        first += form.channels
    return Form(tuple(terms), np.concatenate([form.bias for form in forms]), forms[0].size)


def _among(array: npt.NDArray[_T], rows: slice, filters: int) -> npt.NDArray[_T]:
    """Some rows of an array whose others are 0."""
    out = np.zeros((filters, *array.shape[1:]), dtype=array.dtype)
    out[rows] = array
    return out


def selected(form: Form, rows: slice) -> Form:
    """Some of the channels."""
    terms = []
    for term in form.terms:
        weight, alive, real = term.dense()
        terms.append(replace(term, weight=weight[rows], alive=alive[rows], real=real[rows]))
    return Form(tuple(terms), form.bias[rows], form.size)


def padded(form: Form, before: Pair, after: Pair) -> Form:
    """Zeros around a map; negative numbers cut it: what is beyond then is no zeros (`bounded`)."""
    cut = max(*before, *after) <= 0
    if not cut and (form.bias.any() or not all(t.bounded(form.size) for t in form.terms)):
        raise Impossible(
            "zeros around anything but spikes; use the padding of the convolution behind"
        )
    if not cut and min(*before, *after) < 0:
        raise Impossible("a map that is cut at one border and gets zeros at another")
    terms = tuple(
        replace(
            term,
            offset=(
                term.offset[0] - before[0] * term.stride[0],
                term.offset[1] - before[1] * term.stride[1],
            ),
        )
        for term in form.terms
    )
    height, width = form.size
    size = (height + before[0] + after[0], width + before[1] + after[1])
    return Form(terms, form.bias, size)


def averaged(form: Form, window: Pair, stride: Pair, size: Pair, path: str = "") -> Form:
    """The mean over each window of positions; padding is zeros around the map, put on before.

    path : of the module, for messages.
    """
    terms = tuple(_averaged(term, form.size, window, stride, size, path) for term in form.terms)
    return Form(terms, form.bias, size)


def _averaged(term: Term, map_: Pair, window: Pair, stride: Pair, size: Pair, path: str) -> Term:
    share = 1.0 / prod(window)
    term = (
        replace(term, scale=term.scale * share)
        if term.weight is None
        else replace(term, weight=term.weight * share)
    )
    left: Pair = window
    whole = all(n % w == 0 for n, w in zip(map_, window, strict=True))
    alone = size == (1, 1) and window == map_
    blocks = term.pointwise and term.offset == (0, 0) and not term.source.pixels
    if blocks and whole and (stride == window or alone):
        sides = reversed([a for a in AVERAGES if term.average * a in AVERAGES])
        for side in sides:  # blocks that the machine adds up itself
            rest = [n // side for n in window]
            square = rest[0] == rest[1] and rest[0] in KERNELS
            if any(n % side for n in window) or not (square or side == 1):
                continue
            if rest != [1, 1] and not alone:
                continue
            term = replace(term, average=term.average * side)
            left = (rest[0], rest[1])
            stride = (1, 1) if alone or left == (1, 1) else stride
            break
    if left == (1, 1):
        return term
    if path:
        term = replace(term, pools=(*term.pools, path))
    steps = term.stride[0] * stride[0], term.stride[1] * stride[1]
    if term.weight is None and term.window == (1, 1):
        return replace(term, window=left, stride=steps)
    weight, alive, real = term.dense()
    return replace(
        term,
        weight=_blurred(weight, left, term.stride),
        alive=_spread(alive, left, term.stride),
        real=_spread(real, left, term.stride),
        scale=1.0,
        window=(1, 1),
        stride=steps,
    )


def _blurred(weight: Float, window: Pair, step: Pair = (1, 1)) -> Float:
    """A kernel summed over a window of its outputs, which are `step` apart."""
    rows, columns = weight.shape[2:]
    reach = [(n - 1) * s for n, s in zip(window, step, strict=True)]
    out = np.zeros((*weight.shape[:2], rows + reach[0], columns + reach[1]))
    for y in range(0, reach[0] + 1, step[0]):
        for x in range(0, reach[1] + 1, step[1]):
            out[:, :, y : y + rows, x : x + columns] += weight
    return out


def _spread(pattern: Bool, window: Pair, step: Pair = (1, 1)) -> Bool:
    """Where `_blurred` of a pattern is not 0."""
    found: Bool = _blurred(pattern.astype(np.float64), window, step) > 0
    return found


def linear(form: Form, weight: Float, alive: Bool, modules: tuple[str, ...]) -> Kernel:
    """A linear layer over all of a map, [F, C * H * W] in its order, as a kernel."""
    shape = (weight.shape[0], *form.shape)
    return Kernel(
        weight.reshape(shape), alive.reshape(shape), None, np.zeros(shape[0]), modules=modules
    )
