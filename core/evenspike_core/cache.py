"""Cache: the user's folder for what can be made again, and whom it has to belong to."""

from __future__ import annotations

import os
from pathlib import Path

from evenspike_core.errors import EvenspikeError


def folder(name: str) -> Path:
    """Folder `evenspike/<name>` under XDG_CACHE_HOME or ~/.cache, made where it is missing.

    Raises EvenspikeError naming the folder where it cannot be made or used safely.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        place = (base if base.is_absolute() else Path.home() / ".cache") / "evenspike" / name
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_owner(place, place.stat())
    except OSError as error:
        raise EvenspikeError(
            f"the cache folder {place} cannot be used: {error.strerror}; XDG_CACHE_HOME names "
            "another one"
        ) from error
    except RuntimeError as error:
        raise EvenspikeError(f"no cache folder: {error}; set XDG_CACHE_HOME") from error
    return place


def check_owner(path: Path, status: os.stat_result) -> None:
    """Raise EvenspikeError for a file or folder that another user could have written."""
    if status.st_uid != os.geteuid():
        raise EvenspikeError(
            f"{path} belongs to another user; remove it, or set XDG_CACHE_HOME to another folder"
        )
    if status.st_mode & 0o022:
        raise EvenspikeError(f"{path} can be written to by others: chmod go-w it, or remove it")
