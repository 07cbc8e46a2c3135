"""Spike memory: the spikes of a layer and group of timesteps as CSR rows at a fixed stride."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.fixed import mask_type

Masks = npt.NDArray[np.unsignedinteger[Any]]
"""Spike masks over all timesteps of a network, of `fixed.mask_type`."""
GroupMasks = npt.NDArray[np.uint8]
"""Spike masks of one group, of at most 8 timesteps."""


@dataclass
class SpikeMap:
    """The spikes of one layer in one group as the spike memory holds them.

    counts: int32 [blocks, H]; columns: uint8 [blocks, H, W]; masks: uint8 [blocks, H, W, pes].
    """

    counts: npt.NDArray[np.int32]
    columns: npt.NDArray[np.uint8]
    masks: GroupMasks

    @staticmethod
    def empty(blocks: int, height: int, width: int, pes: int) -> SpikeMap:
        return SpikeMap(
            np.zeros((blocks, height), dtype=np.int32),
            np.zeros((blocks, height, width), dtype=np.uint8),
            np.zeros((blocks, height, width, pes), dtype=np.uint8),
        )

    @staticmethod
    def encode(dense: GroupMasks, blocks: npt.NDArray[np.int32]) -> SpikeMap:
        """CSR of dense masks [filters, H, W]; blocks: the filter of each lane, or -1."""
        rows, pes = blocks.shape
        lanes = np.zeros((rows, pes, *dense.shape[1:]), dtype=np.uint8)
        lanes[blocks >= 0] = dense[blocks[blocks >= 0]]
        entries = lanes.transpose(0, 2, 3, 1)
        fires = entries.any(axis=3)
        spikes = SpikeMap.empty(rows, dense.shape[1], dense.shape[2], pes)
        spikes.counts[:] = fires.sum(axis=2)
        block, y, x = np.nonzero(fires)
        at = np.cumsum(fires, axis=2)[block, y, x] - 1
        spikes.columns[block, y, at] = x
        spikes.masks[block, y, at] = entries[block, y, x]
        return spikes

    def decode(self, blocks: npt.NDArray[np.int32], filters: int) -> GroupMasks:
        """Dense masks [filters, H, W]."""
        rows, height, width, pes = self.masks.shape
        entries = np.zeros((rows, height, width, pes), dtype=np.uint8)
        block, y, at = np.nonzero(self.used)
        entries[block, y, self.columns[block, y, at]] = self.masks[block, y, at]
        dense = np.zeros((filters, height, width), dtype=np.uint8)
        dense[blocks[blocks >= 0]] = entries.transpose(0, 3, 1, 2)[blocks >= 0]
        return dense

    @property
    def used(self) -> npt.NDArray[np.bool_]:
        """Entries of each row that hold spikes, [blocks, H, W]; what lies behind them is old."""
        return np.arange(self.masks.shape[2])[None, None, :] < self.counts[..., None]


def split(masks: Masks, timesteps: int, groups: int) -> list[GroupMasks]:
    """The masks of each group of so many timesteps; of several images, [images, channels, H, W],
    image by image.
    """
    low = (1 << timesteps) - 1
    return [
        (image >> masks.dtype.type(g * timesteps) & low).astype(np.uint8)
        for image in masks.reshape(-1, *masks.shape[-3:])
        for g in range(groups)
    ]


def join(parts: list[GroupMasks], timesteps: int, total: int) -> Masks:
    """Masks over `total` timesteps, of those of each group of `timesteps`; of several images, one
    behind the other, [images, filters, H, W].
    """
    kind = mask_type(total)
    groups = -(-total // timesteps)
    masks = np.zeros((len(parts) // groups, *parts[0].shape), dtype=kind)
    for number, part in enumerate(parts):
        image, group = divmod(number, groups)
        masks[image] |= part.astype(kind) << kind.type(group * timesteps)
    return masks[0] if len(masks) == 1 else masks


def count_spikes(masks: Masks) -> int:
    """Spikes (set bits)."""
    return int(np.bitwise_count(masks).sum(dtype=np.int64))
