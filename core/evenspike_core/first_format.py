"""First format: a Program file of evenspike 0.1 in the terms of the present one.

Its layers knew four leaks as shifts and took the threshold off at once, its segments one padding
for all sides, and its first layer was always the direct encoder. All of it has an exact form today,
but for two: the leak 3/4 rounded up where the present one rounds down, and a soft reset whose
amount is no whole number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import LEAK_ONE

FORMAT = 1
_LEAKS = {"1/4": LEAK_ONE // 4, "1/2": LEAK_ONE // 2, "1": LEAK_ONE}
_REFUSED = "it runs on evenspike 0.1 alone, which wrote the file"


def upgrade(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header that the second format would have.

    Raises EvenspikeError naming the layer that has no exact form.
    """
    layers = [_layer(entry, index == 0) for index, entry in enumerate(header["layers"])]
    return {**header, "format": 2, "layers": layers}


def _layer(entry: Mapping[str, Any], first: bool) -> dict[str, Any]:
    entry = dict(entry)
    leak, soft, last = entry.pop("leak"), entry.pop("reset") == "soft", entry.pop("last")
    if leak not in _LEAKS:
        raise EvenspikeError(
            f"layer {entry['name']}: leak {leak} of file format {FORMAT} rounds up; {_REFUSED}"
        )
    n = _LEAKS[leak]
    amount = n * entry["threshold"] if soft and not last else 0
    if amount % LEAK_ONE:
        raise EvenspikeError(
            f"layer {entry['name']}: a soft reset by {entry['threshold']} with leak {leak}, of file "
            f"format {FORMAT}, leaves fractions; {_REFUSED}"
        )
    return entry | {
        "leak": n,
        "hard": not soft,
        "reset": amount // LEAK_ONE,
        "readout": "psum" if last else None,
        "coding": "direct" if first else None,
        "seed": 0,
        "pool_first": False,
        "segments": [_segment(one) for one in entry["segments"]],
    }


def _segment(entry: Mapping[str, Any]) -> dict[str, Any]:
    entry = dict(entry)
    padding = entry.pop("padding")
    filters, channels, rows, columns = entry["shape"]
    return entry | {"offset": [-padding, -padding], "dense": filters * channels * rows * columns}
