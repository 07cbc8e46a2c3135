"""Frame: rows as a pandas DataFrame, where pandas is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from evenspike_core.errors import EvenspikeError


def frame(rows: Sequence[Mapping[str, Any]], index: str | None = None) -> Any:
    """A DataFrame with a row for each mapping; raises EvenspikeError without pandas."""
    if importlib.util.find_spec("pandas") is None:
        raise EvenspikeError("a DataFrame needs pandas: pip install pandas")
    import pandas as pd  # noqa: PLC0415 - no dependency: who wants a DataFrame has it

    found = pd.DataFrame(list(rows))
    return found if index is None else found.set_index(index)
