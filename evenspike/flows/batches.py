"""Batches: images that go through the network together, and what each of them gave.

The last batch of a run is filled up with its last image, whose copies nobody asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike.flows.images import Images
from evenspike_core import reference
from evenspike_core.counters import LayerStatement
from evenspike_core.pack import Packed


def batches(count: int, packed: Packed) -> int:
    """How many batches so many images make."""
    return -(-count // packed.batch)


def members(number: int, images: Images, packed: Packed) -> range:
    """Positions of the images of a batch, without the copies that fill it up."""
    return range(number * packed.batch, min((number + 1) * packed.batch, len(images)))


def encode(number: int, images: Images, packed: Packed) -> npt.NDArray[np.unsignedinteger[Any]]:
    """The input's spikes of a batch, [images, channels, H, W]; of one image without that axis."""
    own = [
        reference.encode(packed.program, images.pixels[at])
        for at in members(number, images, packed)
    ]
    own += own[-1:] * (packed.batch - len(own))
    return own[0] if packed.batch == 1 else np.stack(own)


def of_image(statements: Sequence[LayerStatement], at: int, packed: Packed) -> list[LayerStatement]:
    """What is said of an image, out of what is said of its batch: its own spikes and logits, and
    the cycles and counters that it shares with the others. at: in the batch.
    """
    if packed.batch == 1:
        return list(statements)
    return [
        replace(
            one,
            masks=None if one.masks is None else one.masks[at],
            logits=None if one.logits is None else one.logits[at],
        )
        for one in statements
    ]
