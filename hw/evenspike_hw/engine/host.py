"""Host: what it puts into the accelerator's memory, and where."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Descriptor, Packed
from evenspike_hw.rtl.descriptor import Tables

Positions = npt.NDArray[np.int64]
Masks = npt.NDArray[np.unsignedinteger[Any]]


def positions(layer: Descriptor) -> Positions:
    """int64 [positions, 3]: block, y and x of each position that a layer drains for one group of an
    image.

    For each pass, tile and slot: the windows of the pool row by row, the positions of a window row
    by row (docs/timing.md, "Barrier, drain, LIF, collector"). A tile's positions come again for
    each image and group before those of the next tile.
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


def input_words(packed: Packed, masks: Masks) -> npt.NDArray[np.uint64]:
    """The words of the input's spikes, masks [channels, H, W] over all timesteps, of a batch with
    an axis of images in front: for each image, group, block, row and column `pes` masks of
    `Arch.timesteps` bits, the one of PE 0 in the low bits, padded to a whole number of port words,
    each of which is `Arch.port_lanes` words of 64 bits.

    Raises EvenspikeError for masks of another shape, or with timesteps that the network does not
    have.
    """
    layer, arch = packed.layers[0], packed.arch
    shape: tuple[int, ...] = (layer.filters, *layer.size)
    if packed.batch > 1:
        shape = (packed.batch, *shape)
    if masks.shape != shape:
        raise EvenspikeError(f"layer {layer.name}: its spikes are {masks.shape}, not {shape}")
    content = masks.astype(np.uint64)
    if (content >> np.uint64(packed.timesteps)).any():
        raise EvenspikeError(
            f"layer {layer.name}: spikes behind the network's {packed.timesteps} timesteps"
        )
    images = content.reshape(packed.batch, layer.filters, *layer.size)
    lanes = np.where((layer.blocks >= 0)[..., None, None], images[:, layer.blocks], np.uint64(0))
    # The axes: images, groups, blocks, rows, columns, PEs, timesteps.
    lanes = lanes.transpose(0, 1, 3, 4, 2)[:, None, ..., None]
    times = np.arange(packed.groups * arch.timesteps, dtype=np.uint64)
    times = times.reshape(1, packed.groups, 1, 1, 1, 1, arch.timesteps)
    spikes = (lanes >> times & np.uint64(1)).astype(np.uint8)
    spikes = spikes.reshape(-1, arch.pes * arch.timesteps)
    bits = np.zeros((len(spikes), arch.input_words * arch.port_bits), dtype=np.uint8)
    bits[:, : spikes.shape[1]] = spikes
    words = np.packbits(bits, axis=1, bitorder="little").view("<u8")
    return words.reshape(-1).astype(np.uint64)


class MemoryMap:
    """The memory of an inference: table, weight stream, the input's spikes, then room for logits.

    weights, input, logits: the port word where each begins; the table does at 0. What is in it is
    given in words of 64 bits, `Arch.port_lanes` for each port word, the lowest first.
    """

    def __init__(self, packed: Packed, tables: Tables) -> None:
        self.packed = packed
        self.tables = tables
        lanes = packed.arch.port_lanes
        self.weights = -(-tables.words.size // lanes)
        self.input = self.weights + packed.stream.size // lanes
        self.logits = self.input + packed.input_words

    @property
    def constant(self) -> npt.NDArray[np.uint64]:
        """Returns the words in front of the input, which are the same for all images."""
        table = np.zeros(self.weights * self.packed.arch.port_lanes, dtype=np.uint64)
        table[: self.tables.words.size] = self.tables.words
        return np.concatenate([table, self.packed.stream])

    def words(self, masks: Masks) -> npt.NDArray[np.uint64]:
        return np.concatenate([self.constant, input_words(self.packed, masks)])
