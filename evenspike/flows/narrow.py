"""Narrow: a Program with 8-bit weights where its spikes stay what they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evenspike.flows.images import Images, check_shape, images
from evenspike.flows.models import load
from evenspike_core import narrow as core
from evenspike_core.narrow import LIMIT, Narrowed
from evenspike_core.program import Program
from evenspike_core.progress import Progress, silent

IMAGES = 20
"""Images of a data set on which it is compared unless there are others."""


def narrow(
    model: Program | Path | str,
    on: Images | int | None = None,
    *,
    data: Path | str | None = None,
    limit: float = LIMIT,
    keep_living: bool = False,
    progress: Progress = silent,
) -> Narrowed:
    """Round a Program's weights to 8 bits in the layers whose spikes that leaves as they are.

    The stream of such a layer's weights is a third shorter, or more. The result prints as what
    became of each layer, and of the classes; its `program` has the old one's name, and says in its
    provenance what was done.

    Parameters
    ----------
    model : a Program, or a name or file of one.
    on : images on which the two are compared, or how many of the data set that it names (20, or all
        there are).
    data : folder of the data set, or a .npy file of inputs.
    limit : share of a layer's spikes that may differ on them; 1 % unless given.
    keep_living : weights that would become zero become 1 or -1, so that a balanced network stays
        balanced.

    Raises EvenspikeError for a limit that is no share, and where there are no such images.
    """
    program = model if isinstance(model, Program) else load(model)
    if not isinstance(on, Images):
        given = images(on, program, data, progress)
        on = given[:IMAGES] if on is None else given
    else:
        check_shape(program, on.pixels)
    found = core.narrow(
        program, on.pixels, on.labels, limit, keep_living=keep_living, progress=progress
    )
    said = {"narrowed": str(found)}
    return replace(
        found,
        program=replace(found.program, provenance={**found.program.provenance, **said}),
    )
