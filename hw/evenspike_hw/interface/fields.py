"""Fields: the bits of the table's words, flat, each with its place, width and meaning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from amaranth.hdl import Shape
from amaranth.lib import data

from evenspike_hw.rtl.descriptor import MEANING, RECORDS


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
        for name, bit, shape in _flat(RECORDS[kind])
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
