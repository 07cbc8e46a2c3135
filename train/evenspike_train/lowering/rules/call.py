"""A call of a torch function, and what its rule looks at.

A rule takes the call and the function's own arguments, and gives the value of each tensor that
comes out; it raises `Impossible`, with what would do, where that has no form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from evenspike_train.lowering.axes import Dims, expected, flat
from evenspike_train.lowering.forms import Form, Impossible, Pair, Pooled
from evenspike_train.lowering.values import Value

if TYPE_CHECKING:
    from evenspike_train.lowering.recorder import Recorder

Rule = Callable[..., "Value | Sequence[Value]"]
_R = TypeVar("_R", bound=Rule)
RULES: dict[str, Rule] = {}


@dataclass(frozen=True)
class Call:
    """recorder : of the pass. outputs : the tensors that came out."""

    recorder: Recorder
    outputs: list[Tensor]

    def value(self, tensor: Any) -> Value | None:
        """The value of an argument; None for what is no activation."""
        return self.recorder[tensor] if isinstance(tensor, Tensor) else None

    def required(self, tensor: Any) -> Value:
        """The value of an argument that has to be an activation."""
        value = self.value(tensor)
        if value is None:
            raise Impossible("an activation in the place of a parameter")
        return value

    def form(self, key: Sequence[Any], make: Callable[[], Form]) -> Form:
        """The form that an operation makes, one object for all timesteps (`Recorder.content`)."""
        content = self.recorder.content(key, make)
        if not isinstance(content, Form):
            raise Impossible("arithmetic with something that is no form")
        return content

    def named(self, part: str) -> str:
        """The name of a parameter of the module that is running."""
        return f"{self.recorder.path}.{part}"


def rule(*names: str) -> Callable[[_R], _R]:
    """Make a function the rule of the torch functions of these names."""

    def add(one: _R) -> _R:
        RULES.update(dict.fromkeys(names, one))
        return one

    return add


def form_of(value: Value, what: str) -> Form:
    content = value.content
    if isinstance(content, Pooled):
        raise Impossible(
            f"{what} behind a max-pool that has no neurons in front of it; put neurons between"
        )
    if not isinstance(content, Form):
        raise Impossible(f"{what} of a membrane; only spikes go on from layer to layer")
    return content


def bias_share(value: Value) -> float:
    """Share of a bias that each timestep gets where it was added to a sum over all of them."""
    if not isinstance(value.when, frozenset):
        return 1.0
    return 1.0 / (value.share * len(value.when))


def map_axes(value: Value, form: Form, shape: Sequence[int], what: str) -> Dims:
    """Check that the last three dimensions are channels, rows and columns; returns the others."""
    if len(value.dims) < 3 or tuple(shape[-3:]) != form.shape:
        raise Impossible(f"{what} over dimensions {tuple(shape)} of maps {form.shape}")
    if flat(value.dims[-3:]) != expected(form.shape, "CHW"):
        raise Impossible(
            f"{what} over {flat(value.dims[-3:])}, not over channels, rows and columns"
        )
    return value.dims[:-3]


def pair_of(number: Any) -> Pair:
    if isinstance(number, (list, tuple)):
        first, second = (number[0], number[0]) if len(number) == 1 else number
        return int(first), int(second)
    return int(number), int(number)


def dimension(dim: int, count: int) -> int:
    """A dimension's number from 0 on."""
    return dim % count
