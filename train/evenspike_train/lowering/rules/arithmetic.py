"""What is added to activations, and what they are multiplied with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
from torch import Tensor

from evenspike_train.lowering import forms
from evenspike_train.lowering.axes import flat, reshaped
from evenspike_train.lowering.forms import Impossible
from evenspike_train.lowering.rules.call import Call, bias_share, form_of, rule
from evenspike_train.lowering.rules.layers import scaled
from evenspike_train.lowering.values import Broken, Membrane, Value
from evenspike_train.lowering.weights import array_of


def _constant(call: Call, number: Any, value: Value) -> forms.Float:
    """A number, or one for each channel, as [F] or [1]."""
    if not isinstance(number, Tensor):
        return np.array([float(number)])
    numbers = array_of(number, f"{call.recorder.path}: a constant")
    if numbers.size == 1:
        return numbers.reshape(1)
    if not numbers.any():
        return np.zeros(1)
    dims = value.dims[-number.dim() :]
    wide = [i for i, n in enumerate(number.shape) if n > 1]
    if len(wide) != 1 or number.dim() > len(value.dims) or flat((dims[wide[0]],)) != "C":
        raise Impossible(
            f"a constant of {tuple(number.shape)}; one number, or one for each channel, is possible"
        )
    return numbers.reshape(-1)


def _arithmetic(call: Call, value: Value, what: str, numbers: forms.Float) -> Value:
    content = value.content
    if isinstance(content, Membrane):
        raise Impossible("arithmetic with a membrane; only spikes go on from layer to layer")
    if isinstance(content, Broken):
        return value
    filters = content.shape[0]
    full = np.broadcast_to(numbers, (filters,))
    ones, zeros = np.ones(filters), np.zeros(filters)
    if what == "add":
        if not full.any():
            return value
        pair = ones, full * bias_share(value)
    else:
        if not np.isfinite(full).all():
            raise Impossible("a division by zero")
        single = float(full[0])
        if isinstance(value.when, frozenset) and (full == single).all() and single > 0:
            return replace(value, share=value.share * single)
        pair = full, zeros
    key = (what, content, tuple(full), bias_share(value))
    return value.of(call.recorder.content(key, lambda: scaled(content, *pair)))


def _added(call: Call, one: Value, two: Value, output: Tensor) -> Value:
    if isinstance(one.content, Membrane) or isinstance(two.content, Membrane):
        raise Impossible("arithmetic with a membrane; only spikes go on from layer to layer")
    first, second = form_of(one, "a sum"), form_of(two, "a sum")
    if one.when != two.when and first is second and first.changes:
        sets = [v.when if isinstance(v.when, frozenset) else {v.when} for v in (one, two)]
        if None in sets[0] | sets[1] or sets[0] & sets[1] or one.share != two.share:
            raise Impossible("a sum of a timestep with all of them")
        return one.of(first, when=frozenset(cast("set[int]", sets[0] | sets[1])))
    whens = {v.when for v, f in ((one, first), (two, second)) if f.changes or v.when is not None}
    if len(whens) > 1:
        raise Impossible(
            "a sum of different timesteps: recurrence, or a delay; only what comes from the same "
            "timestep can meet"
        )
    if any(isinstance(when, frozenset) for when in whens) and one.share != two.share:
        raise Impossible("a sum of means over timesteps with different factors")
    dims = max((one.dims, two.dims), key=lambda d: len(flat(d)))
    names = {flat(one.dims).replace("T", ""), flat(two.dims).replace("T", "")}
    if len(names) > 1 or reshaped(dims, output.shape) is None:
        raise Impossible("a sum of activations with different dimensions")
    content = call.recorder.content(("sum", first, second), lambda: forms.added(first, second))
    when = next(iter(whens), None)
    return one.of(content, dims, when=when)


@rule("add")
def _add(call: Call, one: Any, two: Any, *, alpha: float = 1.0, **_: Any) -> Value:
    left, right = call.value(one), call.value(two)
    if right is not None and alpha != 1.0:
        right = _arithmetic(call, right, "mul", np.array([float(alpha)]))
    if left is not None and right is not None:
        return _added(call, left, right, call.outputs[0])
    value, other = (left, two) if left is not None else (call.required(two), one)
    numbers = _constant(call, other, value)
    if left is not None:
        numbers = numbers * alpha
    return _checked(_arithmetic(call, value, "add", numbers), call.outputs[0])


@rule("sub")
def _sub(call: Call, one: Any, two: Any, *, alpha: float = 1.0, **_: Any) -> Value:
    return _add(call, one, two, alpha=-alpha)


@rule("rsub")
def _rsub(call: Call, one: Any, two: Any) -> Value:
    return _add(call, two, one, alpha=-1.0)


@rule("neg")
def _neg(call: Call, one: Any) -> Value:
    return _mul(call, one, -1.0)


@rule("mul")
def _mul(call: Call, one: Any, two: Any, **_: Any) -> Value:
    left, right = call.value(one), call.value(two)
    if left is not None and right is not None:
        raise Impossible("a product of activations with each other, as in attention or a gate")
    value, other = (left, two) if left is not None else (call.required(two), one)
    numbers = _constant(call, other, value)
    return _checked(_arithmetic(call, value, "mul", numbers), call.outputs[0])


@rule("div")
def _div(call: Call, one: Any, two: Any, **kwargs: Any) -> Value:
    value = call.value(one)
    if value is None or call.value(two) is not None or kwargs.get("rounding_mode"):
        raise Impossible("a division by an activation, or one that rounds")
    with np.errstate(divide="ignore"):
        numbers = 1.0 / _constant(call, two, value)
    return _checked(_arithmetic(call, value, "mul", numbers), call.outputs[0])


def _checked(value: Value, output: Tensor) -> Value:
    dims = reshaped(value.dims, output.shape)
    if dims is None:
        raise Impossible("a constant that is wider than the activation")
    return replace(value, dims=dims)
