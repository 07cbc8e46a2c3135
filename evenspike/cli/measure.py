"""What a Program costs an image on the cycle model: a few figures of the `sim` verb's report."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evenspike.flows.prepare import prepare
from evenspike.report import contents
from evenspike_core import reference
from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program
from evenspike_sim.accelerator import Accelerator


def measure(
    program: Program, images: npt.NDArray[np.uint8], arch: Arch, mapping: str
) -> dict[str, float]:
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
    if images.shape[1:] != program.shape or not len(images):
        raise EvenspikeError(
            f"{program.name}: takes pixels {program.shape}, the images are {images.shape}"
        )
    if mapping not in ("cost", "natural"):
        raise EvenspikeError(f"no mapping {mapping!r}; there are cost, natural")
    image = prepare(program, arch, mapping == "natural")
    accelerator = Accelerator(image)
    runs = [accelerator.run(reference.host_currents(program, one)) for one in images]
    totals = contents.contents(program, image, 0, runs, model=program.name, mapping=mapping)[
        "totals"
    ]
    return {
        "cycles": float(totals["cycles"]),
        "hardware_utilization": float(totals["utilization"]),
        "energy_pj": float(totals["energy_pj"]),
    }
