"""Energy: action counts times what one action costs.

An estimate at the level of memories and functional units, good for comparing runs and Archs of this
accelerator, not for a data sheet; what it leaves out is listed at the head of `energy.toml`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evenspike_core.errors import EvenspikeError
from evenspike_sim.energy_table import ACTIONS, PICOJOULES, Table


def energy(actions: Mapping[str, float], table: Table) -> dict[str, dict[str, Any]]:
    """Energy by action: the report's `energy.by_action`.

    Parameters
    ----------
    actions: count of every action, an integer or an average over images; a zero is written down,
        so that a counter that was forgotten cannot pass for one that stayed at zero.

    Returns
    -------
    for each action: count, pj_each, pj (their product), pj_range ([lowest, highest] product by the
    readings of the source), unit, node, source, note.

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
            "pj_range": sorted((count * entry.value, count * entry.other)),
            "unit": PICOJOULES,
            "node": entry.node,
            "source": entry.source,
            "note": entry.note,
        }
    return result


def total_pj(by_action: Mapping[str, Mapping[str, Any]]) -> float:
    """Sum over the actions, in pJ: the report's `energy.total_pj` and `energy_pj`."""
    return math.fsum(entry["pj"] for entry in by_action.values())


def total_range(by_action: Mapping[str, Mapping[str, Any]]) -> list[float]:
    """Lowest and highest sum over the actions, in pJ: the report's `energy.total_pj_range`."""
    return [math.fsum(entry["pj_range"][end] for entry in by_action.values()) for end in (0, 1)]
