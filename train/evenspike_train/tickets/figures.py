"""The log's figures about the masks of a round, of both families."""

from __future__ import annotations

import numpy as np

from evenspike_core.metrics import filter_groups, layer_utilization
from evenspike_train.tickets.balance import balanced_layers
from evenspike_train.tickets.base import Probe, WeightMasks
from evenspike_train.tickets.cycle_aware import expected_utilization, possible
from evenspike_train.tickets.masks import sparsity


def paper_utilization(masks: WeightMasks, pes: int) -> float | None:
    """Utilization in the paper's convention, as `core.metrics` has it: mean of the layers.

    Every group of `pes` consecutive filters counts the same in its layer, PEs without a filter
    count as idle. None where no balanced layer has a weight.
    """
    layers = [
        layer_utilization(filter_groups(masks[name].cpu().numpy().astype(np.int16), pes))
        for name in balanced_layers(masks)
    ]
    known = [layer for layer in layers if layer is not None]
    return sum(known) / len(known) if known else None


def figures_of(masks: WeightMasks, pes: int, probe: Probe | None) -> dict[str, float | None]:
    """Sparsity and utilization; the expected one where spikes can be measured."""
    figures: dict[str, float | None] = {
        "sparsity": sparsity(masks),
        "utilization": paper_utilization(masks, pes),
    }
    if probe is not None and possible(pes):
        figures["expected_utilization"] = expected_utilization(masks, probe.weight_work(), pes)
    return figures
