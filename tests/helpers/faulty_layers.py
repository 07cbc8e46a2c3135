"""Tables with a layer that the hardware cannot run."""

from __future__ import annotations

from evenspike_hw.rtl.descriptor import LAYER, LAYER_WORDS
from evenspike_hw.rtl.faults import Fault
from evenspike_hw.rtl.layouts import WORD_BITS

FAULTS = {
    "host": (1, Fault.HOST),
    "timesteps": (0, Fault.TIMESTEPS),
    "groups": (0, Fault.GROUPS),
    "leak": (4097, Fault.LEAK),
    "log_tile_height": (15, Fault.NEURONS),
    "log_slots": (7, Fault.NEURONS),
    "slots_last": (0, Fault.SLOTS),
    "height": (0, Fault.EMPTY),
    "passes": (0, Fault.EMPTY),
    "parts": (0, Fault.EMPTY),
    "loads": (0, Fault.LOADS),
    "chunks": (0, Fault.CHUNKS),
    "chunk_base": ((1 << 16) - 1, Fault.CHUNKS),
}
"""Values of fields with which a layer behind the first cannot be run, and why."""


def with_fault(words: list[int], number: int, field: str) -> list[int]:
    """The words of a table in which this field of layer `number` has its value of FAULTS."""
    place = LAYER[field]
    offset = number * LAYER_WORDS * WORD_BITS + place.offset
    value, _ = FAULTS[field]
    bits = sum(word << WORD_BITS * n for n, word in enumerate(words))
    bits = bits & ~((1 << place.width) - 1 << offset) | value << offset
    return [bits >> WORD_BITS * n & (1 << WORD_BITS) - 1 for n in range(len(words))]
