"""Measure: what a Program costs an image on the cycle model, for a training run's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program

if TYPE_CHECKING:
    from evenspike.flows.images import Pixels


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
    `utilization`, not the paper's convention); "energy_pj"; "words_loaded", of the memory port.

    Raises EvenspikeError for images of another shape, for a Program that the Arch cannot hold, and
    without numba, which a machine that only trains need not have.
    """
    try:
        from evenspike.flows.prepare import pack  # noqa: PLC0415 - these two need numba
        from evenspike.flows.simulate import simulate  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise EvenspikeError(f"the cycle model needs {error.name}") from error
    run = simulate(pack(program, arch, mapping=mapping), images, check=False, jobs=1)
    return {
        "cycles": run.cycles,
        "hardware_utilization": run.utilization,
        "energy_pj": run.energy_pj,
        "words_loaded": run.words_loaded,
    }
