"""Distributions in a finished run: of its weights, of Z and Y on the way, of its firing rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evenspike_train.runs import checkpoint, dense_phase, export, run_log
from evenspike_train.tickets.admm import BINS

RATE_BINS = 10


def updates(folder: Path, layer: str) -> list[dict[str, Any]]:
    """Histograms of a layer's W, Z and Y at the first, a middle and the last update of ADMM.

    Each with its number `update`, `of` how many, and what `tickets.admm.histograms` gives.
    """
    lines = export.read_history(folder / run_log.FILE, ("updated",))
    chosen = sorted({0, len(lines) // 2, len(lines) - 1}) if lines else []
    return [{"update": n + 1, "of": len(lines), **lines[n]["histograms"][layer]} for n in chosen]


def weights(folder: Path, layer: str) -> dict[str, Any]:
    """Histograms of a layer's living weights, `before` (dense) and `after`, in the same bins.

    `reach` is the largest weight before; the bins go from -reach to reach.
    """
    dense = checkpoint.read(folder / dense_phase.FILE, {"model": dict})["model"]
    before = dense[f"{layer}.parametrizations.weight.original"]
    module: Any = export.load_ticket(folder).model.get_submodule(layer)
    after = module.weight.detach()
    reach = float(before.abs().max())
    return {
        "reach": reach,
        "before": _counts(before, -reach, reach, BINS),
        "after": _counts(after[after != 0], -reach, reach, BINS),
    }


@torch.no_grad()
def rates(folder: Path, images: Tensor) -> list[int]:
    """Number of neurons by their firing rate on images, in `RATE_BINS` equal bins from 0 to 1."""
    model = export.load_ticket(folder).model
    record: list[Tensor] = []
    model(images.cpu(), record)
    each = [one.unflatten(0, (-1, len(images))).mean((0, 1)).flatten() for one in record]
    return _counts(torch.cat(each), 0.0, 1.0, RATE_BINS)


def _counts(values: Tensor, low: float, high: float, bins: int) -> list[int]:
    """A histogram; what is beyond is counted in the last bins."""
    inside = values.float().clamp(low, high)
    return [int(count) for count in torch.histc(inside, bins, low, high).tolist()]
