"""Exceeding: a comparison with a threshold, and where it is a max-pool.

A sum over 2x2 spikes is above a threshold from 0 to below one spike where any of the four fires.
Nothing else that is compared has a form: neurons are modules that are registered.
"""

from __future__ import annotations

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from evenspike_train.lowering import forms
from evenspike_train.lowering.axes import named
from evenspike_train.lowering.forms import Form, Impossible, Source
from evenspike_train.lowering.rules.call import Call, form_of, map_axes, rule
from evenspike_train.lowering.values import Value


def exceeds(x: Tensor, threshold: Tensor) -> Tensor:
    """1 where `x` is above the threshold, else 0; followed as a function of its own."""
    if has_torch_function_unary(x):
        followed: Tensor = handle_torch_function(exceeds, (x,), x, threshold)
        return followed
    return (x.double() > threshold.to(x.device)).to(x.dtype)


def summed(form: Form) -> tuple[Source, float] | None:
    """The spikes of which a form is the sum over 2x2, each as so much; None for any other form."""
    if len(form.terms) != 1 or form.bias.any():
        return None
    (term,) = form.terms
    source = term.source
    blocks = (term.average, term.window, term.stride) == (2, (1, 1), (1, 1))
    windows = (term.average, term.window, term.stride) == (1, (2, 2), (2, 2))
    whole = form.size == (source.shape[1] // 2, source.shape[2] // 2)
    plain = term.weight is None and term.offset == (0, 0) and term.scale > 0 and not source.pixels
    return (source, term.scale) if plain and whole and (blocks or windows) else None


@rule("exceeds")
def _exceeds(call: Call, x: Tensor, threshold: Tensor) -> Value:
    value = call.required(x)
    form = form_of(value, "a threshold")
    lead = map_axes(value, form, x.shape, "a threshold")
    found = summed(form)
    if found is None or not 0 <= float(threshold.min()) <= float(threshold.max()) < found[1]:
        raise Impossible(
            "a threshold that is no max-pool: that is one from 0 to below a spike, over a sum of "
            "2x2 spikes"
        )
    source = found[0]
    content = call.form(("exceeds", form), lambda: forms.identity(call.recorder.pooled(source)))
    return value.of(content, (*lead, *named("CHW", content.shape)))


__all__ = ["exceeds"]
