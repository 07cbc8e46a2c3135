"""Average pools, max-pools and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from evenspike_train.lowering import forms
from evenspike_train.lowering.axes import flat, named
from evenspike_train.lowering.forms import Form, Impossible, Kernel, Pooled
from evenspike_train.lowering.rules.call import Call, form_of, map_axes, pair_of, rule
from evenspike_train.lowering.values import Value


@rule("avg_pool2d")
def _avg_pool2d(
    call: Call,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    value = call.required(input)
    form = form_of(value, "an average pool")
    lead = map_axes(value, form, input.shape, "an average pool")
    window, pad = pair_of(kernel_size), pair_of(padding)
    step = window if stride is None or stride == [] else pair_of(stride)
    size = (int(call.outputs[0].shape[-2]), int(call.outputs[0].shape[-1]))
    floors = tuple(
        (n + 2 * p - w) // s + 1 for n, p, w, s in zip(form.size, pad, window, step, strict=True)
    )
    if ceil_mode and size != floors:
        raise Impossible("an average pool whose last window hangs over the map (ceil_mode)")
    if pad != (0, 0) and not count_include_pad:
        raise Impossible("an average pool that does not count its padding (count_include_pad)")
    factor = 1.0 if divisor_override is None else window[0] * window[1] / divisor_override

    def make() -> Form:
        inner = forms.padded(form, pad, pad) if pad != (0, 0) else form
        found = forms.averaged(inner, window, step, size, call.recorder.path)
        if factor == 1.0:
            return found
        return forms.scaled(found, np.full(found.channels, factor), np.zeros(found.channels))

    key = ("average", form, window, step, pad, factor)
    content = call.form(key, make)
    return value.of(content, (*lead, *named("CHW", content.shape)))


@rule("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(
    call: Call,
    input: Tensor,
    output_size: Any,
) -> Value:
    size = call.outputs[0].shape[-2:]
    map_ = input.shape[-2:]
    if any(n % m for n, m in zip(map_, size, strict=True)):
        raise Impossible(
            f"an adaptive average pool of {tuple(map_)} to {tuple(size)}, whose windows overlap; a "
            "size that divides the map's is possible"
        )
    window = (map_[0] // size[0], map_[1] // size[1])
    return _avg_pool2d(call, input, window)


@rule("avg_pool1d")
def _avg_pool1d(
    call: Call,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    *_: Any,
    **__: Any,
) -> Value:
    """The mean over channels that are neighbours: the votes for a class."""
    value = call.required(input)
    form = form_of(value, "an average over channels")
    window = pair_of(kernel_size)[0]
    step = window if stride is None or stride == () else pair_of(stride)[0]
    votes = int(call.outputs[0].shape[-1])
    if flat(value.dims[-1:]) != "C" or form.size != (1, 1) or step != window:
        raise Impossible("an average over one dimension that is not the channels in groups")

    def make() -> Form:
        pattern = np.zeros((votes, form.channels, 1, 1), dtype=np.bool_)
        for one in range(votes):
            pattern[one, one * window : (one + 1) * window] = True
        return forms.convolve(form, Kernel(pattern / window, pattern, pattern, np.zeros(votes)))

    content = call.form(("votes", form, window), make)
    return value.of(content, (*value.dims[:-1], *named("C", [votes])))


@rule("max_pool2d")
def _max_pool2d(
    call: Call,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    value = call.required(input)
    form = form_of(value, "a max-pool")
    lead = map_axes(value, form, input.shape, "a max-pool")
    window = pair_of(kernel_size)
    step = window if stride is None or stride == [] else pair_of(stride)
    if window == (1, 1) and step == (1, 1):
        return value
    if (window, step, pair_of(padding), pair_of(dilation)) != ((2, 2), (2, 2), (0, 0), (1, 1)):
        raise Impossible(
            f"a max-pool of {window} with stride {step}, padding {pair_of(padding)}; 2x2 with "
            "stride 2 and without padding is possible"
        )
    if ceil_mode and any(n % 2 for n in form.size):
        raise Impossible("a max-pool whose last window hangs over the map (ceil_mode)")
    if min(form.size) < 2:
        raise Impossible(f"a max-pool of a map of {form.size}")
    spikes = form.spikes
    content: Form | Pooled
    if spikes is not None and not spikes.pixels:
        content = call.form(
            ("max", form), lambda: forms.identity(call.recorder.pooled(spikes), form.terms[0].scale)
        )
    elif all(term.source.pixels for term in form.terms):
        content = call.recorder.pooled_form(form)
    else:
        raise Impossible(
            "a max-pool in front of the neurons, which is not the same as one behind them; train "
            "with it behind the neurons, or with an average pool"
        )
    return value.of(content, (*lead, *named("CHW", content.shape)))


@rule("pad")
def _pad(
    call: Call,
    input: Tensor,
    pad: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> Value:
    found = call.required(input)
    if mode != "constant" or value:
        what = f"padding mode {mode!r}" if mode != "constant" else f"padding with {value}"
        raise Impossible(f"{what}; zeros are possible")
    form = form_of(found, "padding")
    lead = map_axes(found, form, input.shape, "padding")
    if len(pad) not in (2, 4):
        raise Impossible("padding of other dimensions than rows and columns")
    left, right, top, bottom = (*pad, 0, 0)[:4]
    content = call.form(
        ("pad", form, tuple(pad)), lambda: forms.padded(form, (top, left), (bottom, right))
    )
    return found.of(content, (*lead, *named("CHW", content.shape)))
