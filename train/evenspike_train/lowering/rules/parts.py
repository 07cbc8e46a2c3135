"""Parts of tensors: timesteps and channels taken out, put together, copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from torch import Tensor

from evenspike_train.lowering import forms
from evenspike_train.lowering.axes import Axis, Dims, expected, flat, named
from evenspike_train.lowering.forms import Form, Impossible, Pooled
from evenspike_train.lowering.rules.call import Call, dimension, form_of, rule
from evenspike_train.lowering.values import Content, Membrane, Value

if TYPE_CHECKING:
    from evenspike_train.lowering.recorder import Recorder


def of_time(recorder: Recorder, values: Sequence[Value]) -> Content:
    """The content of values of timestep 0, 1, ... together; raises `Impossible` for others."""
    contents = [value.content for value in values]
    first = contents[0]
    if all(isinstance(one, Membrane) for one in contents):
        layers = {id(cast("Membrane", one).neurons) for one in contents}
        times = [cast("Membrane", one).at for one in contents]
        if len(layers) > 1 or times != list(range(len(times))):
            raise Impossible("membranes of different layers, or not in the order of time, together")
        recorder.time(len(times))
        return Membrane(cast("Membrane", first).neurons, -1)
    if any(one is not first for one in contents):
        raise Impossible("different activations together along a new dimension")
    whens = [value.when for value in values]
    constant = isinstance(first, (Form, Pooled)) and not first.changes
    if whens != list(range(len(whens))) and not (constant and set(whens) == {None}):
        raise Impossible("timesteps that are not in their order, or not all, together")
    recorder.time(len(whens))
    return first


@rule("stack")
def _stack(call: Call, tensors: Sequence[Tensor], dim: int = 0) -> Value:
    values = [call.value(one) for one in tensors]
    if any(value is None for value in values):
        raise Impossible("activations and constants together along a new dimension")
    known = cast("list[Value]", values)
    content = of_time(call.recorder, known)
    at = dimension(dim, call.outputs[0].dim())
    dims = known[0].dims
    final = any(value.final for value in known)
    return Value(content, (*dims[:at], *named("T", [len(known)]), *dims[at:]), None, final=final)


@rule("cat", "concat", "concatenate")
def _cat(call: Call, tensors: Sequence[Tensor], dim: int = 0) -> Value:
    values = [call.value(one) for one in tensors]
    if any(value is None for value in values):
        raise Impossible("activations and constants concatenated")
    known = cast("list[Value]", values)
    at = dimension(dim, call.outputs[0].dim())
    if all(not value.dims[at] for value in known) and all(
        isinstance(value.when, int) for value in known
    ):  # timesteps of one entry each
        content = of_time(call.recorder, known)
        dims = known[0].dims
        return Value(content, (*dims[:at], *named("T", [len(known)]), *dims[at + 1 :]))
    parts = [form_of(value, "a concatenation") for value in known]
    for value, part in zip(known, parts, strict=True):
        if flat((value.dims[at],)) != expected(part.shape[:1], "C"):
            raise Impossible("a concatenation along another dimension than the channels")
    whens = {v.when for v, f in zip(known, parts, strict=True) if f.changes}
    if len(whens) > 1 or any(isinstance(when, frozenset) for when in whens):
        raise Impossible("a concatenation of different timesteps")
    content = call.form(("cat", *parts), lambda: forms.joined(parts))
    dims = known[0].dims
    channels = named("C", [content.channels])
    return Value(content, (*dims[:at], *channels, *dims[at + 1 :]), next(iter(whens), None))


def _at(value: Value, t: int, dims: Dims) -> Value:
    """One timestep of a value that has an axis of them."""
    content = value.content
    if isinstance(content, Membrane):
        return Value(Membrane(content.neurons, t), dims, t, final=value.final)
    changes = isinstance(content, (Form, Pooled)) and content.changes
    return value.of(content, dims, when=t if changes else None)


@rule("unbind")
def _unbind(
    call: Call,
    input: Tensor,
    dim: int = 0,
) -> Sequence[Value]:
    value = call.required(input)
    at = dimension(dim, len(value.dims))
    return [_index(call, value, [slice(None)] * at + [i]) for i in range(len(call.outputs))]


@rule("chunk", "split", "tensor_split", "split_with_sizes")
def _split(
    call: Call,
    input: Tensor,
    _: Any,
    dim: int = 0,
) -> Sequence[Value]:
    value = call.required(input)
    at = dimension(dim, len(value.dims))
    found, first = [], 0
    for one in call.outputs:
        size = int(one.shape[at])
        found.append(_index(call, value, [slice(None)] * at + [slice(first, first + size)]))
        first += size
    return found


@rule("select")
def _select(
    call: Call,
    input: Tensor,
    dim: int,
    index: int,
) -> Value:
    value = call.required(input)
    return _index(call, value, [slice(None)] * dimension(dim, len(value.dims)) + [int(index)])


@rule("narrow")
def _narrow(
    call: Call,
    input: Tensor,
    dim: int,
    start: int,
    length: int,
) -> Value:
    value = call.required(input)
    at = dimension(dim, len(value.dims))
    return _index(call, value, [slice(None)] * at + [slice(start, start + length)])


@rule("__getitem__")
def _getitem(call: Call, input: Tensor, index: Any) -> Value:
    value = call.value(input)
    if value is None:
        raise Impossible("an activation as an index")
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in [p for p in parts if not isinstance(p, Tensor)]:
        at = next(i for i, p in enumerate(parts) if p is Ellipsis)
        used = sum(p is not None for p in parts) - 1
        parts[at : at + 1] = [slice(None)] * (len(value.dims) - used)
    return _index(call, value, parts)


def _index(call: Call, value: Value, parts: list[Any]) -> Value:
    dims: list[tuple[Axis, ...]] = []
    left = list(value.dims)
    for part in parts:
        if part is None:
            dims.append(())
            continue
        axes = left.pop(0)
        if isinstance(part, int) and not isinstance(part, bool):
            if not axes:
                continue
            if flat((axes,)) != "T":
                raise Impossible(f"one entry of {flat((axes,))} alone")
            value = _at(value, part % axes[0][1], value.dims)
            continue
        if not isinstance(part, slice):
            raise Impossible("an index of tensors")
        length = int(np.prod([size for _, size in axes], dtype=np.int64))
        taken = range(length)[part]
        if taken == range(length):
            dims.append(axes)
        elif flat((axes,)) == "C" and taken.step == 1 and isinstance(value.content, Form):
            form = value.content
            rows = slice(taken.start, taken.stop)
            content = call.recorder.content(
                ("rows", form, taken.start, taken.stop),
                lambda form=form, rows=rows: forms.selected(form, rows),  # type: ignore[misc]
            )
            value = value.of(content)
            dims.append(named("C", [len(taken)])[0])
        elif flat((axes,)) == "T" and len(taken) == 1:
            value = _at(value, taken.start, value.dims)
            dims.append(())
        else:
            raise Impossible(f"some entries of {flat((axes,))} alone")
    return replace(value, dims=(*dims, *left))


@rule("expand", "expand_as", "broadcast_to", "repeat", "tile")
def _expand(call: Call, input: Tensor, *_: Any, **__: Any) -> Value:
    value = call.required(input)
    out = call.outputs[0]
    dims: list[Any] = [()] * (out.dim() - len(value.dims)) + list(value.dims)
    sizes = [1] * (out.dim() - input.dim()) + list(input.shape)
    content = value.content
    for i, (size, wanted) in enumerate(zip(sizes, out.shape, strict=True)):
        if size == wanted:
            continue
        if (isinstance(content, (Form, Pooled)) and content.changes) or "T" in flat(tuple(dims)):
            raise Impossible("copies of an activation along a dimension")
        if size != 1 and i:
            raise Impossible("copies of an activation along a dimension that is not time")
        call.recorder.time(wanted // size)
        dims[i] = (*named("T", [wanted // size])[0], *dims[i])
    return value.of(content, tuple(dims))
