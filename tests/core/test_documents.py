"""JSON and TOML files: read, or refused in one line that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenspike_core.documents import NESTING_MAX, read_json, read_toml
from tests.helpers.damage import damaged, refusal


def _json(path: Path) -> Any:
    return read_json(path, "list of things", dict)


READERS: dict[str, tuple[Callable[[Path], Any], bytes]] = {
    "json": (_json, b'{"a": [1, 2.5, "x\\ud83d\\ude00", null], "b": {"c": true}}'),
    "toml": (read_toml, b'a = [1, 2.5, "x"]\n[b]\nc = true\n'),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_whole_file_is_read(kind: str, tmp_path: Path) -> None:
    read, content = READERS[kind]
    (tmp_path / "f").write_bytes(content)
    found = read(tmp_path / "f")
    assert found["a"][:2] == [1, 2.5]
    assert found["b"] == {"c": True}


@pytest.mark.parametrize("kind", READERS)
def test_a_damaged_file_is_one_line(kind: str, tmp_path: Path) -> None:
    read, content = READERS[kind]
    path = tmp_path / "f"
    for data in damaged(content, kind, 300):
        path.write_bytes(data)
        said = refusal(read, path)
        assert not said or (said.startswith(f"{path}: ") and "\n" not in said)


NESTED = "[" * NESTING_MAX + "]" * NESTING_MAX


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("json", None, ": cannot be read: No such file or directory"),
        ("json", b"\xef\xbb\xbf{}", "begins with a byte order mark; save it as UTF-8 without one"),
        ("toml", b"\xef\xbb\xbfa = 1", "begins with a byte order mark; save it as UTF-8 without"),
        ("json", b'{"a": "\xff"}', "is not UTF-8: invalid start byte at 7"),
        ("json", b" \n", "not a readable list of things: it is empty"),
        ("toml", b"# nothing\n", "is empty: it has no table and no key"),
        ("json", b"[]", "not a readable list of things: it is a list, not an object"),
        ("json", b"null", "it is null, not an object"),
        ("json", b'{"a": NaN}', "NaN is not a finite number"),
        ("json", b'{"a": -Infinity}', "-Infinity is not a finite number"),
        ("json", b'{"a": 1e999}', "1e999 is not a finite number"),
        ("json", b'{"a": 1' + b"0" * 9999 + b"}", "digits"),
        ("json", b'{"a": "\\uD800"}', "surrogates not allowed"),
        ("json", b"[" * 99_999, "it is nested deeper than 64 levels"),
        ("json", f'{{"a": {NESTED}}}'.encode(), "it is nested deeper than 64 levels"),
        ("toml", b"a = " + b"[" * 9999, "not valid TOML: it is nested deeper than 64 levels"),
        ("toml", f"a = {NESTED}".encode(), "not valid TOML: it is nested deeper than 64 levels"),
    ],
)
def test_what_is_wrong_is_said(kind: str, content: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "f"
    if content is not None:
        path.write_bytes(content)
    said = refusal(READERS[kind][0], path)
    assert said.startswith(f"{path}: ")
    assert says in said
    assert "\n" not in said
