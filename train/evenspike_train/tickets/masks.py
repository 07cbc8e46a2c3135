"""Weight masks: a parametrization, so that a pruned module is an ordinary module.

``module.weight`` is ``original * mask``; the optimiser owns ``original``, gradients
of pruned weights are zero by construction, and a state dict carries both.  Masks
are boolean: True = the weight lives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from evenspike_core.errors import EvenspikeError
from evenspike_train.lowering import states
from evenspike_train.networks import prunable
from evenspike_train.tickets.base import WeightMasks


class _Masked(torch.autograd.Function):
    """w * mask whose gradient is that of w everywhere: dead weights have one, too."""

    @staticmethod
    def forward(_: Any, weight: Tensor, mask: Tensor) -> Tensor:
        return weight * mask

    @staticmethod
    def backward(_: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class Mask(nn.Module):
    """Parametrization w -> w * mask, with the mask as a buffer.

    passes_gradients : whether dead weights have the gradient that they had if they lived.
    """

    mask: Tensor
    passes_gradients = False

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.to(torch.bool))
        self._looked_at: tuple[Tensor | None, int] = (None, -1)
        self._whole = False

    def forward(self, weight: Tensor) -> Tensor:
        # Torch counts what changes a tensor in place: a state that is loaded, too. What moves a
        # module to another device or memory format puts another tensor in its place, which counts
        # from 0 again.
        looked_at, version = self._looked_at, self.mask._version  # noqa: SLF001 - nothing public
        if looked_at[0] is not self.mask or looked_at[1] != version:
            self._looked_at, self._whole = (self.mask, version), bool(self.mask.all())
        # Before anything is pruned the product would cost a tenth of a bfloat16 step.
        if self._whole:
            return weight
        if self.passes_gradients:
            masked: Tensor = _Masked.apply(weight, self.mask)
            return masked
        return weight * self.mask

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def _weight(module: nn.Module) -> Tensor:
    return cast("Tensor", module.weight)


def _parametrizations(module: nn.Module) -> parametrize.ParametrizationList:
    every = cast("nn.ModuleDict", module.parametrizations)
    return cast("parametrize.ParametrizationList", every["weight"])


def _parametrization(module: nn.Module) -> Mask | None:
    if not parametrize.is_parametrized(module, "weight"):
        return None
    for entry in _parametrizations(module):
        if isinstance(entry, Mask):
            return entry
    return None


def attach(model: nn.Module) -> None:
    """Give every prunable weight an all-True mask, if it has none yet."""
    for _, module in prunable(model):
        if _parametrization(module) is None:
            ones = torch.ones_like(_weight(module), dtype=torch.bool)
            parametrize.register_parametrization(module, "weight", Mask(ones))


def detach(model: nn.Module) -> None:
    """Make the zeros permanent and the weights ordinary parameters again."""
    for _, module in prunable(model):
        if _parametrization(module) is not None:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def read(model: nn.Module) -> WeightMasks:
    """Copies of the masks by module name; non-zero weights where none is attached."""
    masks = {}
    for name, module in prunable(model):
        entry = _parametrization(module)
        masks[name] = _weight(module).detach() != 0 if entry is None else entry.mask.clone()
    return masks


def write(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set the masks in place (they must be attached); names and shapes must match."""
    modules = dict(prunable(model))
    if modules.keys() != masks.keys():
        odd = sorted(modules.keys() ^ masks.keys())
        raise ValueError(f"masks: the model and the masks disagree about {', '.join(odd)}")
    for name, mask in masks.items():
        entry = _parametrization(modules[name])
        if entry is None:
            raise ValueError(f"masks: {name} has no mask attached")
        if entry.mask.shape != mask.shape:
            raise ValueError(
                f"masks: {name} has shape {tuple(entry.mask.shape)}, the mask {tuple(mask.shape)}"
            )
        entry.mask.copy_(mask)


def pass_gradients(model: nn.Module, passes: bool) -> None:
    """Let dead weights have a gradient, or not; the masks must be attached."""
    for _, module in prunable(model):
        entry = _parametrization(module)
        if entry is not None:
            entry.passes_gradients = passes


@torch.no_grad()
def zero_dead(model: nn.Module) -> None:
    """Set the weights that do not live to 0, whatever a step has made of them."""
    for _, module in prunable(model):
        entry = _parametrization(module)
        if entry is not None:
            _parametrizations(module).original.mul_(entry.mask)


def originals(model: nn.Module) -> dict[str, Tensor]:
    """The unmasked weights by module name, to be changed in place under no_grad."""
    return {
        name: _weight(module)
        if _parametrization(module) is None
        else _parametrizations(module).original
        for name, module in prunable(model)
    }


def sparsity(masks: Mapping[str, Tensor]) -> float:
    """Share of prunable weights that are gone, over all layers together."""
    total = sum(mask.numel() for mask in masks.values())
    alive = sum(int(mask.sum()) for mask in masks.values())
    return 1 - alive / total


def of_channels(masks: Mapping[str, Tensor]) -> bool:
    """Whether what is pruned are input channels of convolutions, and nothing else.

    False for a network that has all its weights.
    """
    gone = [mask for mask in masks.values() if not bool(mask.all())]
    return bool(gone) and all(
        mask.dim() == 4 and bool((mask == mask[:1, :, :1, :1]).all()) for mask in gone
    )


def check_living(masks: Mapping[str, Tensor], where: str) -> None:
    """Raise EvenspikeError for a layer without a living weight: nothing gets past it."""
    empty = [name for name, mask in masks.items() if not bool(mask.any())]
    if empty:
        raise EvenspikeError(
            f"{where}: pruning leaves no weight of {', '.join(empty)}; prune less, or, where the "
            'method has a scope, each layer by itself (scope = "local")'
        )


def from_torch_prune(state: Mapping[str, Tensor], where: str = "checkpoint") -> dict[str, Tensor]:
    """Rename a `torch.nn.utils.prune` state dict to that of a model with masks attached.

    ``x.weight_orig`` and ``x.weight_mask`` become the parametrization's entries; a
    weight without a mask gets an all-True one.  A pruned bias becomes one with zeros.
    Other state dicts pass unchanged. where: what is read, for messages.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        part = key.removesuffix("_orig").removesuffix("_mask")
        if part == key:
            renamed[key] = value
            continue
        if f"{part}_orig" not in state:  # a name of the network's own
            renamed[key] = value
            continue
        if f"{part}_mask" not in state:
            raise EvenspikeError(states.without_mask(f"{where}: {key}", f"{part}_mask"))
        weight = state[f"{part}_orig"]
        mask = states.checked_mask(state[f"{part}_mask"], weight, f"{where}: {part}_mask")
        if not part.endswith(".weight"):
            renamed[part] = weight * mask
            continue
        prefix = f"{part.removesuffix('weight')}parametrizations.weight."
        renamed[prefix + "original"] = weight
        renamed[prefix + "0.mask"] = mask.to(torch.bool)
    return renamed
