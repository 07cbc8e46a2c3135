"""First format: a Program file of evenspike 0.1 in the terms of the present one.

Its layers knew four leaks as shifts and took the threshold off at once, its segments one padding
for all sides, and its first layer was always the direct encoder. All of it has an exact form today,
but for two: the leak 3/4 rounded up where the present one rounds down, and a soft reset whose
amount is no whole number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import LEAK_ONE

FORMAT = 1
_LEAKS = {"1/4": LEAK_ONE // 4, "1/2": LEAK_ONE // 2, "3/4": 3 * LEAK_ONE // 4, "1": LEAK_ONE}
_ROUNDS_UP = "3/4"
_RESETS = {"hard": True, "soft": False}
_LAYER = ("name", "filters", "size", "threshold", "leak", "reset", "pool", "last", "shift")
_SEGMENT = ("source", "shape", "stride", "padding", "average")
_REFUSED = "it runs on evenspike 0.1 alone, which wrote the file"


def upgrade(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header that the second format would have.

    Raises EvenspikeError for a field that the first format does not have, and naming the layer
    that has no exact form; KeyError or TypeError for what is no header of it.
    """
    layers = [_layer(entry, index == 0) for index, entry in enumerate(header["layers"])]
    return {**header, "format": 2, "layers": layers}


def _layer(entry: Mapping[str, Any], first: bool) -> dict[str, Any]:
    _check_fields(entry, (*_LAYER, "segments"))
    name, threshold, leak, last = (entry[key] for key in ("name", "threshold", "leak", "last"))
    n, hard, amount = _LEAKS[leak], _RESETS[entry["reset"]], 0
    if type(last) is not bool or type(threshold) is not int:
        raise TypeError(f"layer {name}: last {last!r}, threshold {threshold!r}")
    if not last:  # which has no neurons
        if leak == _ROUNDS_UP:
            raise EvenspikeError(
                f"layer {name}: leak {leak} of file format {FORMAT} rounds up; {_REFUSED}"
            )
        amount, fraction = (0, 0) if hard else divmod(n * threshold, LEAK_ONE)
        if fraction:
            raise EvenspikeError(
                f"layer {name}: a soft reset by {threshold} with leak {leak}, of file format "
                f"{FORMAT}, leaves fractions; {_REFUSED}"
            )
    kept = {key: entry[key] for key in _LAYER if key != "last"}
    return kept | {
        "leak": n,
        "hard": hard,
        "reset": amount,
        "readout": "psum" if last else None,
        "coding": "direct" if first else None,
        "seed": 0,
        "pool_first": False,
        "segments": [_segment(one) for one in entry["segments"]],
    }


def _segment(entry: Mapping[str, Any]) -> dict[str, Any]:
    _check_fields(entry, _SEGMENT)
    padding, shape = entry["padding"], entry["shape"]
    if any(type(one) is not int for one in (padding, *shape)):
        raise TypeError(f"padding {padding!r}, shape {shape!r}")
    kept = {key: entry[key] for key in _SEGMENT if key != "padding"}
    return kept | {"offset": [-padding, -padding], "dense": math.prod(shape)}


def _check_fields(entry: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse what is overwritten here, and so would not be seen any more."""
    surplus = sorted(set(entry) - set(known))
    if surplus:
        raise EvenspikeError(f"file format {FORMAT} has no {surplus[0]!r}")
