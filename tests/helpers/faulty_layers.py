"""Tables with a layer that the hardware cannot run."""

from __future__ import annotations

from evenspike_hw.rtl.descriptor import LAYER, LAYER_WORDS
from evenspike_hw.rtl.layouts import WORD_BITS

FAULTS = {
    "host": 1,
    "timesteps": 0,
    "groups": 0,
    "leak": 4097,
    "log_tile_height": 15,
    "log_slots": 7,
    "slots_last": 0,
    "height": 0,
    "passes": 0,
    "chunks": 0,
}
"""Values of fields with which a layer behind the first cannot be run."""


def with_fault(words: list[int], number: int, field: str) -> list[int]:
    """The words of a table in which this field of layer `number` has its value of FAULTS."""
    place = LAYER[field]
    offset = number * LAYER_WORDS * WORD_BITS + place.offset
    bits = sum(word << WORD_BITS * n for n, word in enumerate(words))
    bits = bits & ~((1 << place.width) - 1 << offset) | FAULTS[field] << offset
    return [bits >> WORD_BITS * n & (1 << WORD_BITS) - 1 for n in range(len(words))]
