"""Convolutions, linear layers and batch norms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from evenspike_core.errors import EvenspikeError
from evenspike_train.lowering import forms
from evenspike_train.lowering.axes import expected, flat, named
from evenspike_train.lowering.forms import Form, Impossible, Kernel, Pooled
from evenspike_train.lowering.rules.call import (
    Call,
    bias_share,
    form_of,
    map_axes,
    pair_of,
    rule,
)
from evenspike_train.lowering.values import Content, Value
from evenspike_train.lowering.weights import alive_of, array_of


@rule("conv2d")
def _conv2d(
    call: Call,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    value = call.value(input)
    if value is None or call.value(weight) is not None:
        raise Impossible("a convolution with an activation for its weights")
    form = form_of(value, "a convolution")
    lead = map_axes(value, form, input.shape, "a convolution")
    step, gap = pair_of(stride), pair_of(dilation)
    sides = [int(n) for n in weight.shape[2:]]
    if padding == "valid":
        pad = (0, 0)
    elif padding == "same":
        rows, columns = ((n - 1) * d // 2 for n, d in zip(sides, gap, strict=True))
        pad = (rows, columns)
    else:
        pad = pair_of(padding)
    out = call.outputs[0]
    size = (int(out.shape[-2]), int(out.shape[-1]))
    share = bias_share(value)

    def make() -> Form:
        numbers = array_of(weight, call.named("weight"))
        alive = alive_of(call.recorder.module, weight, numbers)
        real = None
        if groups > 1 or gap != (1, 1):
            ones = np.ones(numbers.shape, dtype=np.bool_)
            real = forms.dilated(forms.grouped(ones, groups), gap)
        kernel = Kernel(
            forms.dilated(forms.grouped(numbers, groups), gap),
            forms.dilated(forms.grouped(alive, groups), gap),
            real,
            _bias(call, bias, numbers.shape[0]),
            step,
            pad,
            size,
            (call.recorder.path,),
        )
        return forms.convolve(form, kernel, share)

    key = ("conv2d", form, weight, bias, step, pad, gap, groups, share)
    content = call.form(key, make)
    return value.of(content, (*lead, *named("CHW", content.shape)))


def _bias(call: Call, bias: Tensor | None, filters: int) -> forms.Float:
    return np.zeros(filters) if bias is None else array_of(bias, call.named("bias"))


@rule("linear")
def _linear(
    call: Call,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
) -> Value:
    value = call.value(input)
    if value is None or call.value(weight) is not None:
        raise Impossible("a product of activations with each other")
    form = form_of(value, "a linear layer")
    order = flat(value.dims[-1:])
    here, wanted = set(order), set(expected(form.shape, "CHW"))
    lead = value.dims[:-1]
    over_map = here == wanted
    if not over_map and order not in ("C", ""):
        raise Impossible(
            f"a linear layer over {order} of maps {form.shape}; it takes all of a map, flattened, "
            "or the channels of each position"
        )
    share = bias_share(value)

    def make() -> Form:
        numbers = array_of(weight, call.named("weight"))
        alive = alive_of(call.recorder.module, weight, numbers)
        filters = numbers.shape[0]
        if over_map:
            numbers, alive = (_ordered(one, order, form.shape) for one in (numbers, alive))
            kernel = forms.linear(form, numbers, alive, (call.recorder.path,))
            size = (1, 1)
        else:
            one = (filters, form.channels, 1, 1)
            kernel = Kernel(
                numbers.reshape(one),
                alive.reshape(one),
                None,
                np.zeros(filters),
                modules=(call.recorder.path,),
            )
            size = form.size
        kernel = replace(kernel, bias=_bias(call, bias, filters), size=size)
        return forms.convolve(form, kernel, share)

    content = call.form(("linear", form, weight, bias, order, share), make)
    return value.of(content, (*lead, *named("C", content.shape[:1])))


def _ordered(weight: Any, order: str, shape: tuple[int, int, int]) -> Any:
    """Columns of a linear layer over axes in `order` as over C, H, W."""
    sizes = dict(zip("CHW", shape, strict=True))
    split = weight.reshape(weight.shape[0], *(sizes[name] for name in order))
    axes = [order.index(name) + 1 for name in "CHW" if name in order]
    return split.transpose(0, *axes).reshape(weight.shape[0], -1)


@rule("matmul", "mm")
def _matmul(call: Call, one: Tensor, two: Tensor) -> Value:
    if call.value(one) is not None and call.value(two) is None and two.dim() == 2:
        return _linear(call, one, two.t())
    raise Impossible("a product of activations with each other, as in attention")


@rule("batch_norm")
def _batch_norm(
    call: Call,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Value:
    value = call.value(input)
    if value is None:
        raise Impossible("a batch norm whose parameters are activations")
    if training or running_mean is None or running_var is None:
        raise Impossible(
            "a batch norm without running statistics takes those of the batch; set "
            "track_running_stats=True"
        )
    if flat(value.dims[1:2]) not in ("C", ""):
        raise Impossible(f"a batch norm over {flat(value.dims[1:2])}, not over channels")
    share = bias_share(value)

    def make() -> Content:
        path = call.recorder.path
        mean = array_of(running_mean, f"{path}.running_mean")
        variance = array_of(running_var, f"{path}.running_var")
        if (variance < 0).any():
            raise EvenspikeError(f"{path}.running_var: holds negative values")
        factor = 1.0 / np.sqrt(variance + eps)
        if weight is not None:
            factor = array_of(weight, f"{path}.weight") * factor
        shift = -mean * factor
        if bias is not None:
            shift = shift + array_of(bias, f"{path}.bias")
        return scaled(value.content, factor, shift * share)

    key = ("batch_norm", value.content, running_mean, running_var, weight, bias, eps, share)
    return value.of(call.recorder.content(key, make))


def scaled(content: Content, factor: forms.Float, shift: forms.Float) -> Content:
    if isinstance(content, Pooled):
        if (factor <= 0).any():
            raise Impossible(
                "a factor of 0 or below behind a max-pool turns it into another pool; put the pool "
                "behind the neurons"
            )
        return Pooled(forms.scaled(content.form, factor, shift))
    if isinstance(content, Form):
        return forms.scaled(content, factor, shift)
    raise Impossible("arithmetic with a membrane; only spikes go on from layer to layer")
