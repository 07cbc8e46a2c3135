"""Measure: what a Program costs an image on the cycle model, for a training run's log."""

from __future__ import annotations

from evenspike.flows.images import Pixels
from evenspike.flows.prepare import pack
from evenspike.flows.simulate import simulate
from evenspike_core.arch import Arch
from evenspike_core.program import Program


def measure(program: Program, images: Pixels, arch: Arch, mapping: str) -> dict[str, float]:
    """Mean figures of an image.

    Parameters
    ----------
    program : with the activity of its channels in the provenance, if the mapping is to know it.
    images : uint8 [N, *program.shape], at least one.
    mapping : "cost" (the mapper's assignment of filters to PEs) or "natural" (in their order).

    Returns
    -------
    "cycles"; "hardware_utilization", the busy share of the PEs' cycles (the report's
    `utilization`, not the paper's convention); "energy_pj".

    Raises EvenspikeError for images of another shape, and for a Program that the Arch cannot hold.
    """
    run = simulate(pack(program, arch, mapping=mapping), images, check=False, jobs=1)
    return {
        "cycles": run.cycles,
        "hardware_utilization": run.utilization,
        "energy_pj": run.energy_pj,
    }
