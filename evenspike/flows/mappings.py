"""Mappings: found once, and kept for the next run of the same Program on the same Arch.

An entry is a file of JSON behind a SHA-256 of its key and content. The key is a digest of all that
decides a mapping: the Program, the Arch, the spikes that it is weighed by, and the sources that
weigh. What is damaged, unreadable or of another user is found anew, and where nothing can be kept,
nothing is: a run never fails for its cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

import evenspike_core
import evenspike_sim
from evenspike_core import cache as caches
from evenspike_core import mapping
from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import Activity, LayerMapping, Mapping, Progress
from evenspike_core.program import Program
from evenspike_sim.cost import layer_cost
from evenspike_sim.spikes import Masks

ENTRIES = 256
BYTES = 64 << 20
"""What is kept at most; the entries that were used longest ago go first."""


def choose(
    program: Program,
    arch: Arch,
    inputs: Sequence[Masks],
    activity: Activity = (),
    *,
    natural: bool = False,
    batch: int | None = None,
    progress: Progress | None = None,
) -> Mapping:
    """`mapping.choose` by the cycle model's cost on `inputs`, or what it found before.

    All clusters have the same inputs then, and work in step: the mapping is that of one of them
    with its share of the batch.

    Raises EvenspikeError for a layer that the Arch cannot run, and for a batch that is none.
    """
    batch = arch.clusters if batch is None else batch
    mapping.check(program, arch, batch)
    one, share = replace(arch, clusters=1), arch.share(batch)
    place = _place(program, one, inputs, activity, natural=natural, batch=share)
    found = None if place is None else _read(place)
    if found is None:
        cost = layer_cost(one, inputs)
        found = mapping.choose(
            program, one, cost, activity, natural=natural, batch=share, progress=progress
        )
        if place is not None:
            _write(place, found)
    elif progress is not None:
        progress(len(found), len(found))
    return (replace(found[0], images=batch), *found[1:])


def _place(
    program: Program,
    arch: Arch,
    inputs: Sequence[Masks],
    activity: Activity,
    *,
    natural: bool,
    batch: int,
) -> Path | None:
    """Where the mapping is or will be; None without a folder that is safe to use."""
    try:
        decides = f"{program.digest()} {arch.digest} {natural} {batch} {_sources()}"
        key = hashlib.sha256(decides.encode())
        folder = caches.folder("mapping")
    except (OSError, EvenspikeError):
        return None
    for array in (*inputs, *activity):
        key.update(b"none" if array is None else f"{array.dtype} {array.shape}".encode())
        key.update(b"" if array is None else array.tobytes())
    return folder / f"{key.hexdigest()[:32]}.json"


@cache
def _sources() -> str:
    """Digest of the code that finds a mapping, as this process has imported it."""
    core, model = (Path(str(one.__file__)).parent for one in (evenspike_core, evenspike_sim))
    paths = [core / f"{name}.py" for name in ("arch", "fixed", "mapping", "pack", "program")]
    sha = hashlib.sha256()
    for path in (Path(__file__), *paths, *sorted(model.glob("*.py"))):
        sha.update(path.read_bytes() + b"\0")
    return sha.hexdigest()


def _read(place: Path) -> Mapping | None:
    try:
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_size > BYTES:
                return None
            caches.check_owner(place, status)
            stated, _, content = file.read().partition(b"\n")
            os.utime(handle)  # used now
    except (OSError, EvenspikeError):
        return None
    if stated != _seal(place, content):
        return None
    return tuple(
        LayerMapping(
            (layer["tile"][0], layer["tile"][1]),
            np.array(layer["assignment"], dtype=np.int32),
            tuple((segment, start, end) for segment, start, end in layer["chunks"]),
            layer["images"],
        )
        for layer in json.loads(content)
    )


def _write(place: Path, found: Mapping) -> None:
    layers = [
        {
            "tile": one.tile,
            "assignment": one.assignment.tolist(),
            "chunks": one.chunks,
            "images": one.images,
        }
        for one in found
    ]
    content = json.dumps(layers).encode()
    with suppress(OSError):
        handle, name = tempfile.mkstemp(dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_seal(place, content) + b"\n" + content)
            os.replace(name, place)
        except BaseException:
            os.unlink(name)
            raise
        _trim(place.parent)


def _seal(place: Path, content: bytes) -> bytes:
    return hashlib.sha256(place.name.encode() + content).hexdigest().encode()


def _trim(folder: Path) -> None:
    """Drop what was used longest ago, until the rest is few and small enough."""
    files = [(path.stat(), path) for path in folder.iterdir()]
    size = 0
    for number, (status, path) in enumerate(sorted(files, key=lambda item: -item[0].st_mtime_ns)):
        size += status.st_size
        if number >= ENTRIES or size > BYTES:
            path.unlink()
