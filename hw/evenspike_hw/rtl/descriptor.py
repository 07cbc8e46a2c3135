"""Descriptor: what the table memory holds, bit by bit, and how a Packed becomes it.

The table is a memory of 64-bit words that the accelerator fills from its port before the first
image. Layer n has the `LAYER_WORDS` words from `LAYER_WORDS` * n on. Behind the last layer follow

- the list of passes, one word each, in the order in which the port reads them: the host's currents
  are the first, a word of zero is the end; it starts at the `pass_base` of the command block;
- a list of chunks for each layer, one word each, from the layer's `chunk_base` on.

Strides are in entries of the spike memory, so that the hardware adds where it would multiply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.lib import data

from evenspike_core.arch import DESCRIPTOR_WORDS, SEGMENTS_MAX, TABLE_BITS, Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Descriptor, Packed
from evenspike_hw.rtl.layouts import (
    ENTRY_BITS,
    LANE_BITS,
    MAP_BITS,
    PSUM_BITS,
    SEGMENT,
    SLOT_BITS,
    WORD_BITS,
)

LAYER_WORDS = DESCRIPTOR_WORDS
LAYER = data.StructLayout(
    {
        # Word 0 is all that the loader reads.
        "host": 1,
        "last": 1,
        "loads": TABLE_BITS[
            "loads"
        ],  # times that the chunk list is loaded; host layer: words of currents
        "chunk_base": 16,
        "chunks": TABLE_BITS["chunks"],
        "reserved": 10,
        # The sequencer reads the rest, too.
        "timesteps": 4,
        "passes": TABLE_BITS["passes"],
        "height": MAP_BITS,
        "width": MAP_BITS,
        "log_tile_height": 4,
        "log_tile_width": 4,
        "log_slots": 3,
        "slots_last": SLOT_BITS + 1,  # of the last pass; the others use all
        "pool": 1,  # 2x2
        "leak": 2,
        "soft": 1,
        "threshold": PSUM_BITS,
        "spike_base": ENTRY_BITS,
        "row_stride": MAP_BITS,  # width of the map after pooling
        "block_stride": ENTRY_BITS,  # entries of that map
        "tile_stride": ENTRY_BITS,  # entries of a row of tiles
        "pass_stride": ENTRY_BITS,  # entries of the blocks of a pass
        "segments": data.ArrayLayout(SEGMENT, SEGMENTS_MAX),
    }
)

CHUNK = data.StructLayout(
    {
        "segment": 1,
        "lead": LANE_BITS,  # lane of its first channel
        "kernel": 2,
        "log_slots": 3,
        "biases": 1,  # last chunk of the pass
        "blocks": 9,  # that it touches
        "entry": ENTRY_BITS,  # where row 0 of the first block starts
    }
)

PASS = data.StructLayout({"words": 32, "repeats": TABLE_BITS["repeats"]})
"""words: of the stream, contiguous. repeats: times that the port reads them."""


@dataclass(frozen=True)
class Tables:
    """words: uint64, the table memory. pass_base: address of the list of passes."""

    words: npt.NDArray[np.uint64]
    pass_base: int
    layers: int


def encode(packed: Packed) -> Tables:
    """Returns the tables of a Packed, which `pack` has made sure fit.

    Raises EvenspikeError for a descriptor of other origin with a value that its field cannot hold.
    """
    count = len(packed.layers)
    pass_base = LAYER_WORDS * count
    passes = [_bits("host currents", PASS, {"words": _host_words(packed), "repeats": 1})]
    for layer in packed.layers[1:]:
        repeats = 1 if _resident(layer) else _tiles(layer)
        passes += [
            _bits(layer.name, PASS, {"words": size, "repeats": repeats}) for _, size in layer.passes
        ]
    passes.append(0)  # ends the list
    chunk_base = pass_base + len(passes)
    layers: list[int] = []
    chunks: list[int] = []
    for layer in packed.layers:
        fields = _layer(packed, layer) | {"chunk_base": chunk_base + len(chunks)}
        value = _bits(layer.name, LAYER, fields)
        layers += [value >> WORD_BITS * n & (1 << WORD_BITS) - 1 for n in range(LAYER_WORDS)]
        chunks += [_chunk(packed.arch, layer, n) for n in range(len(layer.chunks))]
    words = np.array([*layers, *passes, *chunks], dtype=np.uint64)
    return Tables(words, pass_base, count)


def _tiles(layer: Descriptor) -> int:
    return -(-layer.size[0] // layer.tile[0]) * -(-layer.size[1] // layer.tile[1])


def _resident(layer: Descriptor) -> bool:
    return len(layer.chunks) == 1


def _host_words(packed: Packed) -> int:
    layer = packed.layers[0]
    return sum(layer.slots_used) * layer.size[0] * layer.size[1] * packed.arch.current_words


def _layer(packed: Packed, layer: Descriptor) -> dict[str, Any]:
    count = len(layer.slots_used)
    height, width = (n // layer.pool for n in layer.size)
    loads = count if _resident(layer) else count * _tiles(layer)
    return {
        "host": layer.host,
        "last": layer.last,
        "loads": _host_words(packed) if layer.host else loads,
        "chunks": len(layer.chunks),
        "timesteps": packed.timesteps,
        "passes": count,
        "height": layer.size[0],
        "width": layer.size[1],
        "log_tile_height": _log(layer.tile[0]),
        "log_tile_width": _log(layer.tile[1]),
        "log_slots": _log(layer.slots),
        "slots_last": layer.slots_used[-1],
        "pool": layer.pool == 2,
        "leak": layer.leak.code,
        "soft": layer.reset == "soft",
        "threshold": layer.threshold,
        "spike_base": layer.spike_base,
        "row_stride": width,
        "block_stride": height * width,
        "tile_stride": layer.tile[0] // layer.pool * width,
        "pass_stride": layer.slots * height * width,
        "segments": [
            {
                "kernel": s.kernel // 2,
                "log_stride": _log(s.stride),
                "padding": s.padding,
                "log_average": _log(s.average),
                "height": s.height,
                "width": s.width,
                "block_stride": s.height * s.width,
            }
            if not layer.host
            else {}
            for s in layer.segments
        ],
    }


def _chunk(arch: Arch, layer: Descriptor, number: int) -> int:
    segment, start, end = layer.chunks[number]
    source = layer.segments[segment]
    first = start // arch.pes
    return _bits(
        layer.name,
        CHUNK,
        {
            "segment": segment,
            "lead": start % arch.pes,
            "kernel": source.kernel // 2,
            "log_slots": _log(layer.slots),
            "biases": number == len(layer.chunks) - 1,
            "blocks": -(-end // arch.pes) - first,
            "entry": source.spike_base + first * source.height * source.width,
        },
    )


def _log(value: int) -> int:
    return value.bit_length() - 1


def _bits(name: str, layout: data.StructLayout, fields: Mapping[str, Any]) -> int:
    for key, value in fields.items():
        width = layout[key].width
        if isinstance(value, (bool, int)) and not 0 <= int(value) < 1 << width:
            raise EvenspikeError(f"layer {name}: {key} is {int(value)}, its field has {width} bits")
    return layout.const(fields).as_bits()
