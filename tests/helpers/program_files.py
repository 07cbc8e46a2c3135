"""Program files taken apart and put together again, and lies in them.

A lie is an edited file with a hash written anew from the format's text, not by the code.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import struct
from pathlib import Path
from typing import Any

from safetensors.numpy import load, save

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program

Json = Any


def opened(program: Program, folder: Path) -> tuple[Json, dict[str, Any]]:
    path = folder / "original.safetensors"
    program.save(path)
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["evenspike"])
    return header, load(content)


def sealed(header: Json, tensors: dict[str, Any]) -> bytes:
    header = copy.deepcopy(header)
    if isinstance(header, dict):
        header.pop("sha256", None)
        sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for name in sorted(tensors):
            array = tensors[name]
            sha.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
        header["sha256"] = sha.hexdigest()
    return save(tensors, metadata={"evenspike": json.dumps(header, sort_keys=True)})


def survives(path: Path, content: bytes) -> Program | None:
    """The Program in the file or None; fails on any exception but EvenspikeError."""
    path.write_bytes(content)
    try:
        return Program.load(path)
    except EvenspikeError as error:
        if not str(error).startswith(f"{path}: "):
            raise
        return None


NASTY: tuple[Json, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 255, 10**6, 2**31, 2**63, -(2**63), 2**64, 10**30,
    0.5, 1.0, 1e308, float("nan"), float("inf"), "", "1", "1/2", "x\ud800", "\x00", "soft",
    [], {}, [1], [1, 2], [1, 1, 1, 1], [0, 0, 0, 0], [-1, -1], [2**40] * 4, {"a": 1}, [[]], "first",
)  # fmt: skip


def places(node: Json) -> list[tuple[Json, Any]]:
    """Every (container, key) of a JSON value."""
    keys: list[Any] = []
    if isinstance(node, dict):
        keys = list(node)
    elif isinstance(node, list):
        keys = list(range(len(node)))
    found = [(node, key) for key in keys]
    for key in keys:
        found += places(node[key])
    return found


def damaged(header: Json, chance: random.Random) -> Json:
    """A copy with any value at any place, without an entry, or with one more."""
    header = copy.deepcopy(header)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        node, key = chance.choice(places(header) or [(header, "x")])
        kind = chance.randrange(6)
        if kind == 0:
            del node[key]
        elif kind == 1 and isinstance(node, list):
            node.append(copy.deepcopy(node[key]))
        elif kind == 2 and isinstance(node, dict):
            node[chance.choice(("surplus", "name", "size", "hard", ""))] = chance.choice(NASTY)
        else:
            node[key] = copy.deepcopy(chance.choice(NASTY))
    return header
