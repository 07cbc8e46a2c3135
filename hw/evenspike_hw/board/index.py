"""Index: the bitstreams that a folder keeps, and what `index.json` in it says of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evenspike_core import files
from evenspike_core.documents import read_json
from evenspike_core.errors import EvenspikeError
from evenspike_hw.board.build import Bitstream

INDEX = "index.json"

NOT_KEPT = ("critical_path", "seconds")
"""What the index leaves out: it would change, or tell more than one wants to know."""


def keep(found: Bitstream, folder: Path) -> str:
    """Put the file and its entry in `index.json` into a folder; says how it compares with the file
    that was there.

    Raises EvenspikeError if a file made from the same sources by the same tools is not the same.
    """
    entries = read_index(folder)
    before = entries.get(found.report["board"])
    said = "new"
    if before is not None:
        same = before["sha256"] == found.report["sha256"]
        said = "the same as before, bit for bit" if same else "different from before: other sources"
        if not same and before["digest"] == found.report["digest"]:
            raise EvenspikeError(
                f"{found.report['board']}: the same sources and tools gave another file: "
                f"{found.report['sha256']} instead of {before['sha256']}"
            )
    entry = {key: value for key, value in found.report.items() if key not in NOT_KEPT}
    entries[found.report["board"]] = entry
    index = json.dumps(dict(sorted(entries.items())), indent=1) + "\n"
    files.write_files({found.file.name: found.file.read_bytes(), INDEX: index}, folder)
    return said


def read_index(folder: Path) -> dict[str, Any]:
    """Returns the entries of the files in a folder; none where there is no index yet.

    Raises EvenspikeError for an index that `keep` has not written.
    """
    file = folder / INDEX
    if not file.exists():
        return {}
    entries = read_json(file, "index", dict)
    for name, entry in entries.items():
        if not isinstance(entry, dict) or not {"digest", "sha256", "file"} <= entry.keys():
            raise EvenspikeError(f"{file}: {name} has no digest, sha256 and file")
    return entries
