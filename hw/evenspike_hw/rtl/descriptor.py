"""Descriptor: what the table memory holds, bit by bit, and how a Packed becomes it.

The table is a memory of 64-bit words that the accelerator fills from its port before the first
image. Layer n has the `LAYER_WORDS` words from `LAYER_WORDS` * n on. Behind the last layer follow

- the list of passes, one word each, in the order in which the port reads them: the input's spikes
  are the first, a word of zero is the end; it starts at the `pass_base` of the command block;
- a list of chunks for each layer, `CHUNK_WORDS` each, from the layer's `chunk_base` on.

Strides are in entries of the spike memory, so that the hardware adds where it would multiply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Const, Shape, Value, signed
from amaranth.lib import data

from evenspike_core.arch import BATCH_MAX, CHUNK_WORDS, DESCRIPTOR_WORDS, TABLE_BITS, Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Descriptor, Packed
from evenspike_core.program import KERNELS, Readout
from evenspike_hw.rtl.layouts import (
    BASE_BITS,
    ENTRY_BITS,
    LANE_BITS,
    LEAK_BITS,
    MAP_BITS,
    PSUM_BITS,
    SEGMENT,
    SLOT_BITS,
    TIMESTEP_BITS,
    WEIGHT_WIDTHS,
    WIDTH_BITS,
    WORD_BITS,
)

READOUTS = (None, Readout.PSUM, Readout.COUNT, Readout.MEMBRANE)
"""What a layer writes, in the order of its code: spikes, or one of the numbers of a last layer."""

GROUPS_MAX = 32
"""Groups of timesteps that a network can have, which is one for each timestep at most."""

LAYER_WORDS = DESCRIPTOR_WORDS
LAYER = data.StructLayout(
    {
        # Word 0 is all that the loader reads.
        "host": 1,
        "last": 1,
        "loads": TABLE_BITS["loads"],
        "chunk_base": 16,
        "chunks": TABLE_BITS["chunks"],
        "kernels": len(KERNELS),
        "reserved": 10 - len(KERNELS),
        # The sequencer reads the rest, too.
        "groups": GROUPS_MAX.bit_length(),
        "timesteps": TIMESTEP_BITS,
        "region": ENTRY_BITS,
        "passes": TABLE_BITS["passes"],
        "height": MAP_BITS,
        "width": MAP_BITS,
        "log_tile_height": 4,
        "log_tile_width": 4,
        "log_slots": 3,
        "slots_last": SLOT_BITS + 1,
        "pool": 1,
        "readout": 2,
        "leak": LEAK_BITS,
        "hard": 1,
        "reset": signed(PSUM_BITS),
        "threshold": PSUM_BITS,
        "spike_base": ENTRY_BITS,
        "row_stride": MAP_BITS,
        "block_stride": ENTRY_BITS,
        "tile_stride": ENTRY_BITS,
        "pass_stride": ENTRY_BITS,
        "log_images": 3,
        "parts": BATCH_MAX.bit_length(),
        "image_region": ENTRY_BITS,
    }
)
assert 1 << (1 << LAYER["log_images"].width) - 1 >= BATCH_MAX  # noqa: S101  (a format)

CHUNK = data.StructLayout(
    {
        # Word 0 is all that the loader reads.
        "kernel": 2,
        "log_slots": 3,
        "lead": LANE_BITS,
        "biases": 1,
        "blocks": 9,
        "entry": ENTRY_BITS,
        "width": WIDTH_BITS,
        "base": BASE_BITS,
        "reserved": WORD_BITS - ENTRY_BITS - LANE_BITS - WIDTH_BITS - BASE_BITS - 15,
        "segment": SEGMENT,
    }
)
assert CHUNK["segment"].offset == WORD_BITS  # noqa: S101  (a format)

PASS = data.StructLayout({"words": 32, "repeats": TABLE_BITS["repeats"]})

RECORDS = {"layer": LAYER, "pass": PASS, "chunk": CHUNK}
RECORD_WORDS = {"layer": LAYER_WORDS, "pass": 1, "chunk": CHUNK_WORDS}
"""What the table holds, and from how many words to the next; a layer's last ones may be spare."""

MEANING = {
    "layer": {
        "host": "1: the first layer, whose spikes the host has computed",
        "last": "1: the last layer, whose neurons give numbers",
        "loads": "times that the chunk list is loaded; host: words of the port of input",
        "chunk_base": "address of its chunk list in the table",
        "chunks": "chunks in that list",
        "kernels": "a bit for each kernel of its chunks: bit K // 2",
        "groups": "groups of timesteps",
        "timesteps": "timesteps of the last group; the others have all",
        "region": "entries of spike memory from a map of one group to that of the next",
        "passes": "passes; host: blocks of channels",
        "height": "of the map in front of the pool",
        "width": "of the map in front of the pool",
        "log_tile_height": "log2 of the rows of a tile",
        "log_tile_width": "log2 of the columns of a tile",
        "log_slots": "log2 of the filters of a PE and pass",
        "slots_last": "filters of a PE in the last pass",
        "pool": "1: an OR over 2 x 2 spikes follows",
        "readout": "0 spikes, 1 sum of psums, 2 number of spikes, 3 membrane",
        "leak": "4096ths of the membrane that a timestep leaves",
        "hard": "1: a spike sets the membrane to 0",
        "reset": "what the timestep after a spike takes off the membrane",
        "threshold": "a membrane of so much, or more, fires",
        "spike_base": "entry of spike memory where its own spikes begin",
        "row_stride": "entries from a row behind the pool to the next, row_entries at least",
        "block_stride": "entries of the map behind the pool",
        "tile_stride": "entries of a row of tiles",
        "pass_stride": "entries of the blocks of a pass",
        "log_images": "log2 of the images that share a round",
        "parts": "parts of the batch, of so many images each; host: images of the batch",
        "image_region": "entries of spike memory from an image's maps to those of the next",
    },
    "pass": {
        "words": "words of the port of the weight stream; 0 ends the list",
        "repeats": "times that they are read",
    },
    "chunk": {
        "kernel": "K // 2 of its K x K kernels",
        "log_slots": "log2 of the filters of a PE and pass",
        "lead": "lane of its first channel",
        "biases": "1: the pass's last chunk, behind which its biases come",
        "blocks": "blocks of channels that it touches",
        "entry": "entry of spike memory where the first of them begins, of group 0",
        "width": "bits of its weights in the weight stream: 0: 16, 1: 8, 2: 4",
        "base": "of weights of 4 bits, which are powers of two: exponent of the smallest",
        "segment_log_stride": "log2 of the stride",
        "segment_offset_y": "row of the source that kernel row 0 of output row 0 reads",
        "segment_offset_x": "column of the source that kernel column 0 of output column 0 reads",
        "segment_log_average": "log2 of the side of an average pool in front",
        "segment_height": "of the source's map",
        "segment_width": "of the source's map",
        "segment_block_stride": "entries of the source's map",
    },
}
"""Of each field of each record, in words; those of a layout in another are joined by _. `reserved`
bits are 0. K: side of a kernel."""


@dataclass(frozen=True)
class Tables:
    """words: uint64, the table memory. pass_base: address of the list of passes."""

    words: npt.NDArray[np.uint64]
    pass_base: int
    layers: int


def image_rows(layer: data.View) -> Value:
    """Returns how many rows of the accumulators an image of a layer has."""
    one: Value = Const(1, 1) << (layer.log_tile_height + layer.log_tile_width + layer.log_slots)
    return one


def encode(packed: Packed) -> Tables:
    """Returns the tables of a Packed, which `pack` has made sure fit.

    Raises EvenspikeError for a descriptor of other origin with a value that its field cannot hold.
    """
    count = len(packed.layers)
    pass_base = LAYER_WORDS * count
    passes = [_bits("input", PASS, {"words": packed.input_words, "repeats": 1})]
    for layer in packed.layers[1:]:
        repeats = 1 if _resident(layer) else _rounds(packed, layer)
        passes += [
            _bits(layer.name, PASS, {"words": size, "repeats": repeats}) for _, size in layer.passes
        ]
    passes.append(0)  # ends the list
    chunk_base = pass_base + len(passes)
    layers: list[int] = []
    chunks: list[int] = []
    for layer in packed.layers:
        fields = _layer(packed, layer) | {"chunk_base": chunk_base + len(chunks)}
        layers += _words(_bits(layer.name, LAYER, fields), LAYER_WORDS)
        for number in range(len(layer.chunks)):
            chunks += _words(_chunk(packed.arch, layer, number), CHUNK_WORDS)
    words = np.array([*layers, *passes, *chunks], dtype=np.uint64)
    return Tables(words, pass_base, count)


def _tiles(layer: Descriptor) -> int:
    return -(-layer.size[0] // layer.tile[0]) * -(-layer.size[1] // layer.tile[1])


def _rounds(packed: Packed, layer: Descriptor) -> int:
    """Of a pass."""
    return _tiles(layer) * packed.groups * (packed.share // layer.images)


def _resident(layer: Descriptor) -> bool:
    return len(layer.chunks) == 1


def _layer(packed: Packed, layer: Descriptor) -> dict[str, Any]:
    count = len(layer.slots_used)
    height, width = (n // layer.pool for n in layer.size)
    pitch = packed.arch.row_pitch(width)
    loads = count if _resident(layer) else count * _rounds(packed, layer)
    return {
        "host": layer.host,
        "last": layer.last,
        "loads": packed.input_words if layer.host else loads,
        "chunks": len(layer.chunks),
        "kernels": sum({1 << source.kernel // 2 for source in layer.segments}),
        "groups": packed.groups,
        "timesteps": packed.last_timesteps,
        "region": packed.region if packed.cluster_maps > 1 else 0,
        "passes": count,
        "height": layer.size[0],
        "width": layer.size[1],
        "log_tile_height": _log(layer.tile[0]),
        "log_tile_width": _log(layer.tile[1]),
        "log_slots": _log(layer.slots),
        "slots_last": layer.slots_used[-1],
        "pool": layer.pool == 2,
        "readout": READOUTS.index(layer.readout),
        "leak": layer.leak,
        "hard": layer.hard,
        "reset": layer.reset,
        "threshold": layer.threshold,
        "spike_base": layer.spike_base,
        "row_stride": pitch,
        "block_stride": height * pitch,
        "tile_stride": layer.tile[0] // layer.pool * pitch,
        "pass_stride": layer.slots * height * pitch,
        "log_images": 0 if layer.host else _log(layer.images),
        "parts": packed.share if layer.host else packed.share // layer.images,
        "image_region": packed.groups * packed.region if packed.share > 1 else 0,
    }


def _chunk(arch: Arch, layer: Descriptor, number: int) -> int:
    segment, start, end = layer.chunks[number]
    source = layer.segments[segment]
    first = start // arch.pes
    block_stride = source.height * arch.row_pitch(source.width)
    return _bits(
        layer.name,
        CHUNK,
        {
            "kernel": source.kernel // 2,
            "log_slots": _log(layer.slots),
            "lead": start % arch.pes,
            "biases": number == len(layer.chunks) - 1,
            "blocks": -(-end // arch.pes) - first,
            "entry": source.spike_base + first * block_stride,
            "width": WEIGHT_WIDTHS.index(source.weight_bits),
            "base": source.base,
            "segment": {
                "log_stride": _log(source.stride),
                "offset_y": source.offset[0],
                "offset_x": source.offset[1],
                "log_average": _log(source.average),
                "height": source.height,
                "width": source.width,
                "block_stride": block_stride,
            },
        },
    )


def _log(value: int) -> int:
    return value.bit_length() - 1


def _words(value: int, count: int) -> list[int]:
    return [value >> WORD_BITS * n & (1 << WORD_BITS) - 1 for n in range(count)]


def _bits(name: str, layout: data.StructLayout, fields: Mapping[str, Any]) -> int:
    _check(name, layout, fields)
    return layout.const(fields).as_bits()


def _check(name: str, layout: data.StructLayout, fields: Mapping[str, Any]) -> None:
    """Raises EvenspikeError for a value that its field cannot hold."""
    for key, value in fields.items():
        shape = layout[key].shape
        if isinstance(shape, data.StructLayout):
            _check(name, shape, value)
            continue
        field = Shape.cast(shape)
        bits, low = (field.width - 1, -1) if field.signed else (field.width, 0)
        if not low << bits <= int(value) < 1 << bits:
            raise EvenspikeError(
                f"layer {name}: {key} is {int(value)}, its field has {field.width} bits"
            )
