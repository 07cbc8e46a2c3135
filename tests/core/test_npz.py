"""Archives of arrays: all that were written, or one line; never fewer, never others."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core.npz import read_arrays
from tests.helpers.damage import damaged, refusal

Arrays = dict[str, npt.NDArray[Any]]

ARRAYS: Arrays = {
    "a": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "b": np.zeros(300, np.int16),
    "c": np.array(1.5),
}
read = partial(read_arrays, what="archive", bytes_max=10_000)


def streamed(file: io.BytesIO, **arrays: npt.NDArray[Any]) -> None:
    """As what cannot seek back writes it."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(f"{name}.npy", content.getvalue())
    file.write(pipe.getvalue())


WRITERS: dict[str, Callable[..., Any]] = {
    "stored": np.savez,
    "packed": np.savez_compressed,
    "streamed": streamed,
}


def archive(kind: str) -> bytes:
    file = io.BytesIO()
    WRITERS[kind](file, **ARRAYS)
    return file.getvalue()


def same(found: Arrays) -> bool:
    return list(found) == list(ARRAYS) and all(
        found[name].dtype == array.dtype and np.array_equal(found[name], array)
        for name, array in ARRAYS.items()
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_no_damage_takes_an_array_away(kind: str, tmp_path: Path) -> None:
    """Whatever is wrong, the arrays are those that were written, or the file is refused."""
    path = tmp_path / "x.npz"
    content = archive(kind)
    path.write_bytes(content)
    assert same(read(path))
    chance = random.Random(kind)
    flipped = [
        content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
        for at in [*range(len(content) - 200), *[*range(len(content) - 200, len(content))] * 4]
    ]
    for data in [*flipped, *damaged(content, kind)]:
        path.write_bytes(data)
        said = refusal(read, path)
        assert said.startswith(f"{path}: not a readable archive: ") or same(read(path))
        assert "\n" not in said


def directory(content: bytes) -> tuple[int, list[bytes]]:
    """Where the list of members begins, and its entries."""
    size, start = struct.unpack("<2I", content[-10:-2])
    assert start + size + 22 == len(content)
    return start, [b"PK\1\2" + entry for entry in content[start:-22].split(b"PK\1\2")[1:]]


@pytest.mark.parametrize("dropped", range(3))
def test_an_end_record_that_leaves_out_an_array(dropped: int, tmp_path: Path) -> None:
    """Edited with care: sizes and numbers agree with each other, and not with the file."""
    content = archive("stored")
    start, entries = directory(content)
    listed = b"".join(entry for n, entry in enumerate(entries) if n != dropped)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(listed), start, 0)
    path = tmp_path / "x.npz"
    path.write_bytes(content[:start] + listed + end)
    with np.load(path) as found:
        assert len(found.files) == 2, "numpy believes it"
    assert "its list of arrays leaves out what lies at byte" in refusal(read, path)


def test_an_array_under_one_name_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "w") as made:
        for number in (1, 2):
            content = io.BytesIO()
            np.save(content, np.full(3, number))
            made.writestr("a.npy", content.getvalue())
    assert refusal(read, path) == f"{path}: not a readable archive: it holds 'a' twice"


def test_an_array_with_more_than_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    content = io.BytesIO()
    np.save(content, np.zeros(8, np.uint8))
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a.npy", content.getvalue().replace(b"(8,)", b"(7,)"))
    assert refusal(read, path).endswith("array 'a' goes on behind its (7,)")
