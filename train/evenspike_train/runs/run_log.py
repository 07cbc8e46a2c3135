"""A run's log: `log.jsonl`, one JSON object a line, as long as the checkpoint it goes with.

A checkpoint holds the log's length.  A run that goes on cuts the log back to it, so what was logged
after the checkpoint, and will be again, is not there twice; neither is a line that the kill cut.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evenspike_core.documents import parse_json
from evenspike_core.errors import EvenspikeError

FILE = "log.jsonl"


class RunLog:
    """The log of the run in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def append(self, line: Mapping[str, Any]) -> str:
        """Add a line; returns its text."""
        text = json.dumps(line)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")
        return text

    def length(self) -> int:
        """Bytes, all of which are on the disk."""
        if not self.path.exists():
            return 0
        with self.path.open("rb+") as stream:
            os.fsync(stream.fileno())
            return stream.seek(0, os.SEEK_END)

    def cut(self, length: int) -> None:
        """Drop what lies behind so many bytes, and a last line without an end."""
        if not self.path.exists():
            return
        with self.path.open("rb+") as stream:
            kept = stream.read(length)
            stream.truncate(kept.rfind(b"\n") + 1)


def read(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """(number, content) of each line, from 1; none where there is no log.

    A last line without an end is passed over if it is no JSON object: the run was killed while it
    wrote it. Raises EvenspikeError, naming the line, for any other that is none.
    """
    if not path.is_file():
        return []
    lines = []
    content = path.read_bytes()
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        try:
            lines.append((number, parse_json(line.decode(), dict, finite=False)))
        except ValueError as error:
            if not line.endswith(b"\n"):
                break
            raise EvenspikeError(f"{path}: line {number}: is no event of a run: {error}") from error
    return lines
