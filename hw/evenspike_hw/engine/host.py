"""Host: what it puts into the accelerator's memory, and where."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evenspike_core.pack import Descriptor, Packed
from evenspike_hw.rtl.descriptor import Tables
from evenspike_hw.rtl.layouts import PSUM_BITS

Positions = npt.NDArray[np.int64]


def positions(layer: Descriptor) -> Positions:
    """int64 [positions, 3]: block, y and x of each position of a layer in drain order.

    For each pass, tile and slot: the windows of the pool row by row, the positions of a window row
    by row (docs/timing.md, "Barrier, drain, LIF, collector").
    """
    found = []
    side = layer.pool
    for number, slots in enumerate(layer.slots_used):
        for top in range(0, layer.size[0], layer.tile[0]):
            for left in range(0, layer.size[1], layer.tile[1]):
                height = min(layer.tile[0], layer.size[0] - top)
                width = min(layer.tile[1], layer.size[1] - left)
                grid = np.indices((slots, height // side, width // side, side, side))
                slot, wy, wx, y, x = grid.reshape(5, -1)
                block = number * layer.slots + slot
                found.append(np.stack([block, top + wy * side + y, left + wx * side + x], axis=1))
    return np.concatenate(found)


def current_words(packed: Packed, currents: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    """The words of `currents` [filters, H, W]: for each position `pes` currents of 24 bits, the one
    of PE 0 in the low bits, padded to a whole number of words.
    """
    layer, arch = packed.layers[0], packed.arch
    block, y, x = positions(layer).T
    lanes = layer.blocks[block]  # [positions, pes]
    values = np.where(lanes >= 0, currents[lanes, y[:, None], x[:, None]], 0)
    low = (values.astype(np.int64) & (1 << PSUM_BITS) - 1).astype("<u4")
    content = np.zeros((len(block), arch.current_words * 8), dtype=np.uint8)
    content[:, : arch.pes * 3] = (
        low.view(np.uint8).reshape(len(block), arch.pes, 4)[:, :, :3].reshape(len(block), -1)
    )
    return content.view("<u8").reshape(-1).astype(np.uint64)


class MemoryMap:
    """The memory of an inference: table, weight stream, host currents, and then room for logits.

    weights, currents, logits: where each begins; the table does at 0.
    """

    def __init__(self, packed: Packed, tables: Tables) -> None:
        self.packed = packed
        self.tables = tables
        self.weights = tables.words.size
        self.currents = self.weights + packed.stream.size

    @property
    def logits(self) -> int:
        first = self.packed.layers[0]
        silence = np.zeros((first.filters, *first.size), dtype=np.int32)
        return self.currents + current_words(self.packed, silence).size

    @property
    def constant(self) -> npt.NDArray[np.uint64]:
        """Returns the words in front of the currents, which are the same for all images."""
        return np.concatenate([self.tables.words, self.packed.stream])

    def words(self, currents: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
        return np.concatenate([self.constant, current_words(self.packed, currents)])
