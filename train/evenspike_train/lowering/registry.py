"""Registry: which modules are neurons, and what they do.

Classes of other frameworks are named, not imported: none of them needs to be installed. A subclass
counts as what it is derived from only while it has no method of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_train.lowering.neurons import NeuronModel


@dataclass(frozen=True)
class Handler:
    """How one class of neurons is read.

    describe : the module's neuron; raises EvenspikeError for what cannot be had. Its second
        argument is the module's path, for the message.
    steps : whether a call takes all timesteps, [T, ...], or a single one.
    clear : forgets the state of an earlier run; None where a module keeps none.
    membrane : the module's membrane as it is after a call, where it keeps one that can be read.
    """

    describe: Callable[[Any, str], NeuronModel]
    steps: Callable[[Any], bool]
    clear: Callable[[Any], None] | None = None
    membrane: Callable[[Any], Tensor | None] | None = None


_HANDLERS: dict[str, Handler] = {}
_REFUSED: dict[str, str] = {}


def _name(kind: type | str) -> str:
    return kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"


def register(
    kind: type[nn.Module] | str,
    describe: Callable[[Any, str], NeuronModel],
    *,
    steps: bool | Callable[[Any], bool] = True,
    clear: Callable[[Any], None] | None = None,
    membrane: Callable[[Any], Tensor | None] | None = None,
) -> None:
    """Let modules of this class (or qualified name) be neurons.

    Parameters
    ----------
    describe : (module, path) -> NeuronModel.
    steps : True where `forward` takes [T, ...], False where it takes one timestep and the module,
        or the caller, keeps the membrane.
    """
    takes = steps if callable(steps) else lambda _: steps
    _HANDLERS[_name(kind)] = Handler(describe, takes, clear, membrane)


def refuse(kind: str, reason: str) -> None:
    """Say of a class of modules, by qualified name, why there is no integer form of it."""
    _REFUSED[kind] = reason


_HARMLESS = ("__init__", "__doc__", "__module__", "__qualname__", "__repr__", "extra_repr")


def find(module: nn.Module) -> Handler | None:
    """The handler of a module that is a neuron; None for any other module."""
    for kind in type(module).__mro__:
        if _name(kind) in _HANDLERS:
            return _HANDLERS[_name(kind)]
        if any(callable(member) for name, member in vars(kind).items() if name not in _HARMLESS):
            break  # what comes now may do something else
    return None


def refusal(module: nn.Module) -> str:
    """Why a module without a handler cannot be had; empty where nothing speaks against it."""
    for kind in type(module).__mro__:
        if _name(kind) in _HANDLERS:
            return (
                f"it is derived from {kind.__name__} and changes what that does; register it "
                "(evenspike_train.lowering.register)"
            )
        if _name(kind) in _REFUSED:
            return _REFUSED[_name(kind)]
    return ""


def scalar(value: Any, where: str, what: str) -> float:
    """A parameter of a neuron as one number; it may be infinite.

    Raises EvenspikeError where its values differ, and for one that is no number.
    """
    values = value.detach().double().flatten() if isinstance(value, Tensor) else None
    if values is None:
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise EvenspikeError(f"{where}: its {what} is {value!r}, no number") from error
    elif not values.numel():
        raise EvenspikeError(f"{where}: its {what} is empty")
    else:
        wrong = int(values.isnan().sum())
        if wrong and values.numel() > 1:
            raise EvenspikeError(f"{where}: its {what} holds {wrong} values that are no numbers")
        if not bool((values == values[0]).all()) and not wrong:
            raise EvenspikeError(
                f"{where}: its {what} differs between neurons ({values.numel()} values); one "
                "number for the whole layer is possible"
            )
        number = float(values[0])
    if math.isnan(number):
        raise EvenspikeError(f"{where}: its {what} is {number}")
    return number
