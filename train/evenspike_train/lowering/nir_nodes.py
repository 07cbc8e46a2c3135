"""NIR nodes as modules: each computes what its node says, with every field of it, or is refused.

A module gets [T, B, ...]. Nothing here knows what the machine has: a sum pool adds, a threshold
compares. Lowering follows them like any other module, and recognises the max-pool in the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from evenspike_core.errors import EvenspikeError
from evenspike_train.lowering.neurons import NeuronModel, Reset
from evenspike_train.lowering.registry import register
from evenspike_train.lowering.rules.exceeding import exceeds

Float = npt.NDArray[np.float64]
Shape = tuple[int | None, ...]
"""Of what a node takes; None where any number will do."""

_REFUSED = {
    "CubaLIF": "its current decays by itself, a second state for each neuron; LIF has one",
    "CubaLI": "its current decays by itself, a second state for each neuron; LIF has one",
    "LI": "a leaky integrator gives its membrane to the next layer; only spikes go on",
    "I": "an integrator gives its membrane to the next layer; only spikes go on",
    "Delay": "a delay needs spikes of earlier timesteps; feed-forward graphs are possible",
    "Conv1d": "a convolution over one dimension; Conv2d with a height of 1 is possible",
}


class Fields:
    """The fields of one node, read with checks. where: the node, for messages."""

    def __init__(self, name: str, node: Any) -> None:
        self.kind = type(node).__name__
        self.where = f"{name} ({self.kind})"
        self.node = node

    def refused(self, reason: str) -> EvenspikeError:
        return EvenspikeError(f"{self.where}: {reason}")

    def array(self, what: str) -> Float:
        """Real, finite numbers of any shape."""
        value = getattr(self.node, what)
        if isinstance(value, Tensor):
            value = value.detach().cpu()
        try:
            numbers = np.array(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise self.refused(f"{what} {value!r} is no array of real numbers") from error
        if not numbers.size:
            raise self.refused(f"{what} is empty")
        wrong = int((~np.isfinite(numbers)).sum())
        if wrong:
            raise self.refused(f"{what} holds {wrong} values that are not finite")
        return numbers

    def number(self, what: str) -> float:
        """One number for all neurons."""
        values = self.array(what).ravel()
        if not (values == values[0]).all():
            raise self.refused(
                f"its {what} differs between neurons; one number for the layer is possible"
            )
        return float(values[0])

    def pair(self, what: str, least: int) -> tuple[int, int]:
        """Whole numbers for rows and columns; one is for both."""
        values = self.array(what).ravel()
        whole = values.size <= 2 and (values == np.rint(values)).all() and (values >= least).all()
        if not whole:
            raise self.refused(
                f"{what} {getattr(self.node, what)!r}; one or two whole numbers from {least} on "
                "are possible"
            )
        return int(values[0]), int(values[-1])

    def shape(self, what: str) -> tuple[int, ...] | None:
        """A shape that a node states, or None."""
        stated = getattr(self.node, what, None)
        if isinstance(stated, dict):
            stated = next(iter(stated.values()), None)
        if stated is None:
            return None
        values = np.atleast_1d(np.asarray(stated))
        if values.dtype.kind not in "iuf" or (values < 1).any() or (values % 1 != 0).any():
            raise self.refused(f"{what} {stated!r} is no shape")
        return tuple(int(n) for n in values)


class NirNode(nn.Module):
    """A node without a state: a function on time folded into the batch."""

    takes: Shape | None = None

    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self.where = fields.where

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise EvenspikeError, naming the node, where it cannot take maps of this shape."""
        check_shape(self.where, self.takes, shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.of(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def of(self, x: Tensor) -> Tensor:
        return x


def check_shape(where: str, takes: Shape | None, shape: tuple[int, ...]) -> None:
    """Raise EvenspikeError where a shape is not the one that is wanted."""
    if takes is None:
        return
    if len(takes) != len(shape) or any(
        want not in (None, n) for want, n in zip(takes, shape, strict=True)
    ):
        wanted = ", ".join("any" if n is None else str(n) for n in takes) + "," * (len(takes) == 1)
        hint = "; a Flatten of all dimensions goes in front" if len(shape) > len(takes) == 1 else ""
        raise EvenspikeError(f"{where}: takes ({wanted}), gets {shape}{hint}")


class NirWire(NirNode):
    """Where a graph begins or ends, and an Identity: what comes in goes out."""

    def __init__(self, fields: Fields, shape: tuple[int, ...] | None) -> None:
        super().__init__(fields)
        self.takes = shape

    def forward(self, x: Tensor) -> Tensor:
        return x


class NirConv2d(NirNode):
    """A convolution: weight, bias, stride, padding, dilation, groups, input_shape."""

    def __init__(self, fields: Fields) -> None:
        super().__init__(fields)
        weight, bias = fields.array("weight"), fields.array("bias")
        if weight.ndim != 4:
            raise fields.refused(f"its weight has shape {weight.shape}; four axes are possible")
        self.groups = fields.pair("groups", 1)[0]
        if fields.array("groups").size > 1 or weight.shape[0] % self.groups:
            raise fields.refused(f"{fields.node.groups!r} groups of {weight.shape[0]} filters")
        if bias.shape != weight.shape[:1]:
            raise fields.refused(f"its bias has shape {bias.shape}, not {weight.shape[:1]}")
        self.stride, self.dilation = fields.pair("stride", 1), fields.pair("dilation", 1)
        self.padding = self._padding(fields)
        size = fields.shape("input_shape") or (None, None)
        if len(size) == 1:
            size = (*size, *size)
        self.takes = (weight.shape[1] * self.groups, *size)
        self.weight, self.bias = _constant(weight), _constant(bias)

    def _padding(self, fields: Fields) -> Any:
        said = fields.node.padding
        if isinstance(said, np.ndarray) and said.dtype.kind in "SUO" and said.size == 1:
            said = said.item()
        if isinstance(said, bytes):
            said = said.decode(errors="replace")
        if not isinstance(said, str):
            return fields.pair("padding", 0)
        if said not in ("same", "valid"):
            raise fields.refused(f"padding {said!r}; 'same', 'valid' or numbers are possible")
        if said == "same" and self.stride != (1, 1):
            raise fields.refused(f"padding 'same' with stride {self.stride}; give it as numbers")
        return str(said)

    def of(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        return functional.conv2d(
            x, weight, bias, self.stride, self.padding, self.dilation, self.groups
        )


class NirLinear(NirNode):
    """Linear and Affine: weight, bias."""

    def __init__(self, fields: Fields) -> None:
        super().__init__(fields)
        weight = fields.array("weight")
        if weight.ndim != 2:
            raise fields.refused(f"its weight has shape {weight.shape}; two axes are possible")
        bias = fields.array("bias") if fields.kind == "Affine" else np.zeros(len(weight))
        if bias.size not in (1, len(weight)):
            raise fields.refused(f"its bias has shape {bias.shape}, not {weight.shape[:1]}")
        self.takes = weight.shape[1:]
        self.weight = _constant(weight)
        self.bias = _constant(np.broadcast_to(bias.ravel(), weight.shape[:1]).copy())

    def of(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


class NirPool(NirNode):
    """AvgPool2d and SumPool2d: kernel_size, stride, padding, which counts as zeros."""

    takes = (None, None, None)

    def __init__(self, fields: Fields) -> None:
        super().__init__(fields)
        self.window, self.stride = fields.pair("kernel_size", 1), fields.pair("stride", 1)
        self.padding = fields.pair("padding", 0)
        self.divisor = 1 if fields.kind == "SumPool2d" else self.window[0] * self.window[1]

    @property
    def halves(self) -> bool:
        """Whether it adds up windows of 2x2 that lie side by side."""
        return (self.window, self.stride, self.padding, self.divisor) == ((2, 2), (2, 2), (0, 0), 1)

    def of(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(
            x, self.window, self.stride, self.padding, divisor_override=self.divisor
        )


class NirScale(NirNode):
    """A product with one number, or with one for each channel: scale."""

    def __init__(self, fields: Fields) -> None:
        super().__init__(fields)
        self.fields, self.scale = fields, fields.array("scale")

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise EvenspikeError for another shape, and for factors within a channel that differ."""
        if self.scale.size == 1:
            return
        if self.scale.shape not in (shape, (*shape[:1], *[1] * (len(shape) - 1))):
            check_shape(self.where, self.scale.shape, shape)
        each = self.scale.reshape(self.scale.shape[0], -1)
        if not (each == each[:, :1]).all():
            raise self.fields.refused(
                "its factors differ within a channel; one for each channel is possible"
            )

    def of(self, x: Tensor) -> Tensor:
        if (self.scale == self.scale.flat[0]).all():
            return x * float(self.scale.flat[0])
        each = torch.from_numpy(self.scale.reshape(self.scale.shape[0], -1)[:, 0])
        return x * each.reshape(-1, *[1] * (x.dim() - 2)).to(x.device, x.dtype)


class NirFlatten(NirNode):
    """A reshape of start_dim to end_dim, of dimensions without the batch: input_type, too."""

    def __init__(self, fields: Fields) -> None:
        super().__init__(fields)
        self.fields = fields
        self.takes = fields.shape("input_type")
        self.first, self.last = (self._dimension(what) for what in ("start_dim", "end_dim"))

    def _dimension(self, what: str) -> int:
        values = self.fields.array(what)
        if values.size != 1 or values.flat[0] % 1:
            raise self.fields.refused(f"{what} {getattr(self.fields.node, what)!r} is no dimension")
        return int(values.flat[0])

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise EvenspikeError for another shape, and for dimensions that it does not have."""
        super().check(shape)
        first, last = (n + len(shape) if n < 0 else n for n in (self.first, self.last))
        if not 0 <= first <= last < len(shape):
            raise self.fields.refused(
                f"start_dim {self.first} and end_dim {self.last} of {len(shape)} dimensions"
            )

    def of(self, x: Tensor) -> Tensor:
        count = x.dim() - 1
        return x.flatten(1 + self.first % count, 1 + self.last % count)


class NirNeurons(nn.Module):
    """LIF, IF, and a Threshold, which is neurons without a memory: forward Euler.

    shift : what is added to the current, for v_leak.
    """

    def __init__(
        self, fields: Fields, model: NeuronModel, shift: float, parts: Sequence[str]
    ) -> None:
        super().__init__()
        self.where, self.model, self.shift = fields.where, model, shift
        self.shapes = {what: fields.array(what).shape for what in parts}

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise EvenspikeError, naming the node, where its parameters are of another shape."""
        for what, own in self.shapes.items():
            if int(np.prod(own)) > 1 and own not in (shape, shape[:1]):
                raise EvenspikeError(f"{self.where}: its {what} is of {own}, what it gets {shape}")

    def forward(self, current: Tensor) -> Tensor:
        drive = self.model.gain * current
        spikes = self.model.run(drive.detach().cpu().double().numpy())
        return torch.from_numpy(spikes).to(current)


register(NirNeurons, lambda module, _: module.model)


class NirThreshold(NirNode):
    """A threshold behind a sum over 2x2 spikes, which lowering can take for a max-pool."""

    def __init__(self, fields: Fields) -> None:
        super().__init__(fields)
        self.threshold = fields.array("threshold")
        self.takes = self.threshold.shape if self.threshold.size > 1 else None

    def of(self, x: Tensor) -> Tensor:
        return exceeds(x, torch.from_numpy(self.threshold))


def _constant(numbers: Float) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(numbers), requires_grad=False)


_STEPS = {
    "Conv2d": NirConv2d,
    "Linear": NirLinear,
    "Affine": NirLinear,
    "AvgPool2d": NirPool,
    "SumPool2d": NirPool,
    "Scale": NirScale,
    "Flatten": NirFlatten,
}


def module_of(
    name: str, node: Any, before: nn.Module | None, dt: float, reset: Reset
) -> NirNode | NirNeurons:
    """The module of a node.

    before : that of the one node whose output it gets, if that gets the spikes of one node.

    Raises EvenspikeError, naming the node and the field, for what has no integer form.
    """
    fields = Fields(name, node)
    kind = fields.kind
    if kind == "Input":
        return NirWire(fields, fields.shape("input_type"))
    if kind == "Output":
        return NirWire(fields, fields.shape("output_type"))
    if kind == "Identity":
        return NirWire(fields, fields.shape("input_type"))
    if kind in ("LIF", "IF"):
        return _neurons(fields, dt, reset)
    if kind == "Threshold":
        return _threshold(fields, before)
    if kind in _REFUSED:
        raise fields.refused(_REFUSED[kind])
    if kind not in _STEPS:
        raise fields.refused(
            f"a node that is not known; LIF, IF, Threshold, Identity, {', '.join(_STEPS)} are"
        )
    return _STEPS[kind](fields)


def _threshold(fields: Fields, before: nn.Module | None) -> NirNode | NirNeurons:
    values = fields.array("threshold")
    if isinstance(before, NirPool) and before.halves and 0 <= values.min() <= values.max() < 1:
        return NirThreshold(fields)
    threshold = fields.number("threshold")
    if not threshold > 0:
        raise fields.refused(
            f"threshold {threshold:.4g}; one above 0 is possible, and 0 itself behind a SumPool2d "
            "of 2x2 spikes"
        )
    return NirNeurons(fields, NeuronModel(0.0, threshold, strict=True), 0.0, ("threshold",))


def _neurons(fields: Fields, dt: float, reset: Reset) -> NirNeurons:
    parts = ["r", "v_threshold", "v_reset"] + (["tau", "v_leak"] if fields.kind == "LIF" else [])
    numbers = {what: fields.number(what) for what in parts}
    threshold, base, resistance = (numbers[what] for what in ("v_threshold", "v_reset", "r"))
    rest, share = numbers.get("v_leak", 0.0), dt
    if not resistance > 0:
        raise fields.refused(f"r {resistance:.4g}; one above 0 is possible")
    if fields.kind == "LIF":
        tau = numbers["tau"]
        if not tau > 0:
            raise fields.refused(f"tau {tau:.4g}; one above 0 is possible")
        if dt > tau:
            raise fields.refused(
                f"tau {tau:.4g} with a step dt of {dt:.4g}; a step of at most tau is possible"
            )
        share = dt / tau
    if reset is Reset.SOFT and base:
        raise fields.refused(f'v_reset {base:.4g}, and reset="soft", which has none')
    if base not in (0.0, rest):
        raise fields.refused(
            f"v_reset {base:.4g} is neither 0 nor v_leak ({rest:.4g}), where a membrane starts"
        )
    if not threshold > base:
        raise fields.refused(f"v_threshold {threshold:.4g} is not above v_reset ({base:.4g})")
    shift = 0.0 if base == rest else rest / resistance
    leak = 1.0 - share if fields.kind == "LIF" else 1.0
    model = NeuronModel(leak, threshold - base, share * resistance, strict=True, reset=reset)
    model.check(fields.where)
    return NirNeurons(fields, model, shift, parts)
