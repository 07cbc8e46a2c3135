"""Prepare: a Program mapped onto an Arch and laid out in memory words, ready to simulate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evenspike_core import mapping
from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Packed, pack
from evenspike_core.program import Layer, Program
from evenspike_sim.cost import draw, layer_cost


def calibration(program: Program) -> mapping.Activity:
    """Share of active neurons per layer and channel, as the exporter measured it in training.

    Empty for a Program that carries none; a layer that is not in it gets None.
    """
    stored = program.provenance.get("activity")
    if stored is None:
        return ()
    found: list[npt.NDArray[np.float64] | None] = []
    for layer in program.layers:
        values = stored.get(layer.name) if isinstance(stored, dict) else None
        found.append(None if values is None else _shares(layer, values))
    return found


def _shares(layer: Layer, values: object) -> npt.NDArray[np.float64]:
    try:
        shares = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        shares = np.full(layer.filters, np.nan)
    if shares.shape != (layer.filters,) or not ((shares >= 0) & (shares <= 1)).all():
        raise EvenspikeError(
            f"layer {layer.name}: its activity is not {layer.filters} shares from 0 to 1"
        )
    return shares


def prepare(program: Program, arch: Arch, natural: bool) -> Packed:
    """Map by the cycle model's own cost on spikes drawn at the training activity, and pack."""
    activity = calibration(program)
    cost = layer_cost(arch, draw(program, activity))
    return pack(program, mapping.choose(program, arch, cost, activity, natural=natural), arch)
