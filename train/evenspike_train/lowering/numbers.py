"""Numbers: whether what a function gives depends on the numbers of an activation.

A network is followed on one example, so code that looks at an activation's numbers would be frozen
as it went there. What depends on shapes and types alone comes out of tensors without numbers, too
(device "meta"): where it does not, or where it is something else, it depends on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from evenspike_train.lowering.trees import leaves, tensors

_KINDS = frozenset(
    ("__hash__", "type", "data_ptr", "get_device", "is_pinned", "is_shared", "is_inference")
)
"""What says where a tensor lies, or its type in words."""


def read(func: Any, name: str, args: Any, kwargs: Any, result: Any) -> bool:
    """Whether a result that is no tensor depends on an activation's numbers.

    Strings always do: they are numbers printed.
    """
    if name.startswith("get.") or name in _KINDS:
        return any(isinstance(one, torch.UntypedStorage) for one in _others(result))
    found = list(_others(result))
    if all(one is None or isinstance(one, (torch.dtype, torch.device)) for one in found):
        return False
    if not all(isinstance(one, (bool, int, float, complex)) for one in found):
        return True
    try:
        return list(_others(_without(func, args, kwargs))) != found
    except Exception:  # noqa: BLE001 - whatever a function does without numbers
        return True


def _others(tree: Any) -> Iterator[Any]:
    """What it holds besides tensors."""
    return (one for one in leaves(tree) if not isinstance(one, Tensor))


def sized(func: Any, args: Any, kwargs: Any, outputs: list[Tensor]) -> bool:
    """Whether the shapes of the tensors that come out depend on an activation's numbers."""
    try:
        shapes = [one.shape for one in tensors(_without(func, args, kwargs))]
    except (RuntimeError, NotImplementedError) as error:
        return _asks(error)
    except Exception:  # noqa: BLE001 - it cannot be told; what comes out has no form in any case
        return False
    return shapes != [one.shape for one in outputs]


def _asks(error: Exception) -> bool:
    """Whether a function has failed because it needs numbers, and not for want of a rule."""
    text = str(error).lower()
    return any(word in text for word in ("meta", "data-dependent", "item()"))


def _without(func: Any, args: Any, kwargs: Any) -> Any:
    """The function's result on tensors without numbers."""
    return func(*_bare(args), **_bare(kwargs))


def _bare(tree: Any) -> Any:
    """Nested arguments with tensors that hold no numbers."""
    if isinstance(tree, Tensor):
        return tree.detach().to("meta")
    if isinstance(tree, Mapping):
        return {key: _bare(one) for key, one in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(_bare(one) for one in tree)
    return torch.device("meta") if isinstance(tree, torch.device) else tree
