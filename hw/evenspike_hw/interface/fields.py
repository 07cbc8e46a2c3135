"""Fields: the bits of the table's words, flat, each with its place, width and meaning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from amaranth.hdl import Shape
from amaranth.lib import data

from evenspike_hw.rtl.descriptor import CHUNK, LAYER, PASS

WORDS = {"layer": LAYER, "pass": PASS, "chunk": CHUNK}
"""What the table holds: descriptors of layers, the list of passes, the lists of chunks."""

MEANING = {
    "layer": {
        "host": "1: the first layer, whose spikes the host has computed",
        "last": "1: the last layer, whose neurons give numbers",
        "loads": "times that the chunk list is loaded; host: words of input",
        "chunk_base": "address of its chunk list in the table",
        "chunks": "chunks in that list",
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
        "row_stride": "columns of the map behind the pool",
        "block_stride": "entries of the map behind the pool",
        "tile_stride": "entries of a row of tiles",
        "pass_stride": "entries of the blocks of a pass",
    },
    "pass": {
        "words": "of the weight stream; 0 ends the list",
        "repeats": "times that they are read",
    },
    "chunk": {
        "kernel": "K // 2 of its K x K kernels",
        "log_slots": "log2 of the filters of a PE and pass",
        "lead": "lane of its first channel",
        "biases": "1: the pass's last chunk, behind which its biases come",
        "blocks": "blocks of channels that it touches",
        "entry": "entry of spike memory where the first of them begins, of group 0",
        "segment_log_stride": "log2 of the stride",
        "segment_offset_y": "row of the source that kernel row 0 of output row 0 reads",
        "segment_offset_x": "column of the source that kernel column 0 of output column 0 reads",
        "segment_log_average": "log2 of the side of an average pool in front",
        "segment_height": "of the source's map",
        "segment_width": "of the source's map",
        "segment_block_stride": "entries of the source's map",
    },
}
"""Of each field of each, in words. `reserved` bits are 0."""


@dataclass(frozen=True)
class Field:
    """bit: its lowest, counted from bit 0 of the first 64-bit word. signed: two's complement."""

    name: str
    bit: int
    width: int
    signed: bool
    meaning: str


def fields(kind: str) -> list[Field]:
    """All fields of a layer, a pass or a chunk but the reserved ones, in order of their bits."""
    return [
        Field(name, bit, shape.width, shape.signed, MEANING[kind][name])
        for name, bit, shape in _flat(WORDS[kind])
        if name != "reserved"
    ]


def _flat(
    layout: data.StructLayout, prefix: str = "", at: int = 0
) -> Iterator[tuple[str, int, Shape]]:
    for key, field in layout:
        if isinstance(field.shape, data.StructLayout):
            yield from _flat(field.shape, f"{prefix}{key}_", at + field.offset)
        else:
            yield f"{prefix}{key}", at + field.offset, Shape.cast(field.shape)
