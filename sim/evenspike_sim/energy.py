"""Energy: action counts times a table in which every number has a unit, a node and a source.

The cycle model counts actions; `energy.toml` says what one costs and where the figure comes from.
It is an estimate at the level of memories and functional units (no clock tree, no control, no
wires between blocks): good for comparing two runs of this accelerator, not for a data sheet.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evenspike_core.errors import EvenspikeError

ACTIONS = (
    "and_gate",
    "accumulate",
    "accumulator_read",
    "accumulator_write",
    "lif_step",
    "scratchpad_read",
    "scratchpad_write",
    "header_read",
    "table_read",
    "table_write",
    "fifo_push",
    "fifo_pop",
    "spike_read",
    "spike_write",
    "memory_word",
    "leakage_cycle",
)
"""What is counted. `and_gate` and `accumulate` count timesteps; accumulator rows hold all
timesteps of a neuron; `lif_step` is one neuron and timestep; `leakage_cycle` one PE and cycle."""

UNIT = "pJ"
CLOCK_MHZ = 400.0
"""Clock of the published power figures: what turns their milliwatts into picojoules."""

TABLE = Path(__file__).with_name("energy.toml")


@dataclass(frozen=True)
class Entry:
    """What one action costs.

    value: energy of one action, in `unit`.
    node: technology node that the source states.
    source: where the published figure is printed.
    note: how the value was derived from it; every scaling is spelt out.
    clock_mhz: set where the energy is a power times a cycle, and so falls with the clock.
    """

    value: float
    unit: str
    node: str
    source: str
    note: str
    clock_mhz: float | None = None


Table = Mapping[str, Entry]


def load(path: Path = TABLE, clock_mhz: float = CLOCK_MHZ) -> dict[str, Entry]:
    """Read and check a table; leakage per cycle is converted to `clock_mhz`.

    Raises EvenspikeError for a file that cannot be read, an action that is missing or unknown,
    and an entry without a finite value >= 0, unit pJ, node, source or note.
    """
    if not (math.isfinite(clock_mhz) and clock_mhz > 0):
        raise EvenspikeError(f"energy: clock {clock_mhz} MHz is not a positive number")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EvenspikeError(f"{path}: not a readable energy table: {error}") from error
    given = content.get("action", {})
    if not isinstance(given, dict):
        raise EvenspikeError(f"{path}: [action] is not a table of entries")
    for name in sorted(set(ACTIONS) ^ set(given)):
        problem = "is missing" if name in ACTIONS else "is not an action of the accelerator"
        raise EvenspikeError(f"{path}: entry {name} {problem}")
    table = {name: _entry(f"{path}: entry {name}", given[name]) for name in ACTIONS}
    for name, entry in table.items():
        if entry.clock_mhz is not None:
            scaled = entry.value * entry.clock_mhz / clock_mhz
            table[name] = replace(entry, value=scaled, clock_mhz=clock_mhz)
    return table


def _entry(where: str, given: object) -> Entry:
    if not isinstance(given, dict):
        raise EvenspikeError(f"{where}: not a table of value, unit, node, source and note")
    value = _number(where, "value", given.get("value"), low=0.0)
    texts = {}
    for key in ("unit", "node", "source", "note"):
        text = given.get(key)
        if not isinstance(text, str) or not text.strip():
            raise EvenspikeError(f"{where}: {key} is missing")
        texts[key] = text
    if texts["unit"] != UNIT:
        raise EvenspikeError(f"{where}: unit {texts['unit']!r}, only {UNIT} is understood")
    clock = given.get("clock_mhz")
    if clock is not None:
        clock = _number(where, "clock_mhz", clock, low=1e-3)
    return Entry(value, **texts, clock_mhz=clock)


def _number(where: str, key: str, value: object, low: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EvenspikeError(f"{where}: {key} is {value!r}, not a number")
    if not (math.isfinite(value) and value >= low):
        raise EvenspikeError(f"{where}: {key} is {value}, the limit is {low:g} and above")
    return float(value)


def energy(actions: Mapping[str, float], table: Table) -> dict[str, dict[str, Any]]:
    """Energy by action: the report's `energy.by_action`.

    Parameters
    ----------
    actions: count of every action, an integer or an average over images; a zero is written down,
        so that a counter that was forgotten cannot pass for one that stayed at zero.

    Returns
    -------
    for each action: count, pj_each, pj (their product), unit, node, source, note.

    Raises EvenspikeError for an unknown or missing action, a negative count, or an action without
    an entry in the table.
    """
    for name in sorted(set(actions) ^ set(ACTIONS)):
        problem = "has no count" if name in ACTIONS else "is not an action of the accelerator"
        raise EvenspikeError(f"energy: {name} {problem}")
    result: dict[str, dict[str, Any]] = {}
    for name in ACTIONS:
        if name not in table:
            raise EvenspikeError(f"energy: the table has no entry {name}")
        count, entry = actions[name], table[name]
        if not (math.isfinite(count) and count >= 0):
            raise EvenspikeError(f"energy: count of {name} is {count}, the limit is 0 and above")
        result[name] = {
            "count": count,
            "pj_each": entry.value,
            "pj": count * entry.value,
            "unit": entry.unit,
            "node": entry.node,
            "source": entry.source,
            "note": entry.note,
        }
    return result


def total_pj(by_action: Mapping[str, Mapping[str, Any]]) -> float:
    """Sum over the actions, in pJ: the report's `energy.total_pj` and `energy_pj`."""
    return math.fsum(entry["pj"] for entry in by_action.values())
