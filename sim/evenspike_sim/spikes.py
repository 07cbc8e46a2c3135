"""Spike memory: the spikes of a layer as CSR rows at a fixed stride."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Masks = npt.NDArray[np.uint8]


@dataclass
class SpikeMap:
    """The spikes of one layer as the spike memory holds them: CSR rows at a fixed stride.

    counts: int32 [blocks, H]; columns: uint8 [blocks, H, W]; masks: uint8 [blocks, H, W, pes].
    """

    counts: npt.NDArray[np.int32]
    columns: npt.NDArray[np.uint8]
    masks: Masks

    @staticmethod
    def empty(blocks: int, height: int, width: int, pes: int) -> SpikeMap:
        return SpikeMap(
            np.zeros((blocks, height), dtype=np.int32),
            np.zeros((blocks, height, width), dtype=np.uint8),
            np.zeros((blocks, height, width, pes), dtype=np.uint8),
        )

    @staticmethod
    def encode(dense: Masks, blocks: npt.NDArray[np.int32]) -> SpikeMap:
        """CSR of dense masks [filters, H, W]; blocks: the filter of each lane, or -1."""
        rows, pes = blocks.shape
        lanes = np.zeros((rows, pes, *dense.shape[1:]), dtype=np.uint8)
        lanes[blocks >= 0] = dense[blocks[blocks >= 0]]
        entries = lanes.transpose(0, 2, 3, 1)
        spikes = SpikeMap.empty(rows, dense.shape[1], dense.shape[2], pes)
        for block, y in np.ndindex(rows, dense.shape[1]):
            columns = np.flatnonzero(entries[block, y].any(axis=1))
            spikes.counts[block, y] = columns.size
            spikes.columns[block, y, : columns.size] = columns
            spikes.masks[block, y, : columns.size] = entries[block, y, columns]
        return spikes

    def decode(self, blocks: npt.NDArray[np.int32], filters: int) -> Masks:
        """Dense masks [filters, H, W]."""
        rows, height, width, _ = self.masks.shape
        dense = np.zeros((filters, height, width), dtype=np.uint8)
        for block, y in np.ndindex(rows, height):
            count = self.counts[block, y]
            used = blocks[block] >= 0
            dense[blocks[block, used][:, None], y, self.columns[block, y, :count][None, :]] = (
                self.masks[block, y, :count][:, used].T
            )
        return dense


def count_spikes(masks: Masks, counts: npt.NDArray[np.int32] | None = None) -> int:
    """Spikes (set bits); with `counts`, of the entries in use only."""
    if counts is not None:
        used = np.arange(masks.shape[2])[None, None, :] < counts[..., None]
        masks = masks[used]
    return int(np.unpackbits(masks).sum())
