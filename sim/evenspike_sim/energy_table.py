"""Energy table: what one action costs on an Arch, worked out of published figures.

`energy.toml` has the figures with their sources, and says by which rule each action follows from
them and from the Arch's words, widths, PEs and timesteps (`sizes`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from evenspike_core.arch import Arch
from evenspike_core.documents import read_toml
from evenspike_core.errors import EvenspikeError
from evenspike_core.memories import Memory, memories
from evenspike_sim.sizes import quantities

ACTIONS = (
    "and_gate",
    "lane_push",
    "lane_pop",
    "accumulate",
    "accumulator_read",
    "accumulator_write",
    "lif_step",
    "scratchpad_read",
    "scratchpad_write",
    "header_read",
    "table_read",
    "table_write",
    "match",
    "select",
    "unpack",
    "filter",
    "fifo_push",
    "fifo_pop",
    "queue_push",
    "queue_pop",
    "spike_read",
    "spike_write",
    "memory_word",
    "leakage_cycle",
    "shared_leakage_cycle",
    "clock_cycle",
    "shared_clock_cycle",
)
"""What is counted. `and_gate` and `accumulate` count timesteps; an accumulator access is one of all
timesteps of a neuron where one weight issues a cycle, and else, as is a push or pop of a lane, one
of a timestep; `lif_step` is one neuron and timestep; `filter` an activation that is broadcast to a
PE, `match` a fetch of headers, `select` a matched weight, `unpack` a unit of the stream;
`leakage_cycle` and `clock_cycle` are one PE and cycle, those that are `shared` one cycle."""

TABLE = Path(__file__).with_name("energy.toml")

PICOJOULES, LEAKAGE = "pJ", "mW/KB"
T = TypeVar("T")
_RAM = ("sram_read", "sram_write", "sram_leakage")
_TEXTS = ("unit", "node", "source", "note")
_SIZES = ("bits", "bytes", "other_bits")


@dataclass(frozen=True)
class Entry:
    """What one action costs on an Arch.

    value: energy of one action in pJ.
    other: the same by the source's other reading, where a figure has two; else `value`.
    node: technology nodes that the sources state. source: where the figures are printed.
    note: what the action is, and how the value was derived, with every number.
    logic: the part of `value` that no memory takes, in pJ.
    """

    value: float
    other: float
    node: str
    source: str
    note: str
    logic: float = 0.0


@dataclass(frozen=True)
class RamCost:
    """What a RAM of a size takes: pJ of a read and of a write, mW of leakage; of which nodes these
    are, and where they are printed.
    """

    read: float
    write: float
    leakage: float
    node: str
    source: str


Table = Mapping[str, Entry]


@dataclass(frozen=True)
class _Anchor:
    """A published figure of something `bits` wide and `bytes` large, where that is said."""

    value: float
    unit: str
    node: str
    source: str
    note: str
    bits: float | None = None
    bytes: float | None = None
    other_bits: float | None = None


@dataclass(frozen=True)
class _Machine:
    """What a table's terms may name."""

    memories: Mapping[str, Memory]
    quantities: Mapping[str, float]
    clock_mhz: float


def load(arch: Arch, path: Path = TABLE) -> dict[str, Entry]:
    """Read and check a table, and work out the energy of every action on `arch`.

    Raises EvenspikeError, in one line that names the place, for a file that cannot be read or is
    not of the form that `energy.toml` explains: entries and keys that are missing, unknown or of
    another type, numbers that are not finite or negative, and terms that name what there is not.
    """
    content = read_toml(path)
    _only(f"{path}", content, {"anchor", "action"})
    anchors = {
        name: _anchor(f"{path}: anchor {name!r}", given)
        for name, given in _tables(path, content, "anchor").items()
    }
    actions = _tables(path, content, "action")
    for name in sorted(set(ACTIONS) ^ set(actions)):
        problem = "is missing" if name in ACTIONS else "is not an action of the accelerator"
        raise EvenspikeError(f"{path}: entry {name!r} {problem}")
    named = {memory.name: memory for memory in memories(arch)}
    machine = _Machine(named, quantities(arch), arch.clock_mhz)
    return {
        name: _entry(f"{path}: entry {name!r}", actions[name], anchors, machine) for name in ACTIONS
    }


def ram_cost(words: int, width: int, path: Path = TABLE) -> RamCost:
    """What a RAM of so many words of so many bits takes, by the rule of the table's memories.

    Raises EvenspikeError as `load`, and for a table without the RAM's figures.
    """
    named = {
        name: _anchor(f"{path}: anchor {name!r}", given)
        for name, given in _tables(path, read_toml(path), "anchor").items()
    }
    missing = sorted({*_RAM} - {*named})
    if missing:
        raise EvenspikeError(f"{path}: anchor {missing[0]!r} is missing")
    size, used = words * width / 8, [named[name] for name in _RAM]
    read, write = (_ram_access(path, anchor, size, width) for anchor in used[:2])
    return RamCost(
        read,
        write,
        used[2].value * size / 1024,
        " and ".join(dict.fromkeys(anchor.node for anchor in used)),
        "; ".join(dict.fromkeys(anchor.source for anchor in used)),
    )


def _ram_access(path: Path, anchor: _Anchor, size: float, width: int) -> float:
    """pJ of an access to a RAM of so many bytes, by the rule of the table's memories."""
    if anchor.bytes is None or anchor.bits is None:
        raise EvenspikeError(f"{path}: {anchor.source}: a RAM's access has no bytes and bits")
    return anchor.value * math.sqrt(size / anchor.bytes * width / anchor.bits)


def _entry(where: str, given: object, anchors: Mapping[str, _Anchor], machine: _Machine) -> Entry:
    fields = _only(where, given, {"terms", "note"})
    note = _text(where, fields, "note")
    terms = fields.get("terms")
    if not isinstance(terms, list) or not terms:
        raise EvenspikeError(f"{where}: terms is not a list of at least one term")
    used, texts, value, other, logic = [], [], 0.0, 0.0, 0.0
    for number, term in enumerate(terms):
        anchor, (shown, second), text = _term(f"{where}: term {number}", term, anchors, machine)
        used.append(anchor)
        texts.append(text)
        value += shown
        other += second
        if "memory" not in term and anchor.unit != LEAKAGE:
            logic += shown
    nodes = " and ".join(dict.fromkeys(anchor.node for anchor in used))
    sources = "; ".join(dict.fromkeys(anchor.source for anchor in used))
    return Entry(value, other, nodes, sources, f"{note}: {' + '.join(texts)}", logic)


def _term(
    where: str, given: object, anchors: Mapping[str, _Anchor], machine: _Machine
) -> tuple[_Anchor, tuple[float, float], str]:
    """The anchor, the energy by each of its readings, and the arithmetic in words."""
    fields = _only(where, given, {"anchor", "memory", "bits", "times"})
    anchor = _named(where, fields, "anchor", anchors)
    value, text = anchor.value, f"{anchor.value:g}"
    second = 1.0
    if "times" in fields:
        times = _quantity(where, fields, "times", machine)
        value, text = value * times, f"{times:g} x {text}"
    if anchor.unit == LEAKAGE:
        value, text = value * 1e3 / machine.clock_mhz, f"{text} mW / {machine.clock_mhz:g} MHz"
    if "memory" in fields:
        memory = _named(where, fields, "memory", machine.memories)
        if anchor.bytes is None or anchor.bits is None or "bits" in fields:
            raise EvenspikeError(f"{where}: memory needs an anchor of bytes and bits, and no bits")
        value *= math.sqrt(memory.bytes / anchor.bytes * memory.width / anchor.bits)
        text += (
            f" x sqrt({memory.bytes:g}/{anchor.bytes:g} bytes x "
            f"{memory.width:g}/{anchor.bits:g} bit)"
        )
    elif "bits" in fields:
        if anchor.bits is None:
            raise EvenspikeError(f"{where}: bits needs an anchor of bits")
        bits = _quantity(where, fields, "bits", machine)
        value, text = value * bits / anchor.bits, f"{text} x {bits:g}/{anchor.bits:g} bit"
        if anchor.other_bits is not None:
            second = anchor.bits / anchor.other_bits
            text += f" (other reading: {bits:g}/{anchor.other_bits:g})"
    return anchor, (value, value * second), text


def _anchor(where: str, given: object) -> _Anchor:
    fields = _only(where, given, {"value", *_TEXTS, *_SIZES})
    unit, node, source, note = (_text(where, fields, key) for key in _TEXTS)
    if unit not in {PICOJOULES, LEAKAGE}:
        known = f"{PICOJOULES} and {LEAKAGE}"
        raise EvenspikeError(f"{where}: unit {_shown(unit)}, only {known} are understood")
    value = _number(where, "value", fields.get("value"))
    sizes = (_number(where, key, fields[key], 1.0) if key in fields else None for key in _SIZES)
    return _Anchor(value, unit, node, source, note, *sizes)


def _tables(path: Path, content: Mapping[str, Any], key: str) -> dict[str, Any]:
    given = content.get(key)
    if not isinstance(given, dict):
        raise EvenspikeError(f"{path}: [{key}] is not a table of entries")
    return given


def _only(where: str, given: object, keys: set[str]) -> dict[str, Any]:
    """`given`, which is a table of no other than these keys."""
    if not isinstance(given, dict):
        raise EvenspikeError(f"{where}: not a table of {', '.join(sorted(keys))}")
    for key in sorted(set(given) - keys):
        raise EvenspikeError(
            f"{where}: unknown key {key!r}, possible are {', '.join(sorted(keys))}"
        )
    return given


def _text(where: str, fields: Mapping[str, Any], key: str) -> str:
    text = fields.get(key)
    if not isinstance(text, str) or not text.strip():
        raise EvenspikeError(f"{where}: {key} is missing, or no text")
    return text


def _named(where: str, fields: Mapping[str, Any], key: str, known: Mapping[str, T]) -> T:
    name = fields.get(key)
    if not isinstance(name, str) or name not in known:
        raise EvenspikeError(
            f"{where}: {key} is {_shown(name)}, possible are {', '.join(sorted(known))}"
        )
    return known[name]


def _quantity(where: str, fields: Mapping[str, Any], key: str, machine: _Machine) -> float:
    """A number, or the name of one that the Arch has."""
    if isinstance(fields[key], str):
        return _named(where, fields, key, machine.quantities)
    return _number(where, key, fields[key])


def _number(where: str, key: str, value: object, low: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EvenspikeError(f"{where}: {key} is {_shown(value)}, not a number")
    if not low <= value < 1e12:  # False for nan, too
        raise EvenspikeError(f"{where}: {key} is {_shown(value)}, possible are {low:g} to 1e12")
    return float(value)


def _shown(value: object) -> str:
    """A value in an error: short, whatever it is."""
    if value is None:
        return "missing"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 64:
        return "an integer beyond 64 bits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
