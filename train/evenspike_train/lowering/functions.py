"""Functions: torch's own, by name, and how their results become known.

A function without a rule gives a tensor that has no form; that is an error only where the network's
output depends on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evenspike_train.lowering.axes import Dims, named, reshaped
from evenspike_train.lowering.forms import Form, Impossible
from evenspike_train.lowering.rules import (
    arithmetic,
    exceeding,
    layers,
    parts,
    pools,
    reductions,
)
from evenspike_train.lowering.rules.call import RULES, Call
from evenspike_train.lowering.values import Broken, Membrane, Value

if TYPE_CHECKING:
    from evenspike_train.lowering.recorder import Recorder

_RULE_FILES = (arithmetic, exceeding, layers, parts, pools, reductions)
"""Importing them has filled `RULES`."""

_CONSTANTS = frozenset(
    (
        "zeros_like",
        "ones_like",
        "empty_like",
        "full_like",
        "rand_like",
        "randn_like",
        "new_zeros",
        "new_ones",
        "new_empty",
        "new_full",
        "new_tensor",
    )
)
_LIKE = frozenset(("to", "type_as", "expand_as", "view_as", "reshape_as"))
"""Functions that take nothing but the shape or the type of their second tensor."""

KERNELS = frozenset(
    ("conv2d", "linear", "matmul", "mm", "avg_pool2d", "adaptive_avg_pool2d", "mean")
)
"""Functions that make kernels, of which a layer is assembled later."""

_SAME = frozenset(
    (
        "clone",
        "detach",
        "detach_",
        "contiguous",
        "float",
        "double",
        "to",
        "type",
        "type_as",
        "cpu",
        "cuda",
        "requires_grad_",
        "alias",
        "get.data",
        "get.real",
        "positive",
        "identity",
    )
)
_REGROUPED = frozenset(
    ("flatten", "unflatten", "view", "view_as", "reshape", "reshape_as", "squeeze", "unsqueeze")
)
_PERMUTED = frozenset(
    ("permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims", "t", "get.T", "get.mT")
)
_LAYOUTS = frozenset(("stack", "cat", "__getitem__", "select", "unbind"))


def name_of(func: Any) -> str:
    """The function's name; of an attribute `get.NAME`, of an operator in place the plain one's."""
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        return f"get.{func.__self__.__name__}"
    if name.startswith("__"):
        plain = name.strip("_")
        operators = ("add", "sub", "mul", "truediv", "matmul")
        for prefix in ("", "r", "i"):
            if plain.startswith(prefix) and plain.removeprefix(prefix) in operators:
                short = plain.removeprefix(prefix).replace("truediv", "div")
                return "r" + short if prefix == "r" and short in ("sub", "div") else short
        return name
    if name.endswith("_") and name.removesuffix("_") in RULES:
        return name.removesuffix("_")
    return {"true_divide": "div", "subtract": "sub", "multiply": "mul", "divide": "div"}.get(
        name, name
    )


def in_place(func: Any) -> bool:
    """Whether a function changes its first argument."""
    name = str(getattr(func, "__name__", ""))
    if name.startswith("__"):
        return name.startswith("__i") and name not in ("__index__", "__int__", "__invert__")
    return name.endswith("_")


def follow(
    recorder: Recorder, name: str, args: Any, kwargs: Any, given: list[Value], result: Any
) -> list[tuple[Tensor, Value]]:
    """The tensors of a result with their values."""
    outputs = _outputs(result)
    if name in _CONSTANTS:
        return []
    if name in _LIKE and args and recorder[args[0]] is None:
        return []
    broken = next((value for value in given if isinstance(value.content, Broken)), None)
    if broken is not None:
        return [(one, replace(broken, dims=())) for one in outputs]
    try:
        found = _found(recorder, name, args, kwargs, outputs)
    except Impossible as error:
        found = [recorder.broken(str(error))] * len(outputs)
    return list(zip(outputs, found, strict=True))


def _outputs(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return [one for one in result if isinstance(one, Tensor)]


def _found(
    recorder: Recorder, name: str, args: Any, kwargs: Any, outputs: list[Tensor]
) -> list[Value]:
    first = next((a for a in args if isinstance(a, Tensor)), None)
    value = recorder[first] if first is not None else None
    if name in _SAME and value is not None:
        return [_same(value, outputs[0])]
    if name in _REGROUPED and value is not None:
        dims = reshaped(value.dims, outputs[0].shape)
        if dims is None:
            raise Impossible(f"{name} cuts an axis of the activation into pieces")
        return [value.of(value.content, dims)]
    if name in _PERMUTED and value is not None:
        return [value.of(value.content, _permuted(name, value.dims, args, kwargs))]
    if name not in RULES:
        raise Impossible(_NO_RULE.get(name, f"{name} has no form as a convolution of spikes"))
    if name not in _LAYOUTS and any(v.final for v in recorder.known((args, kwargs))):
        raise Impossible(f"{name} works on what can only be an output")
    outcome = RULES[name](Call(recorder, outputs), *args, **kwargs)
    return [outcome] if isinstance(outcome, Value) else list(outcome)


_WRITTEN_OUT = (
    "a comparison: neurons that forward writes out itself have no form; make them a module and "
    "register it (evenspike_train.lowering.register)"
)
_NO_RULE = dict.fromkeys(("gt", "ge", "lt", "le", "heaviside", "where", "sign"), _WRITTEN_OUT) | {
    "conv_transpose2d": "a transposed convolution has no form as a convolution of spikes",
    "conv1d": "a convolution over one dimension; one over two, with a map of height 1, is possible",
    "conv3d": "a convolution over three dimensions; over two it is possible",
    "scaled_dot_product_attention": "attention multiplies activations with each other",
    "bernoulli": 'draws inside of the network; take them out, and ask for encoder="rate"',
}


def _same(value: Value, output: Tensor) -> Value:
    if not output.is_floating_point() and not isinstance(value.content, Membrane):
        content = value.content
        if not (isinstance(content, Form) and content.spikes is not None):
            raise Impossible(f"a conversion to {output.dtype}, which cuts fractions off")
    return value


def _permuted(name: str, dims: Dims, args: Any, kwargs: Any) -> Dims:
    sizes = list(range(2, 2 + len(dims)))
    probe = torch.empty(sizes, device="meta")
    if name.startswith("get."):
        moved = getattr(probe, name.removeprefix("get."))
    else:
        moved = getattr(probe, name)(*args[1:], **kwargs)
    return tuple(dims[sizes.index(size)] for size in moved.shape)


def written(
    recorder: Recorder, target: Tensor, index: Any, tensor: Any
) -> list[tuple[Tensor, Value]]:
    """`target[index] = tensor`: timestep after timestep, it becomes an axis of them."""
    value = recorder[tensor] if isinstance(tensor, Tensor) else None
    if value is not None and not recorder.held(target) and isinstance(index, int):
        steps = recorder.steps_of(target)
        steps[index % target.shape[0]] = value
        if len(steps) < target.shape[0]:
            return []
        try:
            content = parts.of_time(recorder, [steps[t] for t in range(len(steps))])
        except Impossible as error:
            return [(target, recorder.broken(str(error)))]
        return [(target, Value(content, (*named("T", [len(steps)]), *value.dims)))]
    return [(target, recorder.broken("an activation written into a part of a tensor"))]
