"""Files that are damaged, and JSON that lies: the same ones from the same seed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from evenspike_core.errors import EvenspikeError

NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 1e300, 10**400, "", "x", "\ud800", [], {}, [[]], {"": [None]},
)  # fmt: skip
INSERTED = (b"[" * 9000, b'{"a":' * 9000, b"NaN", b"1e999", b"9" * 5000, b"\xff", b"\0", b"\xef")


def damaged(content: bytes, seed: object, count: int = 60) -> Iterator[bytes]:
    """Cut off, with flipped bits, without some bytes, with some more, and empty."""
    yield b""
    chance = random.Random(str(seed))
    for _ in range(count):
        data = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 5))):
            at = chance.randrange(len(data) or 1)
            match chance.randrange(5):
                case 0:
                    del data[at:]
                case 1:
                    del data[at : at + chance.randrange(1, 9)]
                case 2:
                    data[at:at] = chance.choice(INSERTED)
                case _ if data:
                    data[at % len(data)] ^= 1 << chance.randrange(8)
        yield bytes(data)


def lies(value: Any, seed: object, count: int = 60) -> Iterator[Any]:
    """The JSON value with something in it missing, of another type or beyond any limit."""
    chance = random.Random(str(seed))
    for _ in range(count):
        told = copy.deepcopy(value)
        node, key = chance.choice(list(_places(told)))
        if chance.randrange(6):
            node[key] = copy.deepcopy(chance.choice(NASTY))
        else:
            del node[key]
        yield told


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def refusal(read: Callable[[Path], Any], path: Path) -> str:
    """What the EvenspikeError says with which a file is refused; empty where it is read."""
    try:
        read(path)
    except EvenspikeError as error:
        return str(error)
    return ""


def text(value: Any) -> bytes:
    return json.dumps(value).encode()
