"""The test set's verdict on a finished ticket, in floating point, kept beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from evenspike_core import files
from evenspike_core.documents import read_json
from evenspike_core.progress import Progress, silent
from evenspike_train import networks
from evenspike_train.data import Dataset
from evenspike_train.runs import export
from evenspike_train.runs.evaluation import evaluate

FILE = "tested.json"


def verdict_of(directory: Path, data: Dataset, progress: Progress = silent) -> dict[str, Any]:
    """`accuracy` in percent, `firing_rate`, and by layer the share of `living` weights.

    Measured once: what the file holds is of the ticket whose digest it has.

    Raises EvenspikeError for a folder without a finished ticket, and for a file that is damaged.
    """
    digest = hashlib.sha256((directory / "ticket.pt").read_bytes()).hexdigest()
    path = directory / FILE
    if path.is_file():
        found = read_json(path, "verdict", dict)
        if found.get("digest") == digest:
            return found
    ticket = export.load_ticket(directory)
    kind = ticket.recipe.optimizer.loss
    model = ticket.model.to(data.test.images.device)
    figures = evaluate(model, data.test, progress=progress, what="test set", kind=kind)
    living = {
        name: float((cast("Tensor", module.weight) != 0).double().mean())
        for name, module in networks.prunable(model)
    }
    found = {
        "digest": digest,
        "accuracy": figures["accuracy"],
        "firing_rate": figures["firing_rate"],
        "living": living,
    }
    files.write_json(found, path)
    return found
