"""Progress of a sweep by the logs of its runs, which may train in other processes, elsewhere."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from evenspike_core.progress import Progress
from evenspike_train import tickets
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.runs import run_log, schedule

_PAUSE = 2.0
"""Seconds between two looks at the logs, which grow by a line a minute at least."""

_TAIL = 1 << 14
"""Bytes at the end of a log that have its last line."""


@contextmanager
def watched(runs: Mapping[Path, Recipe], progress: Progress) -> Iterator[None]:
    """Meanwhile, tell `progress` how many images the runs in these folders have passed."""
    sizes = {}
    for folder, recipe in runs.items():
        phases = schedule.phases(recipe, tickets.build(recipe.method))
        sizes[folder] = sum(phase.config.images for phase in phases)
    ended = threading.Event()

    def look() -> None:
        while True:
            seen = {folder: passed(folder, size) for folder, size in sizes.items()}
            finished = sum(seen[folder] == size for folder, size in sizes.items())
            what = f"{finished} of {len(sizes)} runs finished"
            progress(what, sum(seen.values()), sum(sizes.values()))
            if ended.wait(_PAUSE):
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def passed(folder: Path, images: int) -> int:
    """Return how many of its images the run in a folder has passed; all once it has finished."""
    try:
        with (folder / run_log.FILE).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL))
            lines = log.read().rpartition(b"\n")[0].splitlines()
        last = json.loads(lines[-1]) if lines else {}
        return images if last["event"] == "finished" else min(int(last["images_seen"]), images - 1)
    except (OSError, ValueError, TypeError, KeyError):  # it has not begun, or is damaged
        return 0
