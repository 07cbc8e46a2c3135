"""States: the weights of a network from a file, however its training has left them.

Training code puts a state dict beside other things into a larger one, wraps the model (`module.` of
DataParallel, `_orig_mod.` of torch.compile, a name of its own), prunes (`weight_orig` with
`weight_mask`), normalises weights (`weight_g` with `weight_v`), and saves in half precision or from
a GPU. None of that changes the network.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
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

PARAMETRIZED = ".parametrizations."
"""In the names of what torch computes a parameter of."""


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
    Normalised weights are computed.

    Parameters
    ----------
    where : what is read, for messages.
    expected : the network's own state dict.

    Raises EvenspikeError, naming the key, for what is no named tensor of real numbers, and for
    several networks in one.
    """
    state = _unwrapped(given, where)
    tensors = {}
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise EvenspikeError(f"{where}: {key!r} is no named tensor")
        tensors[key.replace("_orig_mod.", "")] = _real(tensor, f"{where}: {key}")
    tensors = _normalised(_named(tensors, expected, where), expected, where)
    kept = {
        key: tensor
        for key, tensor in tensors.items()
        if key in expected or not key.endswith(_COUNTER)
    }
    counters = {key: one for key, one in expected.items() if key.endswith(_COUNTER)}
    return {**counters, **kept}


def _unwrapped(given: Any, where: str) -> Mapping[Any, Any]:
    """The state dict inside of what a training loop has saved.

    Tensors beside a state dict are a loop's own (its best accuracy): the state dict counts.
    """
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        hint = "; save its state_dict() instead" if isinstance(given, nn.Module) else ""
        raise EvenspikeError(f"{where}: holds a {kind}, not a state dict{hint}")
    inner = {
        key: value
        for key, value in given.items()
        if isinstance(value, Mapping) and _holds_tensors(value)
    }
    for key in _WRAPPERS:
        if key in inner:
            return _unwrapped(inner[key], where)
    if any(isinstance(value, Tensor) for value in given.values()):
        return given
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


_PARTS = re.compile(
    r"_orig$|_mask$|_g$|_v$|\.original[01]?$|\.0\.mask$",
)
"""How names of what a pruned or normalised tensor is computed of end."""


def _bases(names: Iterable[str]) -> set[str]:
    """The tensors that a state dict is about, without counters."""
    found = {_PARTS.sub("", name).replace(PARAMETRIZED, ".") for name in names}
    return {name for name in found if not name.endswith(_COUNTER)}


def _named(
    tensors: dict[str, Tensor], expected: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The tensors by the network's names: without what a wrapper has put in front of all of them,
    and with what the network itself has there.

    Raises EvenspikeError for a network under one name beside others.
    """
    wanted = _bases(expected)
    fronts = _fronts(expected)
    best, most = tensors, 0
    part = tensors
    while True:
        for front in fronts:
            named = {front + key: tensor for key, tensor in part.items()}
            fit = len(_bases(named) & wanted)
            if fit > most:
                best, most = named, fit
        first = {key.split(".", 1)[0] for key in part}
        if len(first) != 1 or any("." not in key for key in part):
            break
        part = {key.split(".", 1)[1]: tensor for key, tensor in part.items()}
    if not most:
        _check_single(
            part, [{one.removeprefix(front) for one in wanted} for front in fronts], where
        )
    return best


def _fronts(expected: Mapping[str, Tensor]) -> list[str]:
    """Everything to a dot that all of a network's names begin with; nothing, too."""
    one = next(iter(expected), "")
    fronts = [one[: i + 1] for i in (-1, *_dots(one))]
    return [front for front in fronts if all(key.startswith(front) for key in expected)]


def _check_single(tensors: Mapping[str, Tensor], wanted: list[set[str]], where: str) -> None:
    """Raise EvenspikeError where networks lie under names of their own."""
    fronts = list(dict.fromkeys(key[: i + 1] for key in tensors for i in _dots(key)))
    held = [
        front
        for front in fronts
        if any(
            one <= _bases(key.removeprefix(front) for key in tensors if key.startswith(front))
            for one in wanted
        )
    ]
    if not held:
        return
    names = ", ".join(repr(front.removesuffix(".")) for front in held)
    other = next((key for key in tensors if not key.startswith(tuple(held))), None)
    beside = "" if other is None else f" and {other!r} beside"
    raise EvenspikeError(
        f"{where}: holds the network's tensors under {names}{beside}; give those of one alone, "
        "without what they begin with"
    )


def _dots(key: str) -> list[int]:
    return [i for i, letter in enumerate(key) if letter == "."]


def _normalised(
    tensors: dict[str, Tensor], expected: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The tensors with weights of `weight_norm` computed, from the names of old and new torch."""
    found = dict(tensors)
    for key, factor in tensors.items():
        if key.endswith(".original0") and PARAMETRIZED in key:
            other = f"{key.removesuffix('0')}1"
            name = key.removesuffix(".original0").replace(PARAMETRIZED, ".")
        elif key.endswith("_g") and key not in expected:
            name = key.removesuffix("_g")
            other = f"{name}_v"
        else:
            continue
        if name not in expected or other not in tensors:
            continue
        direction = tensors[other]
        spans = [i for i in range(direction.dim()) if not factor.dim() or factor.shape[i] == 1]
        if factor.dim() not in (0, direction.dim()) or any(
            i not in spans and factor.shape[i] != n for i, n in enumerate(direction.shape)
        ):
            raise EvenspikeError(
                f"{where}: {key} of {tuple(factor.shape)} is no norm of {other}, "
                f"{tuple(direction.shape)}"
            )
        length = torch.linalg.vector_norm(direction.double(), dim=spans, keepdim=True)
        found[name] = (factor.double() * (direction.double() / length)).float()
        del found[key], found[other]
    return found


def unmasked(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors with every mask multiplied in: zeros where something is pruned.

    Raises EvenspikeError for a tensor without its mask, or one that is no mask.
    """
    found = {}
    for key, tensor in tensors.items():
        if key.endswith("_orig"):
            stem = key.removesuffix("_orig")
            mask = f"{stem}_mask"
            if mask not in tensors:
                raise EvenspikeError(without_mask(f"{where}: {key}", mask))
            found[stem] = tensor * checked_mask(tensors[mask], tensor, f"{where}: {mask}")
        elif key.endswith("_mask") and f"{key.removesuffix('_mask')}_orig" in tensors:
            continue
        elif PARAMETRIZED in key and key.rpartition(".")[2].startswith("original"):
            stem = key.rpartition(".")[0]
            mask = f"{stem}.0.mask"
            if mask not in tensors or not key.endswith(".original"):
                raise EvenspikeError(without_mask(f"{where}: {key}", mask))
            masked = tensor * checked_mask(tensors[mask], tensor, f"{where}: {mask}")
            found[stem.replace(PARAMETRIZED, ".")] = masked
        elif PARAMETRIZED in key and key.endswith(".0.mask"):
            continue
        else:
            found[key] = tensor
    return found


def without_mask(key: str, mask: str) -> str:
    """What to say of a key, with where it was read, that has no mask of this name beside it."""
    return (
        f"{key} has no {mask.rpartition('.')[2]} beside it: it is parametrized by something else "
        "than a mask (a spectral norm?); remove that before saving"
    )


def checked_mask(mask: Tensor, tensor: Tensor, where: str) -> Tensor:
    """The mask of a tensor; raises EvenspikeError for another shape, or others than 0 and 1."""
    if mask.shape != tensor.shape:
        raise EvenspikeError(
            f"{where} has shape {tuple(mask.shape)}, what it prunes {tuple(tensor.shape)}"
        )
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise EvenspikeError(f"{where} holds values other than 0 and 1")
    return mask


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
