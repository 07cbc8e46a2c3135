"""Weights: parameters of a network as arrays, and where they are pruned."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.nn.utils import parametrize

from evenspike_core.errors import EvenspikeError


def array_of(tensor: Tensor, name: str) -> npt.NDArray[np.float64]:
    """The tensor in float64; raises EvenspikeError, naming it, for values that are not finite."""
    array: npt.NDArray[np.float64] = tensor.detach().cpu().double().contiguous().numpy()
    wrong = int((~np.isfinite(array)).sum())
    if wrong:
        raise EvenspikeError(f"{name}: holds {wrong} values that are not finite")
    return array


def alive_of(
    module: nn.Module, weight: Tensor, numbers: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Where a module's weight lives: by a parametrization's mask, as ours are, or torch's own; else
    where it is not 0.
    """
    mask: Tensor | None = None
    if parametrize.is_parametrized(module, "weight"):
        every = cast("nn.ModuleDict", module.parametrizations)["weight"]
        held = (getattr(one, "mask", None) for one in every.children())
        mask = next((one for one in held if isinstance(one, Tensor)), None)
    else:
        mask = dict(module.named_buffers(recurse=False)).get("weight_mask")
    if mask is None or mask.shape != weight.shape:
        return numbers != 0
    return mask.detach().cpu().contiguous().numpy() != 0
