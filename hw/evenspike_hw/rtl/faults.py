"""Faults: why the accelerator stops before an inference, or a fill of the table, is over."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from amaranth.hdl import Module, Signal, Value
from amaranth.utils import ceil_log2


class Fault(IntEnum):
    """What the register FAULT tells. If several are met at once it is the first of them."""

    NONE = 0
    TABLE = 1
    LAYERS = 2
    HOST = 3
    LAST = 4
    READOUT = 5
    TIMESTEPS = 6
    GROUPS = 7
    LEAK = 8
    THRESHOLD = 9
    NEURONS = 10
    TILE = 11
    SLOTS = 12
    EMPTY = 13
    POOL = 14
    LOADS = 15
    CHUNKS = 16
    KERNEL = 17
    LEAD = 18
    BIASES = 19
    BLOCKS = 20
    REPEATS = 21
    PASSES = 22
    WATCHDOG = 23

    @property
    def meaning(self) -> str:
        """In words."""
        return MEANING[self]


MEANING = {
    Fault.NONE: "none since the last start, fill or abort",
    Fault.TABLE: "`TABLE_WORDS` is more than the table has",
    Fault.LAYERS: "the descriptors of the layers go on behind the last word that was filled, or "
    "behind the 256th layer",
    Fault.HOST: "layer 0 is not the host's, or another one is",
    Fault.LAST: "layer 0 is the last",
    Fault.READOUT: "a layer that is not the last has a read-out, or the last has none",
    Fault.TIMESTEPS: "the last group has no timestep, or more than the hardware",
    Fault.GROUPS: "no group, or more than 32",
    Fault.LEAK: "the leak is more than 4096",
    Fault.THRESHOLD: "the threshold is 0",
    Fault.NEURONS: "a tile has more neurons in all its slots and images than a PE has accumulators",
    Fault.TILE: "a side of the tile is more than 256",
    Fault.SLOTS: "more slots than a PE has, none in the last pass, or a chunk with others than its "
    "layer",
    Fault.EMPTY: "a map without rows or columns, or no pass or image",
    Fault.POOL: "a pool on an odd map, or on a tile of one row or column",
    Fault.LOADS: "no load",
    Fault.CHUNKS: "no chunk, or a list that goes on behind the last word that was filled",
    Fault.KERNEL: "a chunk's kernel is none of its layer's, or beyond `kernel_max`",
    Fault.LEAD: "a chunk's first lane is none of the hardware's",
    Fault.BIASES: "the chunk with the biases is not the last of its list",
    Fault.BLOCKS: "a chunk of no block, or of more than a scratchpad has presence bits for",
    Fault.REPEATS: "a pass is read no time",
    Fault.PASSES: "the list of passes goes on behind the last word that was filled",
    Fault.WATCHDOG: "nothing has moved for as many cycles as `WATCHDOG` says",
}
"""Of each, in words."""

FAULT_BITS = ceil_log2(len(Fault))


def first_fault(m: Module, reasons: Mapping[Fault, Value]) -> Signal:
    """The code of the first of these that is met, in the order of `Fault`; NONE if none is."""
    code = Signal(FAULT_BITS, name="fault_code")
    for fault in sorted(reasons, reverse=True):
        met = Signal(name=f"fault_{fault.name.lower()}")
        m.d.comb += met.eq(reasons[fault])
        with m.If(met):
            m.d.comb += code.eq(fault)
    return code
