"""Functions: what each torch function makes of tensors of known content.

A rule takes the recorder, the values by tensor and the call's own arguments, and gives the values of
the results. A function without a rule gives a tensor that has no form; it is an error only where the
network's output depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from evenspike_core.errors import EvenspikeError
from evenspike_train.lowering import forms
from evenspike_train.lowering.axes import Dims, expected, flat, named, reshaped
from evenspike_train.lowering.forms import Form, Impossible, Kernel, Pair, Pooled
from evenspike_train.lowering.values import Broken, Content, Membrane, Value
from evenspike_train.lowering.weights import alive_of, array_of

if TYPE_CHECKING:
    from evenspike_train.lowering.recorder import Recorder

LEAVES = frozenset(
    ("__bool__", "item", "__float__", "__int__", "__index__", "tolist", "numpy", "__array__")
)
"""What turns an activation into numbers that code may depend on."""

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
_DROPOUTS = frozenset(
    ("dropout", "dropout2d", "dropout1d", "dropout3d", "alpha_dropout", "feature_dropout")
)

Result = Value | Sequence[Value]
Rule = Callable[..., Result]
_RULES: dict[str, Rule] = {}


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        for name in names:
            _RULES[name] = rule
        return rule

    return add


def name_of(func: Any) -> str:
    """The function's name; of an attribute `get.NAME`, of an operator in place that of the other."""
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
    if name.endswith("_") and name.removesuffix("_") in _RULES:
        return name.removesuffix("_")
    return {"true_divide": "div", "subtract": "sub", "multiply": "mul", "divide": "div"}.get(
        name, name
    )


def follow(
    recorder: Recorder, name: str, args: Any, kwargs: Any, given: list[Value], result: Any
) -> Iterable[tuple[Tensor, Value]]:
    """The tensors of a result with their values."""
    outputs = _outputs(result)
    if name in _CONSTANTS:
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
    if name not in _RULES:
        raise Impossible(_NO_RULE.get(name, f"{name} has no form as a convolution of spikes"))
    if name not in _LAYOUTS and any(v.final for v in recorder.known((args, kwargs))):
        raise Impossible(f"{name} works on what can only be an output")
    outcome = _RULES[name](recorder, outputs, *args, **kwargs)
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


# ---- helpers ----------------------------------------------------------------------------------


def _value(recorder: Recorder, tensor: Any) -> Value | None:
    return recorder[tensor] if isinstance(tensor, Tensor) else None


def _form(value: Value, what: str) -> Form:
    content = value.content
    if isinstance(content, Pooled):
        raise Impossible(
            f"{what} behind a max-pool that has no neurons in front of it; put neurons between"
        )
    if not isinstance(content, Form):
        raise Impossible(f"{what} of a membrane; only spikes go on from layer to layer")
    return content


def _bias_share(value: Value) -> float:
    """Share of a bias that each timestep gets where it was added to a sum over all of them."""
    if not isinstance(value.when, frozenset):
        return 1.0
    return 1.0 / (value.share * len(value.when))


def _map_axes(value: Value, form: Form, shape: Sequence[int], what: str) -> Dims:
    """Check that the last three dimensions are channels, rows and columns; returns the others."""
    if len(value.dims) < 3 or tuple(shape[-3:]) != form.shape:
        raise Impossible(f"{what} over dimensions {tuple(shape)} of maps {form.shape}")
    if flat(value.dims[-3:]) != expected(form.shape, "CHW"):
        raise Impossible(
            f"{what} over {flat(value.dims[-3:])}, not over channels, rows and columns"
        )
    return value.dims[:-3]


def _pair(number: Any) -> Pair:
    if isinstance(number, (list, tuple)):
        first, second = (number[0], number[0]) if len(number) == 1 else number
        return int(first), int(second)
    return int(number), int(number)


def _named(recorder: Recorder, part: str) -> str:
    return f"{recorder.path}.{part}"


def _dimension(dim: int, count: int) -> int:
    return dim % count


# ---- convolutions and linear layers -------------------------------------------------------------


@_rule("conv2d")
def _conv2d(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,  # noqa: A002 - torch's own name
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    value = _value(recorder, input)
    if value is None or _value(recorder, weight) is not None:
        raise Impossible("a convolution with an activation for its weights")
    form = _form(value, "a convolution")
    lead = _map_axes(value, form, input.shape, "a convolution")
    step, gap = _pair(stride), _pair(dilation)
    sides = [int(n) for n in weight.shape[2:]]
    if padding == "valid":
        pad = (0, 0)
    elif padding == "same":
        rows, columns = ((n - 1) * d // 2 for n, d in zip(sides, gap, strict=True))
        pad = (rows, columns)
    else:
        pad = _pair(padding)
    out = outputs[0]
    size = (int(out.shape[-2]), int(out.shape[-1]))
    share = _bias_share(value)

    def make() -> Content:
        numbers = array_of(weight, _named(recorder, "weight"))
        alive = alive_of(recorder.module, weight, numbers)
        real = None
        if groups > 1 or gap != (1, 1):
            ones = np.ones(numbers.shape, dtype=np.bool_)
            real = forms.dilated(forms.grouped(ones, groups), gap)
        kernel = Kernel(
            forms.dilated(forms.grouped(numbers, groups), gap),
            forms.dilated(forms.grouped(alive, groups), gap),
            real,
            _bias(recorder, bias, numbers.shape[0]),
            step,
            pad,
            size,
            (recorder.path,),
        )
        return forms.convolve(form, kernel, share)

    key = ("conv2d", form, weight, bias, step, pad, gap, groups, share)
    content = recorder.content(key, make)
    assert isinstance(content, Form)
    return value.of(content, (*lead, *named("CHW", content.shape)))


def _bias(recorder: Recorder, bias: Tensor | None, filters: int) -> forms.Float:
    return np.zeros(filters) if bias is None else array_of(bias, _named(recorder, "bias"))


@_rule("linear")
def _linear(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,  # noqa: A002 - torch's own name
    weight: Tensor,
    bias: Tensor | None = None,
) -> Value:
    value = _value(recorder, input)
    if value is None or _value(recorder, weight) is not None:
        raise Impossible("a product of activations with each other")
    form = _form(value, "a linear layer")
    order = flat(value.dims[-1:])
    here, wanted = set(order), set(expected(form.shape, "CHW"))
    lead = value.dims[:-1]
    over_map = here == wanted
    if not over_map and order not in ("C", ""):
        raise Impossible(
            f"a linear layer over {order} of maps {form.shape}; it takes all of a map, flattened, "
            "or the channels of each position"
        )
    share = _bias_share(value)

    def make() -> Content:
        numbers = array_of(weight, _named(recorder, "weight"))
        alive = alive_of(recorder.module, weight, numbers)
        filters = numbers.shape[0]
        if over_map:
            numbers, alive = (_ordered(one, order, form.shape) for one in (numbers, alive))
            kernel = forms.linear(form, numbers, alive, (recorder.path,))
            size = (1, 1)
        else:
            one = (filters, form.channels, 1, 1)
            kernel = Kernel(
                numbers.reshape(one),
                alive.reshape(one),
                None,
                np.zeros(filters),
                modules=(recorder.path,),
            )
            size = form.size
        kernel = replace(kernel, bias=_bias(recorder, bias, filters), size=size)
        return forms.convolve(form, kernel, share)

    content = recorder.content(("linear", form, weight, bias, order, share), make)
    assert isinstance(content, Form)
    return value.of(content, (*lead, *named("C", content.shape[:1])))


def _ordered(weight: Any, order: str, shape: tuple[int, int, int]) -> Any:
    """Columns of a linear layer over axes in `order` as over C, H, W."""
    sizes = dict(zip("CHW", shape, strict=True))
    split = weight.reshape(weight.shape[0], *(sizes[name] for name in order))
    axes = [order.index(name) + 1 for name in "CHW" if name in order]
    return split.transpose(0, *axes).reshape(weight.shape[0], -1)


@_rule("matmul", "mm")
def _matmul(recorder: Recorder, outputs: list[Tensor], one: Tensor, two: Tensor) -> Value:
    if _value(recorder, one) is not None and _value(recorder, two) is None and two.dim() == 2:
        return _linear(recorder, outputs, one, two.t())  # type: ignore[return-value]
    raise Impossible("a product of activations with each other, as in attention")


# ---- batch norm and what is added or multiplied -------------------------------------------------


@_rule("batch_norm")
def _batch_norm(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,  # noqa: A002 - torch's own name
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Value:
    value = _value(recorder, input)
    if value is None:
        raise Impossible("a batch norm whose parameters are activations")
    if training or running_mean is None or running_var is None:
        raise Impossible(
            "a batch norm without running statistics takes those of the batch; set "
            "track_running_stats=True"
        )
    if flat(value.dims[1:2]) not in ("C", ""):
        raise Impossible(f"a batch norm over {flat(value.dims[1:2])}, not over channels")
    share = _bias_share(value)

    def make() -> Content:
        path = recorder.path
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
        return _scaled(value.content, factor, shift * share)

    key = ("batch_norm", value.content, running_mean, running_var, weight, bias, eps, share)
    return value.of(recorder.content(key, make))


def _scaled(content: Content, factor: forms.Float, shift: forms.Float) -> Content:
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


def _constant(recorder: Recorder, number: Any, value: Value, output: Tensor) -> forms.Float:
    """A number, or one for each channel, as [F] or [1]."""
    if not isinstance(number, Tensor):
        return np.array([float(number)])
    numbers = array_of(number, f"{recorder.path}: a constant")
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


def _arithmetic(recorder: Recorder, value: Value, what: str, numbers: forms.Float) -> Value:
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
        pair = ones, full * _bias_share(value)
    else:
        if not np.isfinite(full).all():
            raise Impossible("a division by zero")
        single = float(full[0])
        if isinstance(value.when, frozenset) and (full == single).all() and single > 0:
            return replace(value, share=value.share * single)
        pair = full, zeros
    key = (what, content, tuple(full), _bias_share(value))
    return value.of(recorder.content(key, lambda: _scaled(content, *pair)))


def _added(recorder: Recorder, one: Value, two: Value, output: Tensor) -> Value:
    if isinstance(one.content, Membrane) or isinstance(two.content, Membrane):
        raise Impossible("arithmetic with a membrane; only spikes go on from layer to layer")
    first, second = _form(one, "a sum"), _form(two, "a sum")
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
    content = recorder.content(("sum", first, second), lambda: forms.added(first, second))
    when = next(iter(whens), None)
    return one.of(content, dims, when=when)


@_rule("add")
def _add(
    recorder: Recorder, outputs: list[Tensor], one: Any, two: Any, *, alpha: float = 1.0, **_: Any
) -> Value:
    left, right = _value(recorder, one), _value(recorder, two)
    if right is not None and alpha != 1.0:
        right = _arithmetic(recorder, right, "mul", np.array([float(alpha)]))
    if left is not None and right is not None:
        return _added(recorder, left, right, outputs[0])
    value, other = (left, two) if left is not None else (right, one)
    assert value is not None
    numbers = _constant(recorder, other, value, outputs[0])
    if left is not None:
        numbers = numbers * alpha
    return _checked(_arithmetic(recorder, value, "add", numbers), outputs[0])


@_rule("sub")
def _sub(
    recorder: Recorder, outputs: list[Tensor], one: Any, two: Any, *, alpha: float = 1.0, **_: Any
) -> Value:
    return _add(recorder, outputs, one, two, alpha=-alpha)  # type: ignore[return-value]


@_rule("rsub")
def _rsub(recorder: Recorder, outputs: list[Tensor], one: Any, two: Any) -> Value:
    return _add(recorder, outputs, two, one, alpha=-1.0)  # type: ignore[return-value]


@_rule("neg")
def _neg(recorder: Recorder, outputs: list[Tensor], one: Any) -> Value:
    return _mul(recorder, outputs, one, -1.0)  # type: ignore[return-value]


@_rule("mul")
def _mul(recorder: Recorder, outputs: list[Tensor], one: Any, two: Any, **_: Any) -> Value:
    left, right = _value(recorder, one), _value(recorder, two)
    if left is not None and right is not None:
        raise Impossible("a product of activations with each other, as in attention or a gate")
    value, other = (left, two) if left is not None else (right, one)
    assert value is not None
    numbers = _constant(recorder, other, value, outputs[0])
    return _checked(_arithmetic(recorder, value, "mul", numbers), outputs[0])


@_rule("div")
def _div(recorder: Recorder, outputs: list[Tensor], one: Any, two: Any, **kwargs: Any) -> Value:
    value = _value(recorder, one)
    if value is None or _value(recorder, two) is not None or kwargs.get("rounding_mode"):
        raise Impossible("a division by an activation, or one that rounds")
    with np.errstate(divide="ignore"):
        numbers = 1.0 / _constant(recorder, two, value, outputs[0])
    return _checked(_arithmetic(recorder, value, "mul", numbers), outputs[0])


def _checked(value: Value, output: Tensor) -> Value:
    dims = reshaped(value.dims, output.shape)
    if dims is None:
        raise Impossible("a constant that is wider than the activation")
    return replace(value, dims=dims)


# ---- pools ------------------------------------------------------------------------------------


@_rule("avg_pool2d")
def _avg_pool2d(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,  # noqa: A002 - torch's own name
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    value = cast("Value", _value(recorder, input))
    form = _form(value, "an average pool")
    lead = _map_axes(value, form, input.shape, "an average pool")
    window, pad = _pair(kernel_size), _pair(padding)
    step = window if stride is None or stride == [] else _pair(stride)
    size = (int(outputs[0].shape[-2]), int(outputs[0].shape[-1]))
    floors = tuple(
        (n + 2 * p - w) // s + 1 for n, p, w, s in zip(form.size, pad, window, step, strict=True)
    )
    if ceil_mode and size != floors:
        raise Impossible("an average pool whose last window hangs over the map (ceil_mode)")
    if pad != (0, 0) and not count_include_pad:
        raise Impossible("an average pool that does not count its padding (count_include_pad)")
    factor = 1.0 if divisor_override is None else window[0] * window[1] / divisor_override

    def make() -> Content:
        inner = forms.padded(form, pad, pad) if pad != (0, 0) else form
        found = forms.averaged(inner, window, step, size)
        if factor == 1.0:
            return found
        return forms.scaled(found, np.full(found.channels, factor), np.zeros(found.channels))

    key = ("average", form, window, step, pad, factor)
    content = recorder.content(key, make)
    assert isinstance(content, Form)
    return value.of(content, (*lead, *named("CHW", content.shape)))


@_rule("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,  # noqa: A002 - torch's own name
    output_size: Any,
) -> Value:
    size = outputs[0].shape[-2:]
    map_ = input.shape[-2:]
    if any(n % m for n, m in zip(map_, size, strict=True)):
        raise Impossible(
            f"an adaptive average pool of {tuple(map_)} to {tuple(size)}, whose windows overlap; a "
            "size that divides the map's is possible"
        )
    window = (map_[0] // size[0], map_[1] // size[1])
    return _avg_pool2d(recorder, outputs, input, window)  # type: ignore[return-value]


@_rule("avg_pool1d")
def _avg_pool1d(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,  # noqa: A002 - torch's own name
    kernel_size: Any,
    stride: Any = None,
    *_: Any,
    **__: Any,
) -> Value:
    """The mean over channels that are neighbours: the votes for a class."""
    value = cast("Value", _value(recorder, input))
    form = _form(value, "an average over channels")
    window = _pair(kernel_size)[0]
    step = window if stride is None or stride == () else _pair(stride)[0]
    votes = int(outputs[0].shape[-1])
    if flat(value.dims[-1:]) != "C" or form.size != (1, 1) or step != window:
        raise Impossible("an average over one dimension that is not the channels in groups")

    def make() -> Content:
        pattern = np.zeros((votes, form.channels, 1, 1), dtype=np.bool_)
        for one in range(votes):
            pattern[one, one * window : (one + 1) * window] = True
        return forms.convolve(form, Kernel(pattern / window, pattern, pattern, np.zeros(votes)))

    content = recorder.content(("votes", form, window), make)
    return value.of(content, (*value.dims[:-1], *named("C", [votes])))


@_rule("max_pool2d")
def _max_pool2d(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,  # noqa: A002 - torch's own name
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    value = cast("Value", _value(recorder, input))
    form = _form(value, "a max-pool")
    lead = _map_axes(value, form, input.shape, "a max-pool")
    window = _pair(kernel_size)
    step = window if stride is None or stride == [] else _pair(stride)
    if window == (1, 1) and step == (1, 1):
        return value
    if (window, step, _pair(padding), _pair(dilation)) != ((2, 2), (2, 2), (0, 0), (1, 1)):
        raise Impossible(
            f"a max-pool of {window} with stride {step}, padding {_pair(padding)}; 2x2 with stride 2 "
            "and without padding is possible"
        )
    if ceil_mode and any(n % 2 for n in form.size):
        raise Impossible("a max-pool whose last window hangs over the map (ceil_mode)")
    if min(form.size) < 2:
        raise Impossible(f"a max-pool of a map of {form.size}")
    spikes = form.spikes
    content: Content
    if spikes is not None and not recorder.is_pixels(spikes):
        content = recorder.content(
            ("max", form), lambda: forms.identity(recorder.pooled(spikes), form.terms[0].scale)
        )
    elif all(recorder.is_pixels(term.source) for term in form.terms):
        content = recorder.content(("max", form), lambda: Pooled(form))
    else:
        raise Impossible(
            "a max-pool in front of the neurons, which is not the same as one behind them; train "
            "with it behind the neurons, or with an average pool"
        )
    assert isinstance(content, (Form, Pooled))
    return value.of(content, (*lead, *named("CHW", content.shape)))


@_rule("pad")
def _pad(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,  # noqa: A002 - torch's own name
    pad: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> Value:
    found = cast("Value", _value(recorder, input))
    if mode != "constant" or value:
        what = f"padding mode {mode!r}" if mode != "constant" else f"padding with {value}"
        raise Impossible(f"{what}; zeros are possible")
    form = _form(found, "padding")
    lead = _map_axes(found, form, input.shape, "padding")
    if len(pad) not in (2, 4):
        raise Impossible("padding of other dimensions than rows and columns")
    left, right, top, bottom = (*pad, 0, 0)[:4]
    content = recorder.content(
        ("pad", form, tuple(pad)), lambda: forms.padded(form, (top, left), (bottom, right))
    )
    assert isinstance(content, Form)
    return found.of(content, (*lead, *named("CHW", content.shape)))


# ---- concatenation, slices, time ----------------------------------------------------------------


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


@_rule("stack")
def _stack(
    recorder: Recorder, outputs: list[Tensor], tensors: Sequence[Tensor], dim: int = 0
) -> Value:
    values = [_value(recorder, one) for one in tensors]
    if any(value is None for value in values):
        raise Impossible("activations and constants together along a new dimension")
    known = cast("list[Value]", values)
    content = of_time(recorder, known)
    at = _dimension(dim, outputs[0].dim())
    dims = known[0].dims
    final = any(value.final for value in known)
    return Value(content, (*dims[:at], *named("T", [len(known)]), *dims[at:]), None, final=final)


@_rule("cat", "concat", "concatenate")
def _cat(
    recorder: Recorder, outputs: list[Tensor], tensors: Sequence[Tensor], dim: int = 0
) -> Value:
    values = [_value(recorder, one) for one in tensors]
    if any(value is None for value in values):
        raise Impossible("activations and constants concatenated")
    known = cast("list[Value]", values)
    at = _dimension(dim, outputs[0].dim())
    if all(not value.dims[at] for value in known) and all(
        isinstance(value.when, int) for value in known
    ):  # timesteps of one entry each
        content = of_time(recorder, known)
        dims = known[0].dims
        return Value(content, (*dims[:at], *named("T", [len(known)]), *dims[at + 1 :]))
    parts = [_form(value, "a concatenation") for value in known]
    for value, part in zip(known, parts, strict=True):
        if flat((value.dims[at],)) != expected(part.shape[:1], "C"):
            raise Impossible("a concatenation along another dimension than the channels")
    whens = {v.when for v, f in zip(known, parts, strict=True) if f.changes}
    if len(whens) > 1 or any(isinstance(when, frozenset) for when in whens):
        raise Impossible("a concatenation of different timesteps")
    content = recorder.content(("cat", *parts), lambda: forms.joined(parts))
    assert isinstance(content, Form)
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


@_rule("unbind")
def _unbind(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,
    dim: int = 0,
) -> Sequence[Value]:
    value = cast("Value", _value(recorder, input))
    at = _dimension(dim, len(value.dims))
    return [_index(recorder, value, [slice(None)] * at + [i]) for i in range(len(outputs))]


@_rule("chunk", "split", "tensor_split", "split_with_sizes")
def _split(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,  # noqa: A002 - torch's own name
    _: Any,
    dim: int = 0,
) -> Sequence[Value]:
    value = cast("Value", _value(recorder, input))
    at = _dimension(dim, len(value.dims))
    found, first = [], 0
    for one in outputs:
        size = int(one.shape[at])
        found.append(_index(recorder, value, [slice(None)] * at + [slice(first, first + size)]))
        first += size
    return found


@_rule("select")
def _select(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,
    dim: int,
    index: int,
) -> Value:
    value = cast("Value", _value(recorder, input))
    return _index(recorder, value, [slice(None)] * _dimension(dim, len(value.dims)) + [int(index)])


@_rule("narrow")
def _narrow(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,  # noqa: A002 - torch's own name
    dim: int,
    start: int,
    length: int,
) -> Value:
    value = cast("Value", _value(recorder, input))
    at = _dimension(dim, len(value.dims))
    return _index(recorder, value, [slice(None)] * at + [slice(start, start + length)])


@_rule("__getitem__")
def _getitem(recorder: Recorder, outputs: list[Tensor], input: Tensor, index: Any) -> Value:  # noqa: A002
    value = _value(recorder, input)
    if value is None:
        raise Impossible("an activation as an index")
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in [p for p in parts if not isinstance(p, Tensor)]:
        at = next(i for i, p in enumerate(parts) if p is Ellipsis)
        used = sum(p is not None for p in parts) - 1
        parts[at : at + 1] = [slice(None)] * (len(value.dims) - used)
    return _index(recorder, value, parts)


def _index(recorder: Recorder, value: Value, parts: list[Any]) -> Value:
    dims, left = [], list(value.dims)
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
            content = recorder.content(
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


@_rule("expand", "expand_as", "broadcast_to", "repeat", "tile")
def _expand(recorder: Recorder, outputs: list[Tensor], input: Tensor, *_: Any, **__: Any) -> Value:  # noqa: A002
    value = cast("Value", _value(recorder, input))
    out = outputs[0]
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
        recorder.time(wanted // size)
        dims[i] = (*named("T", [wanted // size])[0], *dims[i])
    return value.of(content, tuple(dims))


@_rule("mean")
def _mean(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,  # noqa: A002 - torch's own name
    dim: Any = None,
    keepdim: bool = False,
    **_: Any,
) -> Value:
    return _reduced(recorder, input, dim, keepdim, mean=True)


@_rule("sum")
def _sum(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,  # noqa: A002 - torch's own name
    dim: Any = None,
    keepdim: bool = False,
    **_: Any,
) -> Value:
    return _reduced(recorder, input, dim, keepdim, mean=False)


def _reduced(recorder: Recorder, input: Tensor, dim: Any, keepdim: bool, mean: bool) -> Value:  # noqa: A002
    value = cast("Value", _value(recorder, input))
    if dim is None:
        raise Impossible("a sum over everything")
    count = len(value.dims)
    gone = {_dimension(int(d), count) for d in (dim if isinstance(dim, (list, tuple)) else [dim])}
    names = flat(tuple(value.dims[i] for i in sorted(gone)))
    dims = tuple(
        () if i in gone else axes for i, axes in enumerate(value.dims) if keepdim or i not in gone
    )
    if not names:
        return replace(value, dims=dims)
    if names == "T":
        steps = sum(size for i in gone for _, size in value.dims[i])
        return _over_time(value, dims, steps, mean)
    form = _form(value, "a mean")
    if set(names) != set(expected(form.size, "HW")):
        raise Impossible(
            f"a mean over {names}; over timesteps, or rows and columns, it is possible"
        )
    content = recorder.content(("positions", form, mean), lambda: _over_positions(form, mean=mean))
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


@_rule("softmax", "log_softmax")
def _softmax(recorder: Recorder, outputs: list[Tensor], input: Tensor, *_: Any, **__: Any) -> Value:  # noqa: A002
    value = cast("Value", _value(recorder, input))
    if not isinstance(value.when, frozenset):
        raise Impossible(
            "a softmax of each timestep by itself; one of the sum over the timesteps changes no "
            "decision, and is left out"
        )
    return replace(value, final=True)


@_rule(*_DROPOUTS)
def _dropout(
    recorder: Recorder,
    outputs: list[Tensor],
    input: Tensor,  # noqa: A002 - torch's own name
    p: float = 0.5,
    training: bool = True,
    *_: Any,
    **__: Any,
) -> Value:
    if training and p > 0:
        raise Impossible("dropout outside of training")
    return cast("Value", _value(recorder, input))


def written(recorder: Recorder, target: Tensor, index: Any, tensor: Any) -> None:
    """`target[index] = tensor`: timestep after timestep, it becomes an axis of them."""
    value = _value(recorder, tensor)
    if value is not None and recorder[target] is None and isinstance(index, int):
        steps = recorder.steps_of(target)
        steps[index] = value
        if len(steps) < target.shape[0]:
            return
        try:
            content = of_time(recorder, [steps[t] for t in range(len(steps))])
        except Impossible as error:
            recorder[target] = recorder.broken(str(error))
            return
        recorder[target] = Value(content, (*named("T", [len(steps)]), *value.dims))
        return
    recorder[target] = recorder.broken("an activation written into a part of a tensor")
