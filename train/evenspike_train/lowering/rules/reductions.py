"""Sums and means over timesteps or positions, and what is left out: softmax and dropout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from evenspike_train.lowering import forms
from evenspike_train.lowering.axes import Dims, expected, flat
from evenspike_train.lowering.forms import Form, Impossible, Pooled
from evenspike_train.lowering.rules.call import Call, dimension, form_of, rule
from evenspike_train.lowering.values import Membrane, Value


@rule("mean")
def _mean(
    call: Call,
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    **_: Any,
) -> Value:
    return _reduced(call, input, dim, keepdim, mean=True)


@rule("sum")
def _sum(
    call: Call,
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    **_: Any,
) -> Value:
    return _reduced(call, input, dim, keepdim, mean=False)


def _reduced(call: Call, input: Tensor, dim: Any, keepdim: bool, mean: bool) -> Value:
    value = call.required(input)
    if dim is None:
        raise Impossible("a sum over everything")
    count = len(value.dims)
    gone = {dimension(int(d), count) for d in (dim if isinstance(dim, (list, tuple)) else [dim])}
    names = flat(tuple(value.dims[i] for i in sorted(gone)))
    dims = tuple(
        () if i in gone else axes for i, axes in enumerate(value.dims) if keepdim or i not in gone
    )
    if not names:
        return replace(value, dims=dims)
    if names == "T":
        steps = sum(size for i in gone for _, size in value.dims[i])
        return _over_time(value, dims, steps, mean)
    form = form_of(value, "a mean")
    if set(names) != set(expected(form.size, "HW")):
        raise Impossible(
            f"a mean over {names}; over timesteps, or rows and columns, it is possible"
        )
    content = call.form(("positions", form, mean), lambda: _over_positions(form, mean=mean))
    return value.of(content, dims)


def _over_positions(form: Form, *, mean: bool) -> Form:
    found = forms.averaged(form, form.size, form.size, (1, 1))
    if mean:
        return found
    positions = float(form.size[0] * form.size[1])
    return forms.scaled(found, np.full(found.channels, positions), np.zeros(found.channels))


def _over_time(value: Value, dims: Dims, steps: int, mean: bool) -> Value:
    content = value.content
    if isinstance(content, Membrane):
        raise Impossible("a sum over the membranes of all timesteps; the last one can be read")
    if isinstance(content, (Form, Pooled)) and not content.changes:
        raise Impossible("a sum over timesteps at which nothing changes")
    share = value.share / steps if mean else value.share
    return value.of(content, dims, when=frozenset(range(steps)), share=share)


@rule("softmax", "log_softmax")
def _softmax(call: Call, input: Tensor, *_: Any, **__: Any) -> Value:
    value = call.required(input)
    if not isinstance(value.when, frozenset):
        raise Impossible(
            "a softmax of each timestep by itself; one of the sum over the timesteps changes no "
            "decision, and is left out"
        )
    return replace(value, final=True)


@rule(
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_dropout",
)
def _dropout(
    call: Call,
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    *_: Any,
    **__: Any,
) -> Value:
    if training and p > 0:
        raise Impossible("dropout outside of training")
    return call.required(input)
