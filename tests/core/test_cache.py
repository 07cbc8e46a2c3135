"""Cache: where it lies, and whom it has to belong to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evenspike_core import cache
from evenspike_core.errors import EvenspikeError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("value", [None, "", "relative"])
def test_without_an_absolute_path_it_is_in_the_home(
    value: str | None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    umask = os.umask(0o002)
    try:
        assert cache.folder("engine") == home / ".cache" / "evenspike" / "engine"
    finally:
        os.umask(umask)
    assert cache.folder("engine").stat().st_mode & 0o777 == 0o700
    assert list(home.iterdir()) == [home / ".cache"]


def refused(folder: Path) -> str:
    with pytest.raises(EvenspikeError) as caught:
        cache.folder("engine")
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


def test_what_others_own_or_may_write_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cache.folder("engine")
    for mode in (0o770, 0o702):
        folder.chmod(mode)
        assert "written to by others" in refused(folder)
    folder.chmod(0o755)
    assert cache.folder("engine") == folder
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    assert "belongs to another user" in refused(folder)


def test_a_file_in_the_way_is_named(home: Path) -> None:
    (home / ".cache").write_text("")
    assert "cannot be used: Not a directory" in refused(home / ".cache" / "evenspike" / "engine")


def test_without_a_home_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(EvenspikeError, match=r"^no cache folder: .* set XDG_CACHE_HOME$"):
        cache.folder("engine")
