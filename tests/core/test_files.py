"""Whole files: whatever stops a write, the old files stay, and nothing else is left."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evenspike_core import files
from evenspike_core.data import cache
from evenspike_core.errors import EvenspikeError
from tests.helpers.disk import full_disk
from tests.helpers.tiny import TINY

Write = Callable[[Path], object]


def _numbers(path: Path) -> None:
    files.write_json({"a": np.arange(1000)}, path)


def _set(path: Path) -> None:
    """The second of three files is the one that cannot be written."""
    small = {"a": "new", path.name: "x" * 1000, "z": "new"}
    files.write_files(small, path.parent)


def _stopped(path: Path) -> None:
    with files.replacing(path) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt


WRITERS: dict[str, Write] = {
    "a text": lambda path: files.write(path, "x" * 1000),
    "a JSON": _numbers,
    "a set": _set,
    "a Program": TINY.save,
}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file of earlier, among others."""
    for name in ("a", "m.bin", "z"):
        (tmp_path / name).write_bytes(b"old")
    return tmp_path / "m.bin"


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_changes_nothing(kind: str, old: Path) -> None:
    before = content(old.parent)
    with full_disk(500), pytest.raises(EvenspikeError) as caught:
        WRITERS[kind](old)
    assert str(caught.value) == f"{old}: cannot be written: File too large"
    assert content(old.parent) == before
    WRITERS[kind](old)
    assert old.stat().st_size > 500


def test_a_write_that_is_stopped_changes_nothing(old: Path) -> None:
    before = content(old.parent)
    with pytest.raises(KeyboardInterrupt):
        _stopped(old)
    assert content(old.parent) == before


@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_in_the_way_changes_nothing(kind: str, old: Path) -> None:
    old.unlink()
    old.mkdir()
    before = {path.name: path.is_file() and path.read_bytes() for path in old.parent.iterdir()}
    with pytest.raises(EvenspikeError) as caught:
        WRITERS[kind](old)
    assert str(caught.value) == f"{old}: cannot be written: Is a directory"
    after = {path.name: path.is_file() and path.read_bytes() for path in old.parent.iterdir()}
    assert after == before


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_mode_is_any_new_files(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        TINY.save(tmp_path / "p")
        files.write_files({"a": "1", "b": b"2"}, tmp_path)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


def test_many_at_a_time_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    texts = [str(n) * 100_000 for n in range(8)]
    threads = [threading.Thread(target=files.write, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("mine")
    for folder in (blocked, blocked / "deeper"):
        with pytest.raises(EvenspikeError) as caught:
            files.write_files({"a": "1"}, folder)
        assert str(caught.value).startswith(f"{folder}: cannot be written: ")
    assert blocked.read_text() == "mine"


def test_names_as_long_as_the_system_has(tmp_path: Path) -> None:
    path = tmp_path / ("\N{GREEK SMALL LETTER ALPHA}" * 127)
    files.write(path, "x")
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_no_decoded_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "kept")
    (tmp_path / "a").write_bytes(b"")
    images = np.ones((3, 8, 8), np.uint8)
    with full_disk(200), pytest.raises(EvenspikeError, match="XDG_CACHE_HOME names another folder"):
        cache.decoded("set", "", [tmp_path / "a"], images.shape, lambda _: images)
    assert not list((tmp_path / "kept").iterdir())


def test_what_is_discarded_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    (tmp_path / "folder").mkdir()
    files.discard(tmp_path / "old.json")
    files.discard(tmp_path / "old.json")
    with pytest.raises(files.UnwritableError, match=r"folder: cannot be written: "):
        files.discard(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
