"""States: the weights of a network from a file, however its training has left them.

Training code puts a state dict beside other things into a larger one, wraps the model (`module.` of
DataParallel, `_orig_mod.` of torch.compile, a name of its own), prunes (`weight_orig` with
`weight_mask`), and saves in half precision or from a GPU. None of that changes the network.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights")
"""Keys under which training code keeps a state dict, the likeliest first."""

_COUNTER = ".num_batches_tracked"
"""Of a batch norm; no arithmetic of a trained network uses it."""

_MASKED = ".parametrizations."


def read_state(path: Path) -> Any:
    """What a file of torch (or .safetensors) holds; nothing of it is run.

    Raises EvenspikeError for a file that is not readable so, with the reason.
    """
    if not path.is_file():
        raise EvenspikeError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no such file can raise anything
        if isinstance(error, pickle.UnpicklingError) and "Unsupported global" in str(error):
            raise EvenspikeError(
                f"{path}: holds more than tensors (a whole model, or objects of its own), which "
                "reading would run; save model.state_dict() instead"
            ) from error
        raise EvenspikeError(f"{path}: not a readable file of torch: {_line(error)}") from error


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def plain(given: Any, where: str, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict by the names that a network has, in float32, on the CPU.

    Masks of pruning stay as they are: `x_orig` with `x_mask`, or a parametrization's entries.

    Parameters
    ----------
    where : what is read, for messages.
    expected : the network's own state dict.

    Raises EvenspikeError, naming the key, for what is no named tensor of real numbers.
    """
    state = _unwrapped(given, where)
    tensors = {}
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise EvenspikeError(f"{where}: {key!r} is no named tensor")
        tensors[key.replace("_orig_mod.", "")] = _real(tensor, f"{where}: {key}")
    tensors = _without_prefix(tensors, expected)
    kept = {
        key: tensor
        for key, tensor in tensors.items()
        if key in expected or not key.endswith(_COUNTER)
    }
    counters = {key: one for key, one in expected.items() if key.endswith(_COUNTER)}
    return {**counters, **kept}


def _unwrapped(given: Any, where: str) -> Mapping[Any, Any]:
    """The state dict inside of what a training loop has saved."""
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        hint = "; save its state_dict() instead" if isinstance(given, nn.Module) else ""
        raise EvenspikeError(f"{where}: holds a {kind}, not a state dict{hint}")
    if any(isinstance(value, Tensor) for value in given.values()):
        return given
    inner = {
        key: value
        for key, value in given.items()
        if isinstance(value, Mapping) and _holds_tensors(value)
    }
    for key in _WRAPPERS:
        if key in inner:
            return _unwrapped(inner[key], where)
    models = [key for key in inner if "optim" not in str(key)]
    if len(models) == 1:
        return _unwrapped(inner[models[0]], where)
    if not models:
        found = ", ".join(map(repr, given)) or "nothing"
        raise EvenspikeError(f"{where}: holds no tensors, but {found}")
    found = ", ".join(map(repr, models))
    raise EvenspikeError(f"{where}: holds several state dicts ({found}); give the network's alone")


def _holds_tensors(tree: Mapping[Any, Any]) -> bool:
    return any(
        isinstance(value, Tensor) or (isinstance(value, Mapping) and _holds_tensors(value))
        for value in tree.values()
    )


def _real(tensor: Tensor, where: str) -> Tensor:
    if tensor.is_complex() or tensor.is_quantized:
        raise EvenspikeError(f"{where} is not a tensor of real numbers, but {tensor.dtype}")
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor


def _without_prefix(
    tensors: dict[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Names without what a wrapper around the network has put in front of all of them."""
    own = {key.split(".", 1)[0] for key in expected}
    while True:
        first = {key.split(".", 1)[0] for key in tensors}
        if len(first) != 1 or first <= own or any("." not in key for key in tensors):
            return tensors
        tensors = {key.split(".", 1)[1]: tensor for key, tensor in tensors.items()}


def unmasked(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors with every mask multiplied in: zeros where something is pruned.

    Raises EvenspikeError for a mask without its tensor, and the other way round.
    """
    found = {}
    for key, tensor in tensors.items():
        if key.endswith("_orig"):
            stem = key.removesuffix("_orig")
            if f"{stem}_mask" not in tensors:
                raise EvenspikeError(f"{where}: {key} has no {stem}_mask beside it")
            found[stem] = tensor * tensors[f"{stem}_mask"]
        elif key.endswith("_mask") and f"{key.removesuffix('_mask')}_orig" in tensors:
            continue
        elif _MASKED in key and key.endswith(".original"):
            stem = key.removesuffix("original")
            name = key.removesuffix(".original").replace(_MASKED, ".")
            if f"{stem}0.mask" not in tensors:
                raise EvenspikeError(
                    f"{where}: {key} is parametrized by more than a mask; remove the "
                    "parametrization before saving (torch.nn.utils.parametrize)"
                )
            found[name] = tensor * tensors[f"{stem}0.mask"]
        elif _MASKED in key and key.endswith("0.mask"):
            continue
        else:
            found[key] = tensor
    return found


def load_state(module: nn.Module, given: Any, where: str = "weights") -> None:
    """Load a file or a state dict, in any of its spellings, into a network of anybody's.

    Raises EvenspikeError, naming the tensor, for one that is missing, unknown, of another shape, or
    not finite.
    """
    if isinstance(given, (str, Path)):
        where = str(given)
        given = read_state(Path(given))
    expected = module.state_dict()
    tensors = plain(given, where, expected)
    if not tensors.keys() <= expected.keys() or not expected.keys() <= tensors.keys():
        tensors = unmasked(tensors, where)
    name = type(module).__name__
    for key in sorted(expected.keys() - tensors.keys()):
        raise EvenspikeError(f"{where}: {key} is missing; is it a {name}?")
    for key in sorted(tensors.keys() - expected.keys()):
        raise EvenspikeError(f"{where}: {key} is unknown; is it a {name}?")
    for key, like in expected.items():
        tensor = tensors[key]
        if tensor.shape != like.shape:
            if tensor.numel() != like.numel() or tensor.numel() != 1:
                raise EvenspikeError(
                    f"{where}: {key} has shape {tuple(tensor.shape)}, the network "
                    f"{tuple(like.shape)}"
                )
            tensors[key] = tensor.reshape(like.shape)
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise EvenspikeError(f"{where}: {key} holds values that are not finite")
    module.load_state_dict(tensors)
