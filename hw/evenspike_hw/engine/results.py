"""Results: what an inference on the RTL leaves in each layer, as the drivers collect it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Descriptor, Packed
from evenspike_core.program import Readout
from evenspike_hw.engine.host import Masks
from evenspike_hw.rtl.layouts import LOGIT_BITS
from evenspike_hw.rtl.registers import Status
from evenspike_hw.rtl.states import State


@dataclass(frozen=True)
class LayerTrace:
    """What one layer of one inference has shown on the RTL.

    cycles: from the last write of the layer before. states: int64 [pes] of all clusters by the
        names of the counters; they add up to the cycles.
    masks: [filters, H, W] after pooling, over all timesteps, zeros for the last layer; logits: of
        the last one, over all groups of timesteps. Both with an axis of images in front where the
        Packed has a batch.
    accumulator_overflow, membrane_overflow: bool [pes].
    closed: cycle of the inference in which each window left its collector, in drain order; those of
        a cluster begin at the same share of it as its maps.
    """

    name: str
    cycles: int
    states: dict[str, npt.NDArray[np.int64]]
    masks: Masks
    logits: npt.NDArray[np.int64] | None
    accumulator_overflow: npt.NDArray[np.bool_]
    membrane_overflow: npt.NDArray[np.bool_]
    closed: npt.NDArray[np.int64]


class Buffers:
    """Arrays that a driver fills, for one inference of a Packed.

    base, room: uint32 [layers]; first entry of each layer's first map, which is that of image 0 and
        group 0, and entries that the spikes of a map can take.
    cycles: uint32 [layers]. states: uint32 [layers, pes, states]. overflow: uint8 [layers, 2, pes];
        the PEs of all clusters.
    counts, columns: uint16, and masks: uint8 [.., pes]; the entries of each layer behind those of
        the layer before, map by map and cluster by cluster; counts: entries of the row that starts
        there.
    closed: uint32; as `LayerTrace.closed`. logit_words: uint64; the words that were written,
        `Arch.port_lanes` for each word of the port.
    """

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        pes, layers, last = packed.arch.pes, len(packed.layers), packed.layers[-1]
        self.base = np.array(
            [0 if d.last else d.spike_base for d in packed.layers], dtype=np.uint32
        )
        self.room = np.array([_entries(packed.arch, d) for d in packed.layers], dtype=np.uint32)
        total = packed.maps * int(self.room.sum())
        self.cycles = np.zeros(layers, dtype=np.uint32)
        self.states = np.zeros((layers, packed.arch.all_pes, len(State)), dtype=np.uint32)
        self.overflow = np.zeros((layers, 2, packed.arch.all_pes), dtype=np.uint8)
        self.counts = np.zeros(total, dtype=np.uint16)
        self.columns = np.zeros(total, dtype=np.uint16)
        self.masks = np.zeros((total, pes), dtype=np.uint8)
        self.closed = np.zeros(total, dtype=np.uint32)
        words = packed.maps * last.blocks.shape[0] * packed.arch.logit_words
        self.logit_words = np.zeros(words * packed.arch.port_lanes, dtype=np.uint64)

    def part(self, index: int) -> slice:
        """Returns where a layer's entries are."""
        end = self.packed.maps * int(self.room[: index + 1].sum())
        return slice(end - self.packed.maps * int(self.room[index]), end)

    def take(
        self,
        index: int,
        counts: npt.NDArray[np.uint16],
        columns: npt.NDArray[np.uint16],
        masks: npt.NDArray[np.uint8],
    ) -> None:
        """Takes a layer's entries out of the spike memories, one behind the other, at the layer's
        last write.
        """
        start, room = self.part(index).start, int(self.room[index])
        for number in range(self.packed.maps):
            cluster, own = divmod(number, self.packed.cluster_maps)
            base = int(self.base[index]) + own * self.packed.region
            base += cluster * self.packed.arch.spike_entries
            source = slice(base, base + room)
            part = slice(start + number * room, start + (number + 1) * room)
            self.counts[part] = counts[source]
            self.columns[part] = columns[source]
            self.masks[part] = masks[source]

    def traces(self, status: int) -> list[LayerTrace]:
        """Returns what the layers have shown. status: the register at the end of the inference.

        Raises EvenspikeError for spikes that are no CSR (a layer's columns must ascend, an entry
        must hold a spike, a lane without a filter none) and for an overflow bit that the flags
        contradict.
        """
        if bool(status >> Status.OVERFLOW & 1) != bool(self.overflow.any()):
            raise EvenspikeError(
                "RTL: the overflow bit of the status is not that of the PEs' flags"
            )
        found = []
        for index, layer in enumerate(self.packed.layers):
            part = self.part(index)
            states = self.states[index].astype(np.int64)
            overflow = self.overflow[index].astype(bool)
            entries = (self.counts[part], self.columns[part], self.masks[part])
            found.append(
                LayerTrace(
                    layer.name,
                    int(self.cycles[index]),
                    {state.name.lower(): states[:, state] for state in State},
                    self._masks(layer, *entries),
                    self._logits(layer) if layer.last else None,
                    overflow[0],
                    overflow[1],
                    self.closed[part].astype(np.int64),
                )
            )
        return found

    def _masks(
        self,
        layer: Descriptor,
        counts: npt.NDArray[np.uint16],
        columns: npt.NDArray[np.uint16],
        masks: npt.NDArray[np.uint8],
    ) -> Masks:
        """Returns the spikes of a layer, its groups put together."""
        packed, room = self.packed, _entries(self.packed.arch, layer)
        kind = packed.mask_type
        height, width = layer.size[0] // layer.pool, layer.size[1] // layer.pool
        found = np.zeros((packed.batch, layer.filters, height, width), dtype=kind)
        for number in range(0 if layer.last else packed.maps):
            image, group = divmod(number, packed.groups)
            part = slice(number * room, (number + 1) * room)
            dense = _dense(packed.arch, layer, counts[part], columns[part], masks[part])
            steps = packed.last_timesteps if group == packed.groups - 1 else packed.arch.timesteps
            if (dense >> steps).any():
                raise EvenspikeError(
                    f"RTL: layer {layer.name}: spikes behind the {steps} timesteps of group {group}"
                )
            found[image] |= dense.astype(kind) << kind.type(group * packed.arch.timesteps)
        return found if packed.batch > 1 else found[0]

    def _logits(self, layer: Descriptor) -> npt.NDArray[np.int64]:
        """Returns the logits of the last layer, its groups put together.

        The clusters take turns: of so many words of the port each has one.
        """
        packed, arch = self.packed, self.packed.arch
        turns = self.logit_words.reshape(-1, arch.clusters, arch.port_lanes).swapaxes(0, 1)
        lanes = np.ascontiguousarray(turns).view("<i4").astype(np.int64)
        block = arch.logit_words * arch.port_bits // LOGIT_BITS
        lanes = lanes.reshape(arch.clusters, -1, block)[..., : arch.pes]
        blocks, row = [], 0
        for slots in layer.slots_used:  # of a pass: for each part, group and image its blocks
            parts = lanes[:, row : row + packed.cluster_maps * slots]
            parts = parts.reshape(-1, packed.groups, layer.images, slots, arch.pes)
            each = parts[:, -1] if layer.readout is Readout.MEMBRANE else parts.sum(axis=1)
            blocks.append(each.reshape(packed.batch, slots, -1))
            row += packed.cluster_maps * slots
        logits = np.zeros((packed.batch, layer.filters), dtype=np.int64)
        used = layer.blocks >= 0
        logits[:, layer.blocks[used]] = np.concatenate(blocks, axis=1)[:, used]
        return logits if packed.batch > 1 else logits[0]


def _entries(arch: Arch, layer: Descriptor) -> int:
    """Returns how many entries the spikes of a layer can take in a map."""
    if layer.last:
        return 0
    height, width = layer.size[0] // layer.pool, layer.size[1] // layer.pool
    return int(layer.blocks.shape[0] * height * arch.row_pitch(width))


def _dense(
    arch: Arch,
    layer: Descriptor,
    counts: npt.NDArray[np.uint16],
    columns: npt.NDArray[np.uint16],
    masks: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]:
    """Returns a map's spikes of a layer, [filters, H, W], out of its part of the spike memory."""
    height, width = layer.size[0] // layer.pool, layer.size[1] // layer.pool
    dense = np.zeros((layer.filters, height, width), dtype=np.uint8)
    for block, lanes in enumerate(layer.blocks):
        used = lanes >= 0
        for y in range(height):
            row = (block * height + y) * arch.row_pitch(width)
            entries = slice(row, row + int(counts[row]))
            if (
                (np.diff(columns[entries].astype(np.int64)) <= 0).any()
                or not masks[entries].any(axis=1).all()
                or masks[entries][:, ~used].any()
            ):
                raise EvenspikeError(
                    f"RTL: layer {layer.name}, block {block}, row {y}: its entries are no CSR"
                )
            dense[lanes[used], y, columns[entries, None]] = masks[entries][:, used]
    return dense
