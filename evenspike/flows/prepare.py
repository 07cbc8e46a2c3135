"""Prepare: a Program mapped onto an Arch and laid out in memory words, ready to simulate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from evenspike.flows import mappings
from evenspike_core import pack as layout
from evenspike_core.arch import Arch, as_arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import KINDS, Activity
from evenspike_core.pack import Packed
from evenspike_core.program import Layer, Program
from evenspike_sim.cost import draw


def calibration(program: Program) -> Activity:
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


def pack(
    program: Program,
    arch: Arch | str = "packed",
    *,
    mapping: str = "cost",
    batch: int | None = None,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Packed:
    """Map a Program onto an Arch, by the cycle model's own cost on spikes drawn at the training
    activity, and lay it out in memory.

    arch: an Arch, or what `preset` takes. mapping: "cost", or "natural" for filters in their order.
    batch: images that go through the network together, a power of two; None for one for each
    cluster of the Arch.
    progress: called with ("mapping", layers mapped, layers in all).

    A mapping that was found before is taken from the user's cache (`evenspike.flows.mappings`).

    Raises EvenspikeError for another name of a mapping or an Arch, and for a Program that the Arch
    cannot run.
    """
    if not isinstance(program, Program):
        raise EvenspikeError(f"pack: {program!r:.60} is no Program; load(...) gives one")
    if mapping not in KINDS:
        raise EvenspikeError(f"no mapping {mapping!r}; there are {', '.join(KINDS)}")
    machine = as_arch(arch)
    activity = calibration(program)
    found = mappings.choose(
        program,
        machine,
        draw(program, activity),
        activity,
        natural=mapping == "natural",
        batch=batch,
        progress=None if progress is None else partial(progress, "mapping"),
    )
    return layout.pack(program, found, machine, mapping)
